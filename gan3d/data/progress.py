"""Lines in the log while many things are worked through, a few seconds apart."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from absl import logging

SECONDS_BETWEEN_LINES = 10.0

_T = TypeVar("_T")


def with_progress(items: Iterable[_T], total: int, what: str, start: int = 0) -> Iterator[_T]:
    """Passes items on; a line like "decoded 300 of 70,000 images, 150/s, about 8 min left".

    The first line comes after `SECONDS_BETWEEN_LINES`, so what is quick is silent.

    Args:
      items: to be passed on.
      total: number of items that there will have been at the end, those before `start` included.
      what: of a line, such as "decoded {} images"; the braces take the numbers.
      start: number of items that were done before.
    """
    last = time.monotonic()
    for count, item in enumerate(items):
        if count == 0:
            began = time.monotonic()  # what comes before may be a compilation
        yield item
        now = time.monotonic()
        if count and now - last >= SECONDS_BETWEEN_LINES:
            last = now
            rate = count / (now - began)
            done = start + count + 1
            seconds = (total - done) / rate
            left = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
            numbers = what.format(f"{done:,} of {total:,}")
            logging.info("%s, %.0f/s, about %s left", numbers, rate, left)
