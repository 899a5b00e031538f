"""Times the training step of a preset on this machine's devices, and where its time goes.

    python -m experiments.benchmark_train
    python -m experiments.benchmark_train --preset=faces64 --batch=64 --json=training.json
    python -m experiments.benchmark_train --coordinator=HOST:12355 --num_processes=2 --process_id=0

The step is the one that training runs, on all devices of all processes (on a CPU, on the cores that
share the batch evenly), with and without gradient penalties in the proportion that
--penalty_interval sets. Every step sees the same batch of random images, which is in memory
already: no data is read, and what the input pipeline costs is not included. Every turn starts from
the initial parameters.

The pieces of the step are timed one by one while it trains, the renderer, which is a part of two of
them, alone, for one device's share of the batch. Accelerators train with the whole step as one
program; there the step in pieces, which the parts belong to, is timed beside it. All take turns;
numbers are medians over the turns.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import json
import math
import os
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments import flags as experiment_flags
from experiments.flags import UsageError
from experiments.step_parts import (
    Training,
    prepare_all_reduce,
    prepare_renderer,
    prepare_training,
    seconds_per_call,
    seconds_per_program,
)
from experiments.step_report import COMMUNICATION, PIECES, STEP, format_report, summary
from experiments.turns import define_lock_flag, taking_turns
from gan3d.config import Config, validate
from gan3d.training import cores
from gan3d.training.assemble import assemble

_say = functools.partial(print, flush=True)


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    define = lambda kind, *args: kind(*args, flag_values=values)  # noqa: E731
    define(flags.DEFINE_integer, "repeats", 5, "turns of each, of which the median counts")
    define(
        flags.DEFINE_integer, "steps", 8, "steps per turn, rounded up to whole penalty intervals"
    )
    define(flags.DEFINE_string, "json", None, "file to write the numbers to")
    define(
        flags.DEFINE_float,
        "peak_tflops",
        None,
        "peak TFLOP/s of one device, to give the share of it; None = not known",
    )
    define_lock_flag(values)
    experiment_flags.define_process_flags(values)
    experiment_flags.define_config_flags(values)
    return values


def benchmark(
    config: Config,
    repeats: int,
    steps: int,
    peak_tflops: float | None = None,
    lock: str | None = None,
    report: Callable[[str], None] = _say,
) -> dict[str, Any]:
    """Times the training step of a configuration and its parts.

    Args:
      config: valid for the number of local devices; its data is not read.
      repeats: turns of each.
      steps: per turn, rounded up to a multiple of the penalty interval.
      peak_tflops: peak TFLOP/s of one device, None = not known.
      lock: see `turns.taking_turns`.
      report: called with one line of progress at a time.

    Returns:
      What --json holds.
    """
    report(announcement(config))
    parts, num_devices = assemble(config), jax.device_count()
    shape = (config.batch, config.resolution, config.resolution, 3)
    images = np.random.default_rng(config.seed).integers(0, 256, shape, np.uint8)
    with taking_turns(lock) as wait:
        training = prepare_training(parts, images, report)
        alone = prepare_renderer(parts, training.state, config.batch // num_devices, report)
        alone[COMMUNICATION], gradient_bytes = prepare_all_reduce(training.state)
        steps = math.ceil(steps / config.penalty_interval) * config.penalty_interval
        wait()
        _turn(training, alone, 1)  # what runs only once is not measured: allocations, page faults
        seconds = collections.defaultdict(list)
        for repeat in range(repeats):
            report(f"repeat {repeat + 1} of {repeats}")
            for name, value in _turn(training, alone, steps).items():
                seconds[name].append(value)
    return {
        "machine": _machine(),
        "config": dataclasses.asdict(config),
        "repeats": repeats,
        "steps": steps,
        **summary(training, seconds, num_devices, gradient_bytes, peak_tflops),
    }


def _turn(
    training: Training, alone: Mapping[str, Callable[[], Any]], steps: int
) -> dict[str, float]:
    """Seconds per step, per program of it, and per call of what is measured alone."""
    in_pieces = {}
    if training.whole:
        in_pieces[PIECES] = seconds_per_call(training.start(programs=training.programs), steps)
    return {
        STEP: seconds_per_call(training.start(), steps),
        **in_pieces,
        **seconds_per_program(training, max(steps, training.config.penalty_interval)),
        **{name: seconds_per_call(call, steps) for name, call in alone.items()},
    }


def announcement(config: Config) -> str:
    """What is measured, and on what."""
    num_faces = 2 * config.surface_size**2
    return (
        f"training step of preset {config.preset}: {config.resolution}x{config.resolution}, "
        f"batch {config.batch}, {num_faces:,} faces, widths {config.generator_width} and "
        f"{config.discriminator_width}, penalties every {config.penalty_interval} steps, "
        f"on {jax.device_count()} x {jax.devices()[0].device_kind}, "
        f"jax {jax.__version__}"
    )


def _machine() -> dict[str, Any]:
    return {
        "backend": jax.default_backend(),
        "device": jax.local_devices()[0].device_kind,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "jax": jax.__version__,
    }


def _checked(values: flags.FlagValues) -> Config:
    """The configuration, when all flags are right.

    Raises:
      UsageError: says which flag is wrong.
    """
    for name in ("repeats", "steps"):
        if values[name].value < 1:
            raise UsageError(f"--{name} must be at least 1, got {values[name].value}")
    peak = values.peak_tflops
    if peak is not None and not 0 < peak < math.inf:
        raise UsageError(f"--peak_tflops must be positive and finite, got {peak}")
    config = experiment_flags.config_from_flags(values)
    try:
        # No data is opened, so that a preset that needs a folder is measured without one.
        validate(dataclasses.replace(config, data="heads"), jax.device_count())
    except ValueError as error:
        raise UsageError(str(error)) from error
    return config


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    values = _define_flags()
    experiment_flags.parse(values, argv, __doc__)
    experiment_flags.check_output("json", values.json)
    experiment_flags.check_output("lock", values.lock)
    experiment_flags.join_others(values)
    cores.use_cores(experiment_flags.config_from_flags(values))
    config = _checked(values)
    # A compilation read from disk would not count.
    jax.config.update("jax_enable_compilation_cache", False)
    report = _say if jax.process_index() == 0 else lambda line: None
    result = benchmark(
        config, values.repeats, values.steps, values.peak_tflops, values.lock, report
    )
    if jax.process_index() > 0:
        return 0
    print(format_report(result))
    if values.json:
        path = pathlib.Path(values.json)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(experiment_flags.run(main, sys.argv))
