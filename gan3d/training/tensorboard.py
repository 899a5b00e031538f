"""TensorBoard files, written by the thread that has something to say.

tensorboardX's own writer has a thread and a queue: on a full disk that thread ends, the queue fills
up, and the training waits for it forever. Here an error reaches the run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from absl import logging

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float


class Board:
    """An event file. Every method raises OSError if it cannot be written.

    Args:
      directory: of the event files, created if missing.
      images_seen: where the run continues; what lies behind it in earlier files is hidden.
    """

    def __init__(self, directory: Path, images_seen: int):
        from tensorboardX import event_file_writer, summary  # slow, and not needed for training
        from tensorboardX.proto import event_pb2

        self._summary, self._event = summary, event_pb2.Event
        directory.mkdir(parents=True, exist_ok=True)
        # A name of its own, or a run that resumes within the second would overwrite the file.
        suffix = f".{os.getpid()}.{images_seen}"
        self._file = event_file_writer.EventsWriter(str(directory / "events"), suffix)
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(images_seen + 1 if images_seen else 0, session_log=start)

    def write(
        self,
        images_seen: int,
        scalars: Mapping[str, float],
        histograms: Mapping[str, tuple[Float[np.ndarray, " N"], Float[np.ndarray, " E"]]],
    ) -> None:
        """Writes scalars, and histograms given as (values, edges), through to the disk."""
        for name, value in scalars.items():
            self._write(images_seen, summary=self._summary.scalar(name, value))
        for name, (values, edges) in histograms.items():
            self._write(images_seen, summary=self._summary.histogram(name, values, edges))
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write(self, images_seen: int, **content) -> None:
        self._file.write_event(self._event(wall_time=time.time(), step=images_seen, **content))


def open_board(directory: Path, images_seen: int) -> Board | None:
    """None where tensorboardX is not installed."""
    try:
        return Board(directory, images_seen)
    except ImportError:
        logging.warning("tensorboardX is not installed: metrics go to metrics.jsonl only")
        return None
