"""Command line flags: one per field of the configuration, and one clear line for a wrong one.

Every program has its own `absl.flags.FlagValues` instead of absl's global one, so that programs can
be imported together and called from tests.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import pathlib
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags
from absl import logging as absl_logging

import gan3d
from experiments.help_text import PROCESS_FLAGS, help_text
from gan3d.config import PRESETS, Config, field_types, preset

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT


class HelpRequested(Exception):
    """--help was given; the message is the help text."""


def define_config_flags(flag_values: flags.FlagValues) -> None:
    """Defines --preset and one flag per field of `Config`; without a value the preset decides."""
    flags.DEFINE_enum("preset", "demo", list(PRESETS), "named preset", flag_values=flag_values)
    types = field_types()
    for field in dataclasses.fields(Config):
        if field.name != "preset":
            text = f"{field.metadata['help']} (demo: {field.default})"
            _define(field.name, types[field.name], text, field.metadata, flag_values)


def config_from_flags(flag_values: flags.FlagValues) -> Config:
    """The preset, with the fields whose flag was given replaced."""
    names = [name for name in field_types() if name != "preset"]
    given = {name: flag_values[name].value for name in names if flag_values[name].present}
    return preset(flag_values.preset, **given)


def define_process_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags with which several processes find one another, see `join_others`."""
    define = lambda kind, *args: kind(*args, flag_values=flag_values)  # noqa: E731
    define(flags.DEFINE_string, "coordinator", None, "HOST:PORT at which the first process listens")
    define(flags.DEFINE_integer, "num_processes", None, "processes that work together")
    define(flags.DEFINE_integer, "process_id", None, "which of them this is, from 0")
    text = "work together with the processes that the cluster started"
    define(flags.DEFINE_boolean, "cluster", False, text)


def join_others(flag_values: flags.FlagValues) -> None:
    """Makes this process one of several if flags say so; before jax is used.

    Raises:
      UsageError: the flags do not fit together, or this is no cluster that jax knows.
    """
    names = PROCESS_FLAGS[:3]
    given = [flag_values[name].value for name in names]
    if not flag_values.cluster and given == [None, None, None]:
        return
    if flag_values.cluster and given != [None, None, None]:
        raise UsageError(f"--cluster finds out what {', '.join('--' + n for n in names)} say")
    from gan3d.training import processes  # slow imports, after the flags are known to be right

    try:
        processes.join(*given)
    except ValueError as error:
        raise UsageError(str(error)) from error


def parse(flag_values: flags.FlagValues, argv: Sequence[str], description: str) -> None:
    """Parses the command line.

    Raises:
      flags.Error: an unknown flag, a wrong value, or an argument that is no flag.
      HelpRequested: --help is among the arguments.
    """
    if any(argument in ("-h", "-help", "--help", "--helpfull") for argument in argv[1:]):
        full = "--helpfull" in argv[1:]
        raise HelpRequested(help_text(flag_values, argv[0], description, full))
    rest = flag_values(list(argv))[1:]
    if rest:
        raise flags.Error(f"unexpected argument {rest[0]!r}; flags look like --name=value")


def check_output(name: str, path: str | None, folder: bool = False) -> None:
    """Sees to it that what takes long is not lost in the end: that a file or folder can be made.

    Args:
      name: of the flag.
      path: what it names; None = nothing will be written.
      folder: it names a folder.

    Raises:
      UsageError: it cannot.
    """
    if path is None:
        return
    place = pathlib.Path(path)
    if place.exists() and place.is_dir() != folder:
        kinds = ("a file", "a folder") if folder else ("a folder", "a file")
        raise UsageError(f"--{name} must name {kinds[1]}, got {path!r}, which is {kinds[0]}")
    above = next(p for p in (place, *place.absolute().parents) if p.exists())
    if not os.access(above, os.W_OK):
        raise UsageError(f"cannot write --{name}={path}: no permission for {str(above)!r}")
    if not above.is_dir() and above != place:
        raise UsageError(f"cannot write --{name}={path}: {str(above)!r} is no folder")


def run(main: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    """Calls `main`; a mistake in the command line becomes one line on stderr and exit code 2.

    Only `UsageError` and absl's flag errors count as that. A file that cannot be read or written is
    one line and exit code 1; any other exception keeps its stack trace.
    """
    _configure_logging()
    try:
        return main(argv)
    except HelpRequested as text:
        print(text)
        return 0
    except (flags.Error, UsageError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_USAGE
    except OSError as error:
        if error.filename is None:  # not about a file that somebody named
            raise
        print(f"error: {error.strerror}: {error.filename}", file=sys.stderr)
        return EXIT_FAILURE
    except KeyboardInterrupt:  # before there is anything to save, or for the second time
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def require_finite(flag_values: flags.FlagValues, *names: str) -> None:
    """Refuses nan, which is within any bounds.

    Raises:
      UsageError: a flag is neither a finite number nor left out.
    """
    for name in names:
        value = flag_values[name].value
        if value is not None and not math.isfinite(value):
            raise UsageError(f"--{name} must be a finite number, got {value}")


class UsageError(Exception):
    """Something the person at the command line has to change; the message says what."""


def _configure_logging() -> None:
    """Shows this package's messages, and of all other packages only warnings."""
    handler = logging.StreamHandler()
    handler.addFilter(_worth_showing)
    # Forced: a library imported before this may have set up the root logger its own way.
    logging.basicConfig(handlers=[handler], level=logging.INFO, format="%(message)s", force=True)
    absl_logging.set_verbosity(absl_logging.INFO)


def _worth_showing(record: logging.LogRecord) -> bool:
    if record.pathname.startswith(os.path.dirname(gan3d.__file__) + os.sep):
        return True
    # Orbax logs the stack trace of every thread that an error passes, and then raises the error.
    traced = f"{os.sep}orbax{os.sep}" in record.pathname and record.exc_info is not None
    return record.levelno >= logging.WARNING and not traced


def _define(name: str, kind: type, text: str, metadata: Any, flag_values: flags.FlagValues) -> None:
    if kind is bool:
        flags.DEFINE_boolean(name, None, text, flag_values=flag_values)
    elif kind is int:
        flags.DEFINE_integer(name, None, text, flag_values=flag_values)
    elif kind is float:
        flags.DEFINE_float(name, None, text, flag_values=flag_values)
    elif metadata["choices"]:
        flags.DEFINE_enum(name, None, list(metadata["choices"]), text, flag_values=flag_values)
    else:
        flags.DEFINE_string(name, None, text, flag_values=flag_values)
