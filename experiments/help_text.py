"""The text that --help prints: usage, what the program does, and its flags in groups."""

from __future__ import annotations

import dataclasses
import pathlib
import textwrap
from collections.abc import Iterable

from absl import flags

from gan3d.config import Config

WIDTH = 100
PROCESS_FLAGS = ("coordinator", "num_processes", "process_id", "cluster")
_DEMO = {field.name: field.default for field in dataclasses.fields(Config)}
_ABSL_FLAGS = ("flagfile", "undefok")
_WIDEST_NAME = 26


def help_text(
    flag_values: flags.FlagValues, program: str, description: str, full: bool = False
) -> str:
    """All flags by name; those of the configuration with their meaning only if `full`."""
    own, processes, config = _groups(flag_values)
    module = f"experiments.{pathlib.Path(program).stem}"
    usage = f"usage: python -m {module}{' [--FLAG=VALUE ...]' if own or config else ''}"
    parts = [usage, description.strip()]
    if own:
        parts.append("Flags:\n\n" + _explained(own))
    if processes:
        parts.append("Several processes:\n\n" + _explained(processes))
    if config and full:
        parts.append(
            "Configuration; --preset decides where a flag is not given:\n\n" + _explained(config)
        )
    elif config:
        names = " ".join(_demo_form(flag) for flag in config)
        lines = textwrap.wrap(names, WIDTH - 4, break_long_words=False, break_on_hyphens=False)
        parts.append(
            "Configuration, with the demo's values; --preset has others, --helpfull explains:\n\n"
            + textwrap.indent("\n".join(lines), "  ")
        )
    return "\n\n".join(parts)


def _groups(flag_values: flags.FlagValues) -> tuple[list[flags.Flag], ...]:
    """The program's own flags, those of several processes, and those of the configuration."""
    names = [name for name in flag_values if name not in _ABSL_FLAGS]
    config = [name for name in names if name in _DEMO] if "preset" in names else []
    processes = [name for name in names if name in PROCESS_FLAGS]
    own = [name for name in names if name not in (*config, *processes)]
    return tuple([flag_values[name] for name in group] for group in (own, processes, config))


def _explained(group: Iterable[flags.Flag]) -> str:
    lines = []
    for flag in group:
        form, text = f"  {_form(flag)}", _meaning(flag)
        hanging = " " * (_WIDEST_NAME + 2)
        body = textwrap.wrap(
            text, WIDTH, initial_indent=hanging, subsequent_indent=hanging, break_on_hyphens=False
        )
        if len(form) < _WIDEST_NAME + 1 and body:
            body[0] = form.ljust(_WIDEST_NAME + 2) + body[0].lstrip()
            lines += body
        else:
            lines += [form, *body]
    return "\n".join(lines)


def _form(flag: flags.Flag) -> str:
    """--name=DEFAULT, or --name where there is none; --[no]name of what is on or off."""
    if flag.boolean:
        return f"--[no]{flag.name}"
    default = _default(flag)
    short = default and len(default) <= _WIDEST_NAME - len(flag.name)
    return f"--{flag.name}={default}" if short else f"--{flag.name}"


def _demo_form(flag: flags.Flag) -> str:
    """As `_form`, with the demo's value of what the preset decides."""
    value = _DEMO.get(flag.name, flag.default)
    return f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}={value}"


def _meaning(flag: flags.Flag) -> str:
    """What it means, its choices, the values it may have, and its default."""
    text, default = flag.help or "", _default(flag)
    rule = getattr(flag.parser, "syntactic_help", "")
    if "in the range" in rule:
        text += f"; {rule}"
    if default and not _form(flag).endswith(f"={default}"):
        text += f" (default {default})"
    return text


def _default(flag: flags.Flag) -> str:
    if isinstance(flag.default, list):
        return ",".join(map(str, flag.default))
    if flag.boolean:
        return "on" if flag.default else ""
    return "" if flag.default is None else str(flag.default)
