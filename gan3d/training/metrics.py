"""Scalars of a run, as JSON lines and for TensorBoard, with images seen as the clock."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gan3d.training.directory import replace_text, writing_in
from gan3d.training.tensorboard import open_board

if TYPE_CHECKING:
    from jaxtyping import Float

METRICS_NAME = "metrics.jsonl"
HISTORY_NAME = "evaluations.jsonl"  # lines of the same form, one per evaluation of the run


class Distribution(NamedTuple):
    """Values of many samples, to be logged as a histogram.

    Attributes:
      values: one per sample; values that are not finite or outside the edges are in no bin.
      edges: of the bins, increasing.
    """

    values: Float[np.ndarray, " N"]
    edges: Sequence[float]


class MetricsWriter:
    """Appends to metrics.jsonl and to TensorBoard event files in the run directory.

    Every line of metrics.jsonl is one call of `write`: an object with "images", the clock, and the
    metrics of that call alone. The averages of training and the dashboard of the shapes (names
    that begin with "dashboard/") are separate lines, at intervals of their own, so not every line
    has every name; within one kind of line the clock increases.

    Args:
      run_dir: existing directory.
      images_seen: where the run continues; what an interrupted run has written beyond it is
        dropped, since it will be written again. A run that starts at 0 keeps nothing.

    Raises:
      WriteError: here and from every method, when a file cannot be written.
    """

    def __init__(self, run_dir: str | os.PathLike, images_seen: int = 0):
        self.path = Path(run_dir) / METRICS_NAME
        with writing_in(run_dir):
            _drop_after(self.path, images_seen)
            self._file = self.path.open("a", encoding="utf-8")
            self._board = open_board(Path(run_dir) / "tensorboard", images_seen)

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def write(
        self,
        images_seen: int,
        scalars: Mapping[str, float],
        distributions: Mapping[str, Distribution] | None = None,
    ) -> None:
        """Writes one line.

        Args:
          images_seen: the clock.
          scalars: NaN and infinities, which JSON does not have, become null.
          distributions: written as {"edges": [...], "shares": [...]}, the shares being parts of
            all samples per bin; for TensorBoard a histogram.
        """
        distributions = distributions or {}
        values = {name: float(value) for name, value in scalars.items()}
        finite = {name: v if math.isfinite(v) else None for name, v in values.items()}
        histograms = {name: _histogram(d) for name, d in distributions.items()}
        line = {"images": images_seen, **finite, **histograms}
        binned = {name: (_binned(d), np.asarray(d.edges)) for name, d in distributions.items()}
        with writing_in(self.path.parent):
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            if self._board is not None:
                filled = {name: pair for name, pair in binned.items() if len(pair[0])}
                self._board.write(images_seen, values, filled)

    def close(self) -> None:
        """Flushes and closes the files."""
        with writing_in(self.path.parent), contextlib.ExitStack() as files:
            files.callback(self._file.close)
            if self._board is not None:
                files.callback(self._board.close)


def read_metrics(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, without a last one that was cut off in mid-write.

    Values are numbers, None where they are not finite, or {"edges", "shares"}; see `MetricsWriter`.
    """
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(f"{path}: line {number} is not JSON: {error}") from error
    return rows


def _drop_after(path: Path, images_seen: int) -> None:
    if not path.exists():
        return
    # Also the line of image 0, which a run that begins anew writes again.
    if images_seen == 0:
        path.unlink()
        return
    kept = [row for row in read_metrics(path) if row["images"] <= images_seen]
    replace_text(path, "".join(json.dumps(row) + "\n" for row in kept))


def _histogram(distribution: Distribution) -> dict[str, list[float]]:
    counts, edges = np.histogram(_binned(distribution), distribution.edges)
    shares = counts / max(len(distribution.values), 1)
    return {"edges": edges.tolist(), "shares": shares.tolist()}


def _binned(distribution: Distribution) -> Float[np.ndarray, " M"]:
    """The values that have a bin; nan has none."""
    values = np.asarray(distribution.values, np.float64)
    return values[(values >= distribution.edges[0]) & (values <= distribution.edges[-1])]
