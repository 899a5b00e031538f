"""What is public in gan3d, read from `__all__`, docstrings and source for the API page.

A public name is one that a public module lists in `__all__`. Signatures are taken from the source
text, so that they look as they were written and are the same with every version of Python.
"""

from __future__ import annotations

import ast
import doctest
import functools
import importlib
import inspect
import itertools
import pathlib
import pkgutil
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import gan3d

# The order of the page; modules that are not named here follow in alphabetical order.
FIRST = ("gan3d", "gan3d.render", "gan3d.scene", "gan3d.data", "gan3d.config", "gan3d.models")
LINE_LENGTH = 88


class Entry(NamedTuple):
    """One public name.

    Attributes:
      module: the public module that it is imported from.
      name: in that module; of a method CLASS.METHOD.
      kind: "function", "class", "constant" or "method".
      signature: how it is called, or the bases of what is not called.
      doc: the docstring.
      members: public methods and properties, in the order of the source.
      also: other public modules that list the same object.
    """

    module: str
    name: str
    kind: str
    signature: str
    doc: str
    members: list[Entry]
    also: list[str]

    @property
    def full_name(self) -> str:
        """With the module."""
        return f"{self.module}.{self.name}"


def public_modules() -> list[str]:
    """Names of gan3d and of its packages and modules that have an `__all__`."""
    names = ["gan3d", *(f"gan3d.{found.name}" for found in pkgutil.iter_modules(gan3d.__path__))]
    public = [name for name in names if hasattr(importlib.import_module(name), "__all__")]
    return sorted(public, key=lambda name: (*(name != first for first in FIRST), name))


@functools.cache
def public_entries() -> list[Entry]:
    """Every public object once, in the first module that lists it."""
    entries: dict[int, Entry] = {}
    for module in public_modules():
        for name in sorted(importlib.import_module(module).__all__, key=str.lower):
            value = getattr(importlib.import_module(module), name)
            if id(value) in entries:
                entries[id(value)].also.append(module)
            else:
                entries[id(value)] = _entry(module, name, value)
    return list(entries.values())


def example_paragraphs(doc: str) -> list[str]:
    """The end of a docstring from its first example on, as paragraphs, with what leads there."""
    parts = doc.split("\n\n")
    first = next((i for i, part in enumerate(parts) if part.startswith(">>>")), len(parts))
    leads = 0 < first < len(parts) and parts[first - 1].endswith(":") and first > 1
    return parts[first - leads :]


def names_in_example(doc: str) -> set[str]:
    """Identifiers in the code of a docstring's examples: names, attributes and imports."""
    found = set()
    for example in doctest.DocTestParser().get_examples(doc):
        for node in ast.walk(ast.parse(example.source)):
            if isinstance(node, ast.Name):
                found.add(node.id)
            elif isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.ImportFrom):
                found.update(alias.name for alias in node.names)
    return found


def _entry(module: str, name: str, value: Any) -> Entry:
    if not callable(value):
        return Entry(module, name, "constant", name, _constant_doc(value, name), [], [])
    doc = inspect.getdoc(value) or ""
    node, source = _definition(value)
    if isinstance(node, ast.FunctionDef):
        return Entry(module, name, "function", _call(name, node.args, node, source), doc, [], [])
    members = list(_members(module, name, value, node, source))
    return Entry(module, name, "class", _class_signature(name, node, source), doc, members, [])


def _members(module, name, value, node, source) -> Iterator[Entry]:
    for child in node.body:
        if isinstance(child, ast.FunctionDef) and not child.name.startswith("_"):
            decorators = [ast.unparse(decorator) for decorator in child.decorator_list]
            own = f"{name}.{child.name}"
            if any(decorator.endswith("property") for decorator in decorators):
                signature = f"{own}: {_text(child.returns, source)}"
            else:
                signature = _call(own, child.args, child, source, method=True)
            doc = inspect.getdoc(inspect.getattr_static(value, child.name)) or ""
            yield Entry(module, own, "method", signature, doc, [], [])


def _definition(value: Any) -> tuple[ast.AST, str]:
    """Syntax tree and source text of a function or class at the top of its module."""
    value = inspect.unwrap(value)
    source = _read(inspect.getsourcefile(value))
    for node in ast.parse(source).body:
        if getattr(node, "name", None) == value.__qualname__:
            return node, source
    raise LookupError(f"{value.__qualname__} is not defined at the top of {value.__module__}")


def _constant_doc(value: Any, name: str) -> str:
    """The string after the assignment, in whichever module of gan3d has it."""
    for path in sorted(pathlib.Path(gan3d.__file__).parent.rglob("*.py")):
        body = ast.parse(_read(str(path))).body
        for node, after in itertools.pairwise(body):
            targets = getattr(node, "targets", [getattr(node, "target", None)])
            named = any(isinstance(t, ast.Name) and t.id == name for t in targets)
            text = getattr(getattr(after, "value", None), "value", None)
            if named and isinstance(text, str):
                return inspect.cleandoc(text)
    return ""


@functools.cache
def _read(path: str) -> str:
    return pathlib.Path(path).read_text(encoding="utf-8")


def _class_signature(name: str, node: ast.ClassDef, source: str) -> str:
    bases = [ast.unparse(base) for base in node.bases]
    for child in node.body:
        if isinstance(child, ast.FunctionDef) and child.name == "__init__":
            return _call(name, child.args, None, source, method=True)
    data = node.decorator_list or {"NamedTuple", "nn.Module"} & set(bases)
    fields = [child for child in node.body if isinstance(child, ast.AnnAssign) and data]
    if not fields:
        return f"class {name}({', '.join(bases)})"
    parts = [
        _argument(child.target.id, child.annotation, _field_default(child.value), source)
        for child in fields
    ]
    return _wrapped(f"{name}(", parts, ")")


def _field_default(value: ast.AST | None) -> ast.AST | None:
    """The default within a call of `dataclasses.field`, or of a function of that name."""
    if isinstance(value, ast.Call) and ast.unparse(value.func).endswith("field"):
        keywords = [keyword.value for keyword in value.keywords if keyword.arg == "default"]
        return next(iter([*keywords, *value.args]), None)
    return value


def _call(name, arguments: ast.arguments, node, source: str, method: bool = False) -> str:
    given = arguments.args
    defaults = [None] * (len(given) - len(arguments.defaults)) + arguments.defaults
    parts = [
        _argument(a.arg, a.annotation, d, source) for a, d in zip(given, defaults, strict=True)
    ][method:]
    if arguments.kwonlyargs:
        parts.append("*")
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if not argument.arg.startswith("_"):
            parts.append(_argument(argument.arg, argument.annotation, default, source))
    if arguments.kwarg:
        parts.append(
            f"**{_argument(arguments.kwarg.arg, arguments.kwarg.annotation, None, source)}"
        )
    end = f") -> {_text(node.returns, source)}" if node is not None and node.returns else ")"
    return _wrapped(f"{name}(", parts, end)


def _argument(name: str, annotation, default, source: str) -> str:
    text = name if annotation is None else f"{name}: {_text(annotation, source)}"
    if default is None:
        return text
    # A function as a default says nothing that its line in the docstring does not.
    shown = "..." if isinstance(default, ast.Lambda) else _text(default, source)
    return f"{text} = {shown}"


def _text(node: ast.AST, source: str) -> str:
    return " ".join(ast.get_source_segment(source, node).split())


def _wrapped(start: str, parts: Sequence[str], end: str) -> str:
    line = f"{start}{', '.join(parts)}{end}"
    if len(line) <= LINE_LENGTH:
        return line
    return "\n".join([start, *(f"    {part}," for part in parts), end])
