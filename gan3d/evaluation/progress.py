"""Lines of progress for work in many parts, a few seconds apart."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS_BETWEEN_LINES = 5.0

Report = Callable[[str], None]
Progress = Callable[[int, int], None]


def paced(report: Report | None, topic: str) -> Callable[[str], Progress]:
    """Makes progress callbacks (done, total) for the parts of a work.

    All parts together report a line like "topic, part: 40%" at most every few seconds.

    Args:
      report: receives the lines; None = nothing does.
      topic: what the work is about.
    """
    last = time.perf_counter()

    def part(name: str) -> Progress:
        def progress(done: int, total: int) -> None:
            nonlocal last
            if report is not None and time.perf_counter() - last >= SECONDS_BETWEEN_LINES:
                last = time.perf_counter()
                report(f"{topic}, {name}: {100 * done // total}%")

        return progress

    return part
