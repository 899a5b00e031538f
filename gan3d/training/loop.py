"""The training loop: everything around the pure step.

Images seen is the only clock. Randomness and data order are functions of it and of the seed, and a
checkpoint holds the whole state, so that a run that was stopped anywhere and started again ends
with the same parameters, bit by bit, on the same kind and number of devices.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from typing import TYPE_CHECKING, NamedTuple

import jax

from gan3d.config import Config, validate
from gan3d.data.pipeline import Batches, batches
from gan3d.data.sources import ImageSource, open_source
from gan3d.training import processes
from gan3d.training.ahead import compilers
from gan3d.training.assemble import Parts, assemble
from gan3d.training.interruption import Interrupted, StopSignals
from gan3d.training.joined import split_all
from gan3d.training.parallel import parallel_step, replicate, shard_batch
from gan3d.training.progress import Progress, crosses
from gan3d.training.record import NoRecord, Record
from gan3d.training.rollbacks import agreed, generation, keys, rolled_back
from gan3d.training.state import TrainState
from gan3d.training.step import penalised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from jaxtyping import Array, Float, UInt8

_STEPS_IN_FLIGHT = 4
# Steps between two moments at which several processes agree whether one was asked to stop.
_AGREEING_STEPS = 16


def train(
    config: Config,
    run_dir: str | os.PathLike,
    source: ImageSource | None = None,
    on_look: Callable[[int, Path], None] | None = None,
) -> TrainState:
    """Trains to `config.images`, or continues a run that was stopped.

    The run directory gets config.json, metrics.jsonl, tensorboard/, sheets/ and checkpoints/, and
    rollbacks.json if the run had to go back. With every sheet the dashboard of `training.dashboard`
    is logged. Uses all devices, and where there are several processes, see `training.processes`,
    all processes; the first alone needs the run directory, all of them the data.

    Args:
      config: what to train.
      run_dir: of a new run, or of one with the same configuration; its length and intervals may
        differ.
      source: training images; None = opens the one that config.data names.
      on_look: called with images seen and the path of the sheet after every look at the samples,
        in the first process; for notebooks.

    Returns:
      The final state.

    Raises:
      ValueError: the configuration is not valid.
      TransferError: the run that config.start_from names cannot be begun with; a ValueError.
      RunDirectoryError: the directory belongs to another run, or cannot be written.
      CheckpointError: there are checkpoints, but this run cannot continue from them.
      FloatingPointError: a loss or a parameter is not finite; that state is not saved. With
        nan_policy "rollback" only if going back to the newest checkpoint has not helped.
      WriteError: the disk is full, or the run directory cannot be written any more.
      Interrupted: SIGTERM or SIGINT arrived, at any of the processes; the state is saved.

    >>> state = gan3d.train(config, run)  # a run that was stopped goes on; this one is finished
    resuming at 320 images
    nothing left to do: ...tiny is finished
    >>> print(int(state.images_seen), "images seen")
    320 images seen
    """
    validate(config, jax.device_count())
    source = open_training_source(config) if source is None else source
    with contextlib.ExitStack() as stack:
        parts = assemble(config)
        first = processes.is_first()
        record = Record(parts, run_dir, on_look) if first else NoRecord(parts)
        stack.enter_context(record)
        stop = stack.enter_context(StopSignals())
        pool = stack.enter_context(compilers())
        step = functools.cache(lambda: parallel_step(parts, jax.devices(), pool=pool))
        run = _Run(parts, source, record, stop, step, run_dir)
        rollbacks = agreed(record.read_rollbacks())
        state = processes.from_first(record.restore())
        if state.images_seen > 0:
            record.say(f"resuming at {state.images_seen:,} images")
        while True:
            try:
                return _train_from(run, state, rollbacks)
            except FloatingPointError as error:
                if config.nan_policy == "stop":
                    raise
                reason = str(error)
            # Not where it is caught: there the failed state still takes its memory.
            state, rollbacks = _roll_back(record, rollbacks, reason)


class _Run(NamedTuple):
    """What stays when a run goes back to a checkpoint; the step is made when it is needed."""

    parts: Parts
    source: ImageSource
    record: Record | NoRecord
    stop: StopSignals
    step: Callable[[], Callable[..., tuple[TrainState, dict[str, Float[Array, ""]]]]]
    directory: str | os.PathLike


def _train_from(run: _Run, state: TrainState, rollbacks: Sequence[int]) -> TrainState:
    """Trains to the end; raises as `train`."""
    config, record = run.parts.config, run.record
    images_seen = int(state.images_seen)
    # A run may have been killed between its last checkpoint and the look that was due there.
    look_missing = _look_due(config, images_seen) and not record.has_looked(images_seen)
    finished = images_seen >= config.images
    if finished and not look_missing:
        record.say(f"nothing left to do: {run.directory} is finished")
        return state
    with contextlib.ExitStack() as stack:
        stack.enter_context(record.writing(images_seen))
        if not finished:
            # Compiled beside the look at the samples, which has programs of its own to compile.
            run.step()
        if look_missing:
            record.observe(images_seen, state.ema_params)
        if finished:
            return state

        stream = stack.enter_context(contextlib.closing(_batches(config, run.source, images_seen)))
        record.say("compiling the training step")
        progress = _progress(config, record, images_seen)
        steps = _steps(run, state, images_seen, stream, rollbacks)
        for state, images_seen, metrics in steps:
            progress.add(images_seen, metrics)
            finished = images_seen >= config.images
            stopped_by = _stopped_by(run.stop, images_seen // config.batch)
            if finished or stopped_by:
                break
            if _look_due(config, images_seen):
                record.observe(images_seen, split_all(state.ema_params))
            if _crosses(config, config.checkpoint_interval_images, images_seen):
                progress.drain()
                record.save(images_seen, split_all(state))

        progress.finish()
        state = split_all(state)
        _leave(config, record, images_seen, state)
    if not finished:
        raise _interrupted(stopped_by, images_seen, config, run.directory)
    record.say(f"finished: {images_seen:,} images, in {run.directory}")
    return state


def _leave(config: Config, record: Record | NoRecord, images_seen: int, state: TrainState) -> None:
    record.save(images_seen, state)
    record.wait()
    # Also when interrupted, since the run that continues starts behind this point; but only now
    # that the state is safe.
    if _look_due(config, images_seen):
        record.observe(images_seen, state.ema_params)


def _roll_back(
    record: Record | NoRecord, rollbacks: Sequence[int], reason: str
) -> tuple[TrainState, list[int]]:
    """Newest intact state and list of rollbacks to go on with, the same on all processes.

    Raises:
      FloatingPointError: going back has not helped.
    """
    record.wait()
    state = processes.from_first(record.restore())
    back_to = int(state.images_seen)
    rollbacks = rolled_back(rollbacks, back_to, reason)
    record.write_rollbacks(rollbacks)
    record.say(
        f"{reason}: going back to {back_to:,} images, on with other randomness "
        f"(rollback {len(rollbacks)})"
    )
    return state, rollbacks


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
    run: _Run,
    state: TrainState,
    images_seen: int,
    stream: Iterable[UInt8[np.ndarray, "B R R 3"]],
    rollbacks: Sequence[int],
) -> Iterator[tuple[TrainState, int, dict[str, Float[Array, ""]]]]:
    """Endless training; yields state, images seen and metrics after every step."""
    config, step, devices = run.parts.config, run.step(), jax.local_devices()
    all_keys = keys(jax.random.key(config.seed), rollbacks)
    state = replicate(state, devices)
    for images in stream:
        key = all_keys[generation(rollbacks, images_seen)]
        penalise = penalised(config, images_seen)
        state, metrics = step(state, shard_batch(images, len(devices)), key, penalise)
        images_seen += config.batch
        yield state, images_seen, metrics


def _batches(config: Config, source: ImageSource, images_seen: int) -> Batches:
    return batches(
        source,
        config.batch,
        config.seed,
        images_seen,
        config.mirror,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def _look_due(config: Config, images_seen: int) -> bool:
    """Whether samples are looked at here: at the start, at the interval, and at the end."""
    due = _crosses(config, config.sheet_interval_images, images_seen)
    return due or images_seen >= config.images


def _crosses(config: Config, interval: int, images_seen: int) -> bool:
    return crosses(interval, images_seen - config.batch, images_seen)


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
