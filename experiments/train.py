"""Trains a generator of textured 3D meshes; stopped at any point, the same command continues.

Without flags this is the demo: procedural heads, 32x32, on a CPU. All devices are used; on a CPU
the cores that share the batch evenly, each a device (JAX_NUM_CPU_DEVICES=1: as one). Several
processes, one per host, train one run together: give each the same command and its own number, or
--cluster where Slurm, Open MPI or a Cloud TPU started them.

  python -m experiments.train
  python -m experiments.train --preset=faces64 --data=folder:photographs
  python -m experiments.train --start_from=runs/demo --resolution=64 --run=runs/demo64
  python -m experiments.train --coordinator=first-host:12355 --num_processes=2 --process_id=0
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

from absl import flags

from experiments import flags as experiment_flags
from experiments.flags import UsageError
from gan3d.config import Config, validate


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    flag_values = flags.FlagValues()
    flags.DEFINE_string("run", None, "run directory; default runs/PRESET", flag_values=flag_values)
    experiment_flags.define_process_flags(flag_values)
    experiment_flags.define_config_flags(flag_values)
    experiment_flags.parse(flag_values, argv, __doc__)
    config = experiment_flags.config_from_flags(flag_values)
    experiment_flags.join_others(flag_values)
    return train(config, flag_values.run or f"runs/{config.preset}")


def train(config: Config, run_dir: str) -> int:
    """Trains in `run_dir`; returns the exit code."""
    import jax  # slow imports, after the flags are known to be right

    from gan3d.data import UnreadableImageError
    from gan3d.training import checkpoint, cores, directory, interruption, loop, processes, transfer

    cores.use_cores(config)
    try:
        devices = jax.devices()
        validate(config, len(devices))
        if processes.is_first():
            directory.check_run_directory(run_dir, config)
            transfer.check_start(config, run_dir)
        source = loop.open_training_source(config)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    if processes.is_first():
        print(_announcement(config, run_dir, len(source), devices), flush=True)
    failures = (
        checkpoint.CheckpointError,
        directory.WriteError,
        FloatingPointError,
        UnreadableImageError,
    )
    try:
        loop.train(config, run_dir, source)
    except (directory.RunDirectoryError, transfer.TransferError) as error:
        raise UsageError(str(error)) from error
    except failures as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except interruption.Interrupted as stop:
        print(stop, file=sys.stderr)
        return 128 + stop.signal_number
    return 0


def _announcement(config: Config, run_dir: str, num_images: int, devices: Sequence) -> str:
    return (
        f"training preset {config.preset}: {config.data} ({num_images:,} images) at "
        f"{config.resolution}x{config.resolution}, {config.images:,} images in batches of "
        f"{config.batch}, on {len(devices)} x {devices[0].device_kind}"
        f"{_processes(devices)}, in {run_dir}"
    )


def _processes(devices: Sequence) -> str:
    number = len({device.process_index for device in devices})
    return f" of {number} processes" if number > 1 else ""


if __name__ == "__main__":
    # Tracing makes very many objects and little garbage: looking for it took a tenth of the start.
    gc.set_threshold(200_000, 20, 100)
    sys.exit(experiment_flags.run(main, sys.argv))
