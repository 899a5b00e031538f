"""The training loop: everything around the pure step.

Images seen is the only clock. Randomness and data order are functions of it and of the seed, and a
checkpoint holds the whole state, so that a run that was stopped anywhere and started again ends
with the same parameters, bit by bit, on the same kind and number of devices.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

import jax

from gan3d.config import Config, validate
from gan3d.data.pipeline import batches
from gan3d.data.sources import ImageSource, open_source
from gan3d.training import processes
from gan3d.training.assemble import Parts, assemble
from gan3d.training.interruption import Interrupted, StopSignals
from gan3d.training.parallel import parallel_step, replicate, shard_batch
from gan3d.training.progress import Progress, crosses
from gan3d.training.record import NoRecord, Record
from gan3d.training.state import TrainState
from gan3d.training.step import penalised

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from jaxtyping import Array, Float, UInt8

_STEPS_IN_FLIGHT = 4
# Steps between two moments at which several processes agree whether one was asked to stop.
_AGREEING_STEPS = 16


def train(
    config: Config, run_dir: str | os.PathLike, source: ImageSource | None = None
) -> TrainState:
    """Trains to `config.images`, or continues a run that was stopped.

    The run directory gets config.json, metrics.jsonl, tensorboard/, sheets/ and checkpoints/. With
    every sheet the dashboard of `training.dashboard` is logged. Uses all devices, and where there
    are several processes, see `training.processes`, all processes; the first alone needs the run
    directory, all of them the data.

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
      Interrupted: SIGTERM or SIGINT arrived, at any of the processes; the state is saved.
    """
    validate(config, jax.device_count())
    source = open_training_source(config) if source is None else source
    with contextlib.ExitStack() as stack:
        parts = assemble(config)
        record = Record(parts, run_dir) if processes.is_first() else NoRecord(parts)
        stack.enter_context(record)
        stop = stack.enter_context(StopSignals())
        state = processes.from_first(record.restore())
        images_seen = int(state.images_seen)
        if images_seen >= config.images:
            record.say(f"nothing left to do: {run_dir} is finished")
            return state

        stream = batches(
            source,
            config.batch,
            config.seed,
            images_seen,
            config.mirror,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        stack.enter_context(contextlib.closing(stream))
        record.start(images_seen, state.ema_params)
        record.say("compiling the training step")
        progress = _progress(config, record, images_seen)
        steps = _steps(parts, state, images_seen, stream)
        for state, images_seen, metrics in steps:
            progress.add(images_seen, metrics)
            before = images_seen - config.batch
            finished = images_seen >= config.images
            observing = finished or crosses(config.sheet_interval_images, before, images_seen)
            stopped_by = _stopped_by(stop, images_seen // config.batch)
            if finished or stopped_by:
                break
            if observing:
                record.observe(images_seen, state.ema_params)
            if crosses(config.checkpoint_interval_images, before, images_seen):
                progress.drain()
                record.save(images_seen, state)

        progress.finish()
        record.save(images_seen, state)
        record.wait()
        # Also when interrupted, since the run that continues starts behind this point; but only now
        # that the state is safe.
        if observing:
            record.observe(images_seen, state.ema_params)
        if not finished:
            raise _interrupted(stopped_by, images_seen, config, run_dir)
        record.say(f"finished: {images_seen:,} images, in {run_dir}")
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


def _steps(
    parts: Parts,
    state: TrainState,
    images_seen: int,
    stream: Iterable[UInt8[np.ndarray, "B R R 3"]],
) -> Iterator[tuple[TrainState, int, dict[str, Float[Array, ""]]]]:
    """Endless training; yields state, images seen and metrics after every step."""
    devices = jax.local_devices()
    step = parallel_step(parts, jax.devices())
    key = jax.random.key(parts.config.seed)
    state = replicate(state, devices)
    for images in stream:
        penalise = penalised(parts.config, images_seen)
        state, metrics = step(state, shard_batch(images, len(devices)), key, penalise)
        images_seen += parts.config.batch
        yield state, images_seen, metrics


def _progress(config: Config, record: Record | NoRecord, images_seen: int) -> Progress:
    in_flight = 0 if jax.default_backend() == "cpu" else _STEPS_IN_FLIGHT
    return Progress(record, images_seen, config.images, config.log_interval_images, in_flight)


def _stopped_by(stop: StopSignals, steps_taken: int) -> int:
    """Number of the signal that asks the run to stop, the same on all processes, or 0."""
    if jax.process_count() > 1 and steps_taken % _AGREEING_STEPS:
        return 0
    return processes.greatest(stop.received or 0)


def _interrupted(
    number: int, images_seen: int, config: Config, run_dir: str | os.PathLike
) -> Interrupted:
    name = signal.Signals(number).name
    return Interrupted(
        f"{name}: saved {run_dir} at {images_seen:,} of {config.images:,} images; "
        "the same command continues",
        number,
    )
