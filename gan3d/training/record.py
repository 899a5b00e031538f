"""What a run leaves behind: its directory, checkpoints, metrics, and looks at the samples.

Of several processes the first keeps the record; to the others `NoRecord` looks the same.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gan3d.training.assemble import Parts, draw_views, init_state, sample_scenes
from gan3d.training.checkpoint import Checkpoints
from gan3d.training.dashboard import dashboard_reader, log_reading
from gan3d.training.directory import CHECKPOINTS_NAME, SHEETS_NAME, open_run_directory
from gan3d.training.metrics import MetricsWriter
from gan3d.training.state import TrainState
from gan3d.visualize import sample_sheet, save_png

_SHEET_ROWS = 6
# Folded into the seed's key for the sheets; steps fold in images seen, which stay below 2**31.
_SHEET_STREAM = 2**32 - 1


class Record(contextlib.ExitStack):
    """The record of a run, open while it trains.

    Attributes:
      directory: of the run, absolute.
    """

    def __init__(self, parts: Parts, run_dir: str | os.PathLike):
        """Opens the run directory and its checkpoints.

        Raises:
          ValueError: see `open_run_directory`.
        """
        super().__init__()
        self._parts = parts
        with contextlib.ExitStack() as opened:
            self.directory = opened.enter_context(open_run_directory(run_dir, parts.config))
            self._checkpoints = opened.enter_context(Checkpoints(self.directory / CHECKPOINTS_NAME))
            self.push(opened.pop_all())

    def restore(self) -> TrainState:
        """The state to go on from, as numpy arrays: the newest checkpoint's, or the first."""
        seed = self._parts.config.seed
        # Shapes alone: initialising takes a while, and a run that resumes needs no values.
        template = jax.eval_shape(lambda: init_state(self._parts, seed))
        restored = self._checkpoints.restore_latest(template)
        if restored is None:
            # Copies: the step, to which the state is donated, wants no buffer twice.
            return jax.tree.map(np.array, jax.device_get(init_state(self._parts, seed)))
        print(f"resuming at {restored[1]:,} images", flush=True)
        return restored[0]

    def start(self, images_seen: int, ema_params: Any) -> None:
        """Begins to write behind `images_seen`; a new run gets a look at its start."""
        self._writer = self.enter_context(MetricsWriter(self.directory, images_seen))
        self._read_dashboard = dashboard_reader(self._parts)
        self._write_sheet = _sheet_writer(self._parts, self.directory / SHEETS_NAME)
        if images_seen == 0:
            print("compiling the dashboard and the sheet", flush=True)
            self.observe(images_seen, ema_params)

    def write(self, images_seen: int, scalars: Mapping[str, float]) -> None:
        """Writes averages of training."""
        self._writer.write(images_seen, scalars)

    def observe(self, images_seen: int, ema_params: Any) -> None:
        """Looks at the samples: logs the dashboard and writes a sheet of pictures."""
        # Through the host: the parameters lie on all devices, the observers' programs need one.
        ema_params = jax.device_get(ema_params)
        log_reading(self._writer, images_seen, self._read_dashboard(ema_params))
        self._write_sheet(images_seen, ema_params)

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

    def start(self, images_seen: int, ema_params: Any) -> None: ...

    def write(self, images_seen: int, scalars: Mapping[str, float]) -> None: ...

    def observe(self, images_seen: int, ema_params: Any) -> None: ...

    def save(self, images_seen: int, state: TrainState) -> None: ...

    def wait(self) -> None: ...

    def say(self, text: str) -> None: ...


def _sheet_writer(parts: Parts, directory: Path):
    """Draws the same latents from the same views every time, so that sheets can be compared."""
    key = jax.random.fold_in(jax.random.key(parts.config.seed), _SHEET_STREAM)
    scene_key, view_key = jax.random.split(key)
    views = jax.jit(lambda params: draw_views(parts, params, view_key, _SHEET_ROWS))
    sample = jax.jit(lambda params: sample_scenes(parts, params, scene_key, _SHEET_ROWS))

    def write(images_seen: int, ema_params: Any) -> None:
        path = directory / f"{images_seen:08d}.png"
        save_png(path, sample_sheet(sample(ema_params), views(ema_params), parts.stage))
        print(f"sheet of samples: {path}", flush=True)

    return write
