"""Flags for the fields of a dataclass: what each is for stands in the class's docstring."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Sequence
from typing import Any, TypeVar

from absl import flags

_T = TypeVar("_T")


def define_field_flags(
    flag_values: flags.FlagValues, kind: type, skip: Sequence[str] = (), least: int = 0
) -> None:
    """Defines a flag for every field of a dataclass with numbers or switches.

    Args:
      flag_values: where.
      kind: the dataclass; its docstring has an Attributes section.
      skip: fields that have no flag, or another one.
      least: of the integers; other numbers are not negative.
    """
    meanings = _meanings(inspect.getdoc(kind))
    for field in _fields(kind, skip):
        text, default = meanings[field.name], field.default
        if isinstance(default, bool):
            flags.DEFINE_boolean(field.name, default, text, flag_values=flag_values)
        elif isinstance(default, int):
            flags.DEFINE_integer(field.name, default, text, least, flag_values=flag_values)
        else:
            flags.DEFINE_float(field.name, default, text, 0.0, flag_values=flag_values)


def fields_from_flags(
    flag_values: flags.FlagValues, kind: type[_T], skip: Sequence[str] = (), **others: Any
) -> _T:
    """The dataclass with the flags' values, and others for skipped fields."""
    names = [field.name for field in _fields(kind, skip)]
    return kind(**{name: flag_values[name].value for name in names}, **others)


def _fields(kind: type, skip: Sequence[str]) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(kind) if field.name not in skip]


def _meanings(doc: str) -> dict[str, str]:
    """What a docstring's Attributes section says, by name."""
    found = re.findall(r"^  (\w+): (.*(?:\n    .*)*)", doc.split("Attributes:\n")[1], re.MULTILINE)
    return {name: " ".join(text.split()).rstrip(".") for name, text in found}
