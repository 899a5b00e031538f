"""Scalars of a run, as JSON lines and for TensorBoard, with images seen as the clock."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from absl import logging


class MetricsWriter:
    """Appends to metrics.jsonl and to TensorBoard event files in the run directory.

    Args:
      run_dir: existing directory.
      images_seen: where the run continues; what an interrupted run has written beyond it is
        dropped, since it will be written again.
    """

    def __init__(self, run_dir: str | os.PathLike, images_seen: int = 0):
        self.path = Path(run_dir) / "metrics.jsonl"
        _drop_after(self.path, images_seen)
        self._file = self.path.open("a", encoding="utf-8")
        self._board = _open_tensorboard(Path(run_dir) / "tensorboard", images_seen)

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def write(self, images_seen: int, scalars: Mapping[str, float]) -> None:
        """Writes one line; NaN and infinities, which JSON does not have, become null."""
        values = {name: float(value) for name, value in scalars.items()}
        finite = {name: v if math.isfinite(v) else None for name, v in values.items()}
        self._file.write(json.dumps({"images": images_seen, **finite}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, images_seen)

    def close(self) -> None:
        """Flushes and closes the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def read_metrics(path: str | os.PathLike) -> list[dict[str, float | None]]:
    """The lines of a metrics.jsonl, without a last one that was cut off in mid-write."""
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
    kept = [row for row in read_metrics(path) if row["images"] <= images_seen]
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    os.replace(temporary, path)


def _open_tensorboard(directory: Path, images_seen: int):
    try:
        from tensorboardX import SummaryWriter  # slow to import, and not needed for training
    except ImportError:
        logging.warning("tensorboardX is not installed: metrics go to metrics.jsonl only")
        return None
    # purge_step hides what an interrupted run has logged beyond the point of resuming.
    return SummaryWriter(str(directory), purge_step=images_seen + 1)
