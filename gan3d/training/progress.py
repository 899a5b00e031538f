"""Follows a run: collects the metrics of its steps, checks them, and reports at intervals."""

from __future__ import annotations

import collections
import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from gan3d.training.record import NoRecord, Record

# Metrics shown in the progress line; all of them go to the files.
_SHOWN = ("loss_g", "loss_d", "coverage")
# The first step compiles, and so does the second, where penalties are not computed on every step.
_COMPILING_STEPS = 2


class Progress:
    """Averages metrics between reports and prints a line with speed and time left.

    Args:
      record: receives the averages, and the lines.
      images_seen: where the run starts.
      total_images: where it ends.
      interval_images: images between reports.
      max_in_flight: steps whose metrics may still be computing when `add` returns. An accelerator
        never waits for the host with a few; on CPU it must be 0, or steps pile up and the
        collectives of several devices block one another.
    """

    def __init__(
        self,
        record: Record | NoRecord,
        images_seen: int,
        total_images: int,
        interval_images: int,
        max_in_flight: int = 0,
    ):
        self._record = record
        self._total_images = total_images
        self._interval_images = interval_images
        self._max_in_flight = max_in_flight
        self._in_flight = collections.deque()
        self._collected: list[Mapping[str, float]] = []
        self._images_seen = images_seen
        self._num_steps = 0
        # (time, images): after the steps that compile, and at the last report.
        self._start = self._last = (time.monotonic(), images_seen)

    def add(self, images_seen: int, metrics: Mapping[str, Float[Array, ""]]) -> None:
        """Takes the metrics of the step that ended at `images_seen`.

        Raises:
          FloatingPointError: a metric of one of the finished steps is not finite.
        """
        self._in_flight.append((images_seen, metrics))
        while len(self._in_flight) > self._max_in_flight:
            self._collect(*self._in_flight.popleft())

    def drain(self) -> None:
        """Waits for the steps in flight; raises as `add`."""
        while self._in_flight:
            self._collect(*self._in_flight.popleft())

    def finish(self) -> None:
        """Drains, and reports what is left since the last report."""
        self.drain()
        if self._collected:
            self._report()

    def _collect(self, images_seen: int, metrics: Mapping[str, Float[Array, ""]]) -> None:
        values = {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
        wrong = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
        if wrong:
            raise FloatingPointError(f"{', '.join(wrong)} at {images_seen:,} images")
        self._collected.append(values)
        previous, self._images_seen = self._images_seen, images_seen
        self._num_steps += 1
        if self._num_steps <= _COMPILING_STEPS:
            self._start = self._last = (time.monotonic(), images_seen)
        if crosses(self._interval_images, previous, images_seen):
            self._report()

    def _report(self) -> None:
        now = (time.monotonic(), self._images_seen)
        speed, mean_speed = (
            _images_per_second(self._last, now),
            _images_per_second(self._start, now),
        )
        means = {n: float(np.mean([m[n] for m in self._collected])) for n in self._collected[0]}
        self._last, self._collected = now, []
        self._record.write(self._images_seen, {**means, "images_per_second": speed})
        parts = [
            f"{self._images_seen:,}/{self._total_images:,} images",
            f"{speed:.1f} images/s",
            *(f"{name} {means[name]:.3f}" for name in _SHOWN if name in means),
            f"{_duration(self._total_images - self._images_seen, mean_speed)} left",
        ]
        self._record.say(" | ".join(parts))


def crosses(interval: int, before: int, after: int) -> bool:
    """Whether a multiple of the interval lies in (before, after]."""
    return after // interval > before // interval


def _images_per_second(start: tuple[float, int], end: tuple[float, int]) -> float:
    return (end[1] - start[1]) / max(end[0] - start[0], 1e-9)


def _duration(images: int, speed: float) -> str:
    """Time for so many images, like 1h05m, 12m30s, 8s."""
    if speed <= 0:
        return "unknown"
    minutes, seconds = divmod(max(0, round(images / speed)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"
