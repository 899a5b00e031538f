"""What a run leaves behind: its directory, checkpoints, metrics, and looks at the samples.

Of several processes the first keeps the record; to the others `NoRecord` looks the same.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan3d.training.assemble import Parts, draw_views, init_state, sample_scenes
from gan3d.training.checkpoint import Checkpoints, check_finite
from gan3d.training.dashboard import PREFIX, dashboard_reader, log_reading
from gan3d.training.directory import (
    CHECKPOINTS_NAME,
    SHEETS_NAME,
    beginning_in,
    open_run_directory,
    writing_in,
)
from gan3d.training.metrics import METRICS_NAME, MetricsWriter, read_metrics
from gan3d.training.rollbacks import read_rollbacks, write_rollbacks
from gan3d.training.state import TrainState
from gan3d.training.transfer import first_state
from gan3d.visualize import sample_sheet, save_png

_SHEET_ROWS = 6
# Folded into the seed's key for the sheets; steps fold in images seen, which stay below 2**31.
_SHEET_STREAM = 2**32 - 1


class Record(contextlib.ExitStack):
    """The record of a run, open while it trains.

    Attributes:
      directory: of the run, absolute.
    """

    def __init__(
        self,
        parts: Parts,
        run_dir: str | os.PathLike,
        on_look: Callable[[int, Path], None] | None = None,
    ):
        """Opens the run directory and its checkpoints.

        Args:
          parts: of the run.
          run_dir: its directory.
          on_look: called after `observe` with images seen and the path of the sheet.

        Raises:
          RunDirectoryError: see `open_run_directory`.
        """
        super().__init__()
        self._parts, self._on_look = parts, on_look
        with contextlib.ExitStack() as opened:
            self.directory = opened.enter_context(open_run_directory(run_dir, parts.config))
            with beginning_in(self.directory):
                checkpoints = Checkpoints(self.directory / CHECKPOINTS_NAME)
            self._checkpoints = opened.enter_context(checkpoints)
            self.push(opened.pop_all())
        # Compiled at the first look.
        self._read_dashboard = dashboard_reader(parts)
        self._write_sheet = _sheet_writer(parts, self.directory / SHEETS_NAME)

    def restore(self) -> TrainState:
        """The state to go on from, as numpy arrays: the newest checkpoint's, or the first.

        Raises:
          CheckpointError: see `Checkpoints.restore_latest`.
          TransferError: the run does not fit that its first state is to be made from.
        """
        seed = self._parts.config.seed
        # Shapes alone: initialising takes a while, and a run that resumes needs no values.
        template = jax.eval_shape(lambda: init_state(self._parts, seed))
        restored = self._checkpoints.restore_latest(template)
        if restored is not None:
            return restored[0]
        state, told = first_state(self._parts)
        if told:
            self.say(told)
        # Copies: the step, to which the state is donated, wants no buffer twice.
        return jax.tree.map(np.array, jax.device_get(state))

    def read_rollbacks(self) -> list[int]:
        """Where the run went back to."""
        return read_rollbacks(self.directory)

    def write_rollbacks(self, rollbacks: Sequence[int]) -> None:
        """Replaces what `read_rollbacks` reads."""
        with writing_in(self.directory):
            write_rollbacks(self.directory, rollbacks)

    @contextlib.contextmanager
    def writing(self, images_seen: int) -> Iterator[None]:
        """Within this context metrics are written, behind `images_seen`."""
        with MetricsWriter(self.directory, images_seen) as self._writer:
            yield

    def has_looked(self, images_seen: int) -> bool:
        """Whether `observe` has finished here, and its metrics will be kept."""
        path = self.directory / METRICS_NAME
        if images_seen == 0 or not path.exists():
            return False
        rows = [row for row in read_metrics(path) if row["images"] == images_seen]
        return any(name.startswith(PREFIX) for row in rows for name in row)

    def write(self, images_seen: int, scalars: Mapping[str, float]) -> None:
        """Writes averages of training."""
        self._writer.write(images_seen, scalars)

    def observe(self, images_seen: int, ema_params: Any) -> None:
        """Looks at the samples: logs the dashboard and writes a sheet of pictures."""
        # Through the host: the parameters lie on all devices, the observers' programs need one.
        ema_params = jax.device_get(ema_params)
        sheet = self._write_sheet(images_seen, ema_params)
        # Last, since it is what says that the sheet is there.
        log_reading(self._writer, images_seen, self._read_dashboard(ema_params))
        if self._on_look is not None:
            self._on_look(images_seen, sheet)

    def save(self, images_seen: int, state: TrainState) -> None:
        """Saves a checkpoint, in the background."""
        self._checkpoints.save(images_seen, state)

    def wait(self) -> None:
        """Blocks until the last checkpoint is on disk."""
        self._checkpoints.wait()

    def say(self, text: str) -> None:
        """Prints a line of progress."""
        print(text, flush=True)


class NoRecord(contextlib.nullcontext):
    """The record in a process that keeps none."""

    def __init__(self, parts: Parts):
        super().__init__(self)
        self._parts = parts

    def restore(self) -> TrainState:
        """Zeros in the shapes of the state, whose values the first process has."""
        shapes = jax.eval_shape(lambda: init_state(self._parts, self._parts.config.seed))
        return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)

    def read_rollbacks(self) -> list[int]:
        """None: the first process has them."""
        return []

    def write_rollbacks(self, rollbacks: Sequence[int]) -> None: ...

    def writing(self, images_seen: int) -> contextlib.AbstractContextManager[None]:
        """Nothing is written."""
        return contextlib.nullcontext()

    def has_looked(self, images_seen: int) -> bool:
        """Nothing is looked at."""
        return True

    def write(self, images_seen: int, scalars: Mapping[str, float]) -> None: ...

    def observe(self, images_seen: int, ema_params: Any) -> None: ...

    def save(self, images_seen: int, state: TrainState) -> None:
        """Raises as the first process does, or that one would go back to a checkpoint alone."""
        check_finite(jax.device_get(state), images_seen)

    def wait(self) -> None: ...

    def say(self, text: str) -> None: ...


def _sheet_writer(parts: Parts, directory: Path):
    """Draws the same latents from the same views every time, so that sheets can be compared."""
    key = jax.random.fold_in(jax.random.key(parts.config.seed), _SHEET_STREAM)
    scene_key, view_key = jax.random.split(key)
    views = jax.jit(lambda params: draw_views(parts, params, view_key, _SHEET_ROWS))
    sample = jax.jit(lambda params: sample_scenes(parts, params, scene_key, _SHEET_ROWS))

    def write(images_seen: int, ema_params: Any) -> Path:
        path = directory / f"{images_seen:08d}.png"
        sheet = sample_sheet(sample(ema_params), views(ema_params), parts.stage)
        with writing_in(directory.parent):
            save_png(path, sheet)
        print(f"sheet of samples: {path}", flush=True)
        return path

    return write
