"""The training loop: everything around the pure step.

Images seen is the only clock. Randomness and data order are functions of it and of the seed, and a
checkpoint holds the whole state, so that a run that was stopped anywhere and started again ends
with the same parameters, bit by bit, on the same kind and number of devices.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from gan3d.config import Config, validate
from gan3d.data.pipeline import batches
from gan3d.data.sources import ImageSource, open_source
from gan3d.training.assemble import Parts, assemble, draw_views, init_state, sample_scenes
from gan3d.training.checkpoint import Checkpoints
from gan3d.training.dashboard import dashboard_reader, log_reading
from gan3d.training.directory import CHECKPOINTS_NAME, SHEETS_NAME, open_run_directory
from gan3d.training.interruption import Interrupted, StopSignals
from gan3d.training.metrics import MetricsWriter
from gan3d.training.parallel import parallel_step, replicate, shard_batch
from gan3d.training.progress import Progress, crosses
from gan3d.training.state import TrainState
from gan3d.training.step import penalised
from gan3d.visualize import sample_sheet, save_png

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from jaxtyping import Array, Float, UInt8

_SHEET_ROWS = 6
# Folded into the seed's key for the sheets; steps fold in images seen, which stay below 2**31.
_SHEET_STREAM = 2**32 - 1
_STEPS_IN_FLIGHT = 4


def train(
    config: Config, run_dir: str | os.PathLike, source: ImageSource | None = None
) -> TrainState:
    """Trains to `config.images`, or continues a run that was stopped.

    The run directory gets config.json, metrics.jsonl, tensorboard/, sheets/ and checkpoints/. With
    every sheet the dashboard of `training.dashboard` is logged. Uses all local devices.

    Args:
      config: what to train.
      run_dir: of a new run, or of one with the same configuration; its length and intervals may
        differ.
      source: training images; None = opens the one that config.data names.

    Returns:
      The final state.

    Raises:
      ValueError: the configuration is not valid, or the directory belongs to another run.
      CheckpointError: there are checkpoints, but this run cannot continue from them.
      FloatingPointError: a loss or a parameter is not finite; that state is not saved.
      Interrupted: SIGTERM or SIGINT arrived; the state is saved.
    """
    validate(config, jax.local_device_count())
    source = open_training_source(config) if source is None else source
    with contextlib.ExitStack() as stack:
        run_dir = stack.enter_context(open_run_directory(run_dir, config))
        stop = stack.enter_context(StopSignals())
        checkpoints = stack.enter_context(Checkpoints(run_dir / CHECKPOINTS_NAME))
        parts = assemble(config)
        state, images_seen = _start_or_resume(parts, checkpoints)
        if images_seen >= config.images:
            print(f"nothing left to do: {run_dir} is finished", flush=True)
            return state

        stream = batches(source, config.batch, config.seed, images_seen, config.mirror)
        stack.enter_context(contextlib.closing(stream))
        writer = stack.enter_context(MetricsWriter(run_dir, images_seen))
        observe = _observer(parts, run_dir / SHEETS_NAME, writer)
        if images_seen == 0:
            print("compiling the dashboard and the sheet", flush=True)
            observe(images_seen, state.ema_params)
        progress = _progress(config, writer, images_seen)
        steps = _steps(parts, state, images_seen, stream)
        for state, images_seen, metrics in steps:
            progress.add(images_seen, metrics)
            before = images_seen - config.batch
            finished = images_seen >= config.images
            observing = finished or crosses(config.sheet_interval_images, before, images_seen)
            if finished or stop.received is not None:
                break
            if observing:
                observe(images_seen, state.ema_params)
            if crosses(config.checkpoint_interval_images, before, images_seen):
                progress.drain()
                checkpoints.save(images_seen, state)

        progress.finish()
        checkpoints.save(images_seen, state)
        checkpoints.wait()
        # Also when interrupted, since the run that continues starts behind this point; but only now
        # that the state is safe.
        if observing:
            observe(images_seen, state.ema_params)
        if not finished:
            raise _interrupted(stop.received, images_seen, config, run_dir)
        print(f"finished: {images_seen:,} images, in {run_dir}", flush=True)
        return state


def open_training_source(config: Config) -> ImageSource:
    """Opens the images that `config.data` names, at the resolution of the run."""
    return open_source(
        config.data,
        config.resolution,
        seed=config.seed,
        yaw_degrees=config.heads_yaw_factor * config.yaw_degrees,
        pitch_degrees=config.pitch_degrees,
        fov_degrees=config.fov_degrees,
        view_prior=config.heads_view_prior,
        num_heads=config.num_heads,
    )


def _start_or_resume(parts: Parts, checkpoints: Checkpoints) -> tuple[TrainState, int]:
    """The state to go on from, as numpy arrays, and its images seen."""
    seed = parts.config.seed
    # Shapes alone: initialising takes a while, and a run that resumes does not need the values.
    restored = checkpoints.restore_latest(jax.eval_shape(lambda: init_state(parts, seed)))
    if restored is None:
        # Copies: the step, to which the state is donated, wants no buffer twice.
        return jax.tree.map(np.array, jax.device_get(init_state(parts, seed))), 0
    print(f"resuming at {restored[1]:,} images", flush=True)
    return restored


def _steps(
    parts: Parts,
    state: TrainState,
    images_seen: int,
    stream: Iterable[UInt8[np.ndarray, "B R R 3"]],
) -> Iterator[tuple[TrainState, int, dict[str, Float[Array, ""]]]]:
    """Endless training; yields state, images seen and metrics after every step."""
    devices = jax.local_devices()
    step = parallel_step(parts, devices)
    key = jax.random.key(parts.config.seed)
    state = replicate(state, devices)
    print("compiling the training step", flush=True)
    for images in stream:
        penalise = penalised(parts.config, images_seen)
        state, metrics = step(state, shard_batch(images, len(devices)), key, penalise)
        images_seen += len(images)
        yield state, images_seen, metrics


def _progress(config: Config, writer: MetricsWriter, images_seen: int) -> Progress:
    in_flight = 0 if jax.default_backend() == "cpu" else _STEPS_IN_FLIGHT
    return Progress(writer, images_seen, config.images, config.log_interval_images, in_flight)


def _observer(parts: Parts, sheets: Path, writer: MetricsWriter) -> Callable[[int, Any], None]:
    """Looks at the samples now and then: logs the dashboard and writes a sheet of pictures."""
    write_sheet = _sheet_writer(parts, sheets)
    read_dashboard = dashboard_reader(parts)

    def observe(images_seen: int, ema_params: Any) -> None:
        # Through the host: the parameters lie on all devices, the observers' programs need one.
        ema_params = jax.device_get(ema_params)
        log_reading(writer, images_seen, read_dashboard(ema_params))
        write_sheet(images_seen, ema_params)

    return observe


def _sheet_writer(parts: Parts, directory: Path) -> Callable[[int, Any], None]:
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


def _interrupted(number: int, images_seen: int, config: Config, run_dir: Path) -> Interrupted:
    name = signal.Signals(number).name
    return Interrupted(
        f"{name}: saved {run_dir} at {images_seen:,} of {config.images:,} images; "
        "the same command continues",
        number,
    )
