"""The run directory: whose it is, and that only one process trains in it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from gan3d.config import Config, differences, from_json, to_json

CONFIG_NAME = "config.json"
CHECKPOINTS_NAME = "checkpoints"
SHEETS_NAME = "sheets"


def check_run_directory(run_dir: str | os.PathLike, config: Config) -> None:
    """Checks, without changing anything, that `config` may train in `run_dir`.

    Raises:
      ValueError: the path is no directory, or holds a run made with another configuration.
    """
    run_dir = Path(run_dir)
    if run_dir.exists() and not run_dir.is_dir():
        raise ValueError(f"run must be a directory, {run_dir} is a file")
    path = run_dir / CONFIG_NAME
    if not path.exists():
        return
    try:
        old = from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a configuration of this version: {error}") from error
    changes = [f"{name} was {was!r}, now {now!r}" for name, was, now in differences(old, config)]
    if changes:
        raise ValueError(
            f"run directory {run_dir} was made with another configuration: {'; '.join(changes)}"
        )


@contextlib.contextmanager
def open_run_directory(run_dir: str | os.PathLike, config: Config) -> Iterator[Path]:
    """Creates the directory if need be, writes config.json, and keeps other processes out.

    Yields:
      The absolute path.

    Raises:
      ValueError: as `check_run_directory`, or another process is training in it.
    """
    check_run_directory(run_dir, config)
    run_dir = Path(run_dir).absolute()
    run_dir.mkdir(parents=True, exist_ok=True)
    with _exclusive(run_dir):
        temporary = run_dir / (CONFIG_NAME + ".tmp")
        temporary.write_text(to_json(config), encoding="utf-8")
        os.replace(temporary, run_dir / CONFIG_NAME)
        yield run_dir


@contextlib.contextmanager
def _exclusive(directory: Path) -> Iterator[None]:
    """Holds a lock on the directory that ends with the process, however it ends."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"another process is training in {directory}") from error
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(descriptor)
