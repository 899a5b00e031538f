"""Several benchmarks at once on one machine: all compile, then each times alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from absl import flags


def define_lock_flag(values: flags.FlagValues) -> None:
    """--lock of a benchmark."""
    flags.DEFINE_string(
        "lock",
        None,
        "file by which benchmarks that run at once take turns: all compile, which takes longer so, "
        "then each times alone",
        flag_values=values,
    )


@contextlib.contextmanager
def taking_turns(path: str | None) -> Iterator[Callable[[], None]]:
    """Within, others wait; once the function that it gives returns, nobody else runs.

    Args:
      path: a file to lock, created if need be; None = nobody else is there.

    Raises:
      OSError: the file cannot be created, or its file system has no locks.
    """
    if path is None:
        yield lambda: None
        return
    import fcntl  # only POSIX systems have it

    with open(path, "a") as file:
        # Shared by all that compile: nobody gets it alone before the last of them is done.
        fcntl.flock(file, fcntl.LOCK_SH)
        yield lambda: fcntl.flock(file, fcntl.LOCK_EX)
