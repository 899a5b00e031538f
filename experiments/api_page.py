"""Writes gan3d/API.md: every public name of gan3d, with its signature and an example.

    python -m experiments.api_page

The page is made of `__all__` and the docstrings alone: change those, not the page.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pathlib
import re
import sys
from collections.abc import Sequence

from absl import flags

import gan3d
from experiments import flags as experiment_flags
from experiments.api_names import (
    Entry,
    example_paragraphs,
    names_in_example,
    public_entries,
    public_modules,
)

PAGE = pathlib.Path(gan3d.__file__).parent / "API.md"
COMMAND = "python -m experiments.api_page"
IMPORTS = """\
import jax, jax.numpy as jnp, math, numpy as np, pathlib
import gan3d
from gan3d.data import head_scenes
from gan3d.scene import make_stage
"""
_PLACES = """\
run = "runs/demo"                       # of a training; the tests have a tiny one
folder = pathlib.Path("out")            # for the files that an example writes
"""
OBJECTS = """\
generator = gan3d.load(run)
config = generator.parts.config         # what it was trained with
scenes = head_scenes(0, jnp.arange(2))  # two of the procedural heads
stage = make_stage(surface_size=4, resolution=8, fov=0.35, margin_pixels=0.0)
"""
_BEGINNING = f"""\
# The public names of gan3d

What each is for, its signature and an example, made from the docstrings by `{COMMAND}`.
`help(name)` has the rest: arguments with their shapes and units, errors, sources. Arrays in
signatures are written as `Float[Array, "H W 3"]`, floats of that shape.

The tests run the examples. Each of them has the names of its own module, and

```python
{IMPORTS}
{_PLACES}{OBJECTS}```

so that what it shows is small: pictures of 8 x 8 pixels, a mesh of 32 faces.
"""


def page() -> str:
    """The text of the page."""
    entries = public_entries()
    parts = [_BEGINNING, _contents()]
    for module in public_modules():
        parts.append(f"## Module {module}\n\n{_first_paragraph(_module_doc(module))}\n")
        also = [entry for entry in entries if module in entry.also]
        if also:
            links = ", ".join(_link(entry, entry.full_name) for entry in also)
            parts.append(f"The same as at the top of the package: {links}.\n")
        parts += [_section(entry, entries) for entry in _entries_of(module)]
    return "\n".join(parts)


@functools.cache
def anchors() -> dict[str, str]:
    """Where every heading of the page is found, by the rules of GitHub: equal ones get numbers."""
    modules = [[module, *(e.full_name for e in _entries_of(module))] for module in public_modules()]
    found: dict[str, str] = {}
    for module, *names in modules:
        for name, heading in ((module, f"Module {module}"), *zip(names, names, strict=True)):
            kept = [c for c in heading.lower().replace(" ", "-") if c.isalnum() or c in "-_"]
            same = sum(re.sub(r"-\d+$", "", other) == "".join(kept) for other in found.values())
            found[name] = "".join(kept) + (f"-{same}" if same else "")
    return found


def shown_by(entry: Entry, entries: Sequence[Entry]) -> Entry | None:
    """The entry whose example names this one: itself, or else one of its module, or an importer."""
    if entry.name.split(".")[-1] in names_in_example(entry.doc):
        return entry
    return next((other for other in entries if _shows(other, entry)), None)


def _shows(other: Entry, entry: Entry) -> bool:
    known = other.module in (entry.module, *entry.also)
    known |= any(f"from {m} import" in other.doc for m in (entry.module, *entry.also))
    return known and entry.name.split(".")[-1] in names_in_example(other.doc)


def _contents() -> str:
    lines = ["## Contents", ""]
    for module in public_modules():
        link = f"[**{module}**](#{anchors()[module]})"
        lines.append(f"- {link} {_first_sentence(_module_doc(module))}")
        for entry in _entries_of(module):
            lines.append(f"  - {_link(entry, entry.name)} {_first_sentence(entry.doc)}")
    return "\n".join(lines) + "\n"


def _section(entry: Entry, entries: Sequence[Entry]) -> str:
    lines = [f"### {entry.full_name}", "", "```python", entry.signature, "```", ""]
    lines += [_first_paragraph(entry.doc), ""]
    for member in entry.members:
        lines += [f"- `{_one_line(member.signature)}`<br>", f"  {_first_sentence(member.doc)}"]
    lines += [""] * bool(entry.members)
    for paragraph in example_paragraphs(entry.doc):
        code = paragraph.startswith(">>>")
        lines += ["```python", paragraph, "```", ""] if code else [paragraph, ""]
    other = None if ">>>" in entry.doc else shown_by(entry, entries)
    if other is not None:
        lines += [f"Example: {_link(other, other.full_name)}.", ""]
    return "\n".join(lines)


def _one_line(signature: str) -> str:
    return " ".join(signature.split()).replace("( ", "(").replace(",)", ")").replace(", )", ")")


def _link(entry: Entry, text: str) -> str:
    return f"[`{text}`](#{anchors()[entry.full_name]})"


def _entries_of(module: str) -> list[Entry]:
    return [entry for entry in public_entries() if entry.module == module]


def _module_doc(module: str) -> str:
    return inspect.getdoc(importlib.import_module(module)) or ""


def _first_sentence(doc: str) -> str:
    """The first sentence; of one that leads to a formula, what comes before it."""
    text = " ".join(doc.split("\n\n")[0].split())
    return re.split(r"\.\s+(?=[A-Z`])", text)[0].rstrip(".,:;") + "." if text else ""


def _first_paragraph(doc: str) -> str:
    """With the formula that it may lead to."""
    parts = doc.split("\n\n")
    formula = len(parts) > 1 and parts[0].endswith((",", ":")) and parts[1].startswith("    ")
    return "\n\n".join(parts[: 1 + formula])


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    values = flags.FlagValues()
    flags.DEFINE_string("out", str(PAGE), "file to write", flag_values=values)
    experiment_flags.parse(values, argv, __doc__)
    experiment_flags.check_output("out", values.out)
    pathlib.Path(values.out).write_text(page(), encoding="utf-8")
    print(values.out)
    return 0


if __name__ == "__main__":
    sys.exit(experiment_flags.run(main, sys.argv))
