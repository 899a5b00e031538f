"""A lock between processes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def exclusive(path: str | os.PathLike, when_taken: Callable[[], None]) -> Iterator[None]:
    """Holds a lock that ends with the process, however it ends.

    Where the system or the file system has no locks, nobody is kept out.

    Args:
      path: a file to lock; created if need be.
      when_taken: called if another process holds the lock; it is then waited for, unless this
        raises.

    Raises:
      OSError: the file cannot be created.
    """
    with open(path, "a") as file:
        try:
            import fcntl
        except ImportError:  # not a POSIX system
            yield
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            when_taken()
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks
        yield
