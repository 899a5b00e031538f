"""The run directory: whose it is, that it can be written, and by one process at a time."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gan3d.config import Config, differences, from_json, to_json

CONFIG_NAME = "config.json"
CHECKPOINTS_NAME = "checkpoints"
SHEETS_NAME = "sheets"


class RunDirectoryError(ValueError):
    """This run may not, or cannot, begin in this directory."""


class WriteError(Exception):
    """A run directory that was good at the start can no longer be written."""


def check_run_directory(run_dir: str | os.PathLike, config: Config) -> None:
    """Checks, without changing anything, that `config` may train in `run_dir`.

    Raises:
      RunDirectoryError: the path is no directory, is read-only, or holds a run made with another
        configuration.
    """
    run_dir = Path(run_dir)
    if run_dir.exists() and not run_dir.is_dir():
        raise RunDirectoryError(f"run must be a directory, {run_dir} is a file")
    _check_writable(run_dir)
    path = run_dir / CONFIG_NAME
    if not path.exists():
        return
    try:
        old = from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunDirectoryError(
            f"{path} is not a configuration of this version: {error}"
        ) from error
    changes = [f"{name} was {was!r}, now {now!r}" for name, was, now in differences(old, config)]
    if changes:
        raise RunDirectoryError(
            f"run directory {run_dir} was made with another configuration: {'; '.join(changes)}"
        )


@contextlib.contextmanager
def open_run_directory(run_dir: str | os.PathLike, config: Config) -> Iterator[Path]:
    """Creates the directory if need be, writes config.json, and keeps other processes out.

    Yields:
      The absolute path.

    Raises:
      RunDirectoryError: as `check_run_directory`, or it cannot be written, or another process is
        training in it.
    """
    check_run_directory(run_dir, config)
    run_dir = Path(run_dir).absolute()
    with beginning_in(run_dir):
        run_dir.mkdir(parents=True, exist_ok=True)
    with _exclusive(run_dir):
        with beginning_in(run_dir):
            replace_text(run_dir / CONFIG_NAME, to_json(config))
        yield run_dir


@contextlib.contextmanager
def beginning_in(run_dir: str | os.PathLike) -> Iterator[None]:
    """Makes an OSError a `RunDirectoryError` that names the directory."""
    try:
        yield
    except OSError as error:
        raise _not_writable(run_dir, _reason(error)) from error


@contextlib.contextmanager
def writing_in(directory: str | os.PathLike) -> Iterator[None]:
    """Makes an OSError a `WriteError` that names the directory."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"cannot write in {directory}: {_reason(error)}") from error


def replace_text(path: Path, text: str) -> Path:
    """As `replace_bytes`, in UTF-8."""
    return replace_bytes(path, text.encode())


def replace_arrays(path: Path, arrays: Mapping[str, Any]) -> Path:
    """As `replace_bytes`, arrays by name in numpy's compressed format."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return replace_bytes(path, file.getvalue())


def replace_bytes(path: Path, data: bytes) -> Path:
    """Writes a file so that it is the old one or the new one, whatever happens meanwhile.

    Returns:
      The path.

    Raises:
      OSError: it cannot be written; it is then the old one.
    """
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    return path


def _check_writable(run_dir: Path) -> None:
    """As far as can be told without writing, before the data is read for minutes."""
    existing = next(path for path in (run_dir, *run_dir.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise _not_writable(run_dir, f"{existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise _not_writable(run_dir, f"{existing} is read-only")


def _not_writable(run_dir: str | os.PathLike, reason: str) -> RunDirectoryError:
    return RunDirectoryError(
        f"run must be a directory that can be written, got {run_dir}: {reason}"
    )


def _reason(error: OSError) -> str:
    return error.strerror or " ".join(str(error).split())


@contextlib.contextmanager
def _exclusive(directory: Path) -> Iterator[None]:
    """Holds a lock on the directory that ends with the process, however it ends."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        yield
        return
    with beginning_in(directory):
        descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunDirectoryError(f"another process is training in {directory}") from error
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(descriptor)
