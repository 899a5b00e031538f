"""Several processes that train one run together: one per host, or one per accelerator.

Every process runs the same program on its own devices and its own share of every batch. What
concerns the run as a whole, its directory and its checkpoints, is the first process's alone. There
is no elasticity: when a process ends, the others end too, and the same commands resume the run.
"""

from __future__ import annotations

import os
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

# A process that was killed is missed after this; the others then end within seconds.
HEARTBEAT_SECONDS = 20
# A process waits this long at its end for the others.
SHUTDOWN_SECONDS = 30
JOINING_SECONDS = 300


def join(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Makes this process one of several; before anything else of jax is used.

    Args:
      coordinator: "host:port" of the first process, where it listens.
      num_processes: how many there are.
      process_id: which this is, from 0. All three None = whatever the cluster says, where jax knows
        it: Slurm, Open MPI, Cloud TPU and others, see `jax.distributed.initialize`.

    Under Slurm and Open MPI one process per host drives all GPUs of the host, several drive one
    each. Elsewhere a process drives all that it sees; CUDA_VISIBLE_DEVICES and JAX_LOCAL_DEVICE_IDS
    say otherwise.

    Raises:
      ValueError: a number is out of range, some of the arguments are missing, or the cluster is
        none that jax knows.
      RuntimeError: the others did not come within five minutes.
    """
    given = (coordinator, num_processes, process_id)
    if any(value is not None for value in given):
        _check(coordinator, num_processes, process_id)
    try:
        jax.distributed.initialize(
            *given,
            initialization_timeout=JOINING_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=SHUTDOWN_SECONDS,
        )
    except ValueError as error:
        raise ValueError(
            "this is no cluster that jax knows: say coordinator, num_processes and process_id "
            f"({error})"
        ) from error
    if _is_alone_on_host() and "JAX_LOCAL_DEVICE_IDS" not in os.environ:
        # jax takes every process of Slurm or Open MPI for one of several on its host, which drives
        # one GPU, and would leave the others idle (https://github.com/jax-ml/jax/issues/16788).
        for platform in ("cuda", "rocm"):
            jax.config.update(f"jax_{platform}_visible_devices", "all")
    # On CPU the first collective waits 30 seconds for the others, and here nobody is busy yet.
    greatest(0)


def _is_alone_on_host() -> bool:
    """Whether Slurm or Open MPI started one process per host."""
    of_open_mpi = os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE")
    if of_open_mpi is not None:
        return int(of_open_mpi) == 1
    hosts = os.environ.get("SLURM_STEP_NUM_NODES")
    return hosts is not None and hosts == os.environ.get("SLURM_NTASKS")


def _check(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    if coordinator is None or num_processes is None or process_id is None:
        raise ValueError(
            "coordinator, num_processes and process_id must be given together, "
            f"got {coordinator!r}, {num_processes} and {process_id}"
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"coordinator must be HOST:PORT, got {coordinator!r}")
    if num_processes < 1:
        raise ValueError(f"num_processes must be at least 1, got {num_processes}")
    if not 0 <= process_id < num_processes:
        raise ValueError(
            f"process_id must be at least 0 and less than {num_processes}, got {process_id}"
        )


def is_first() -> bool:
    """Whether this process keeps the run's directory."""
    return jax.process_index() == 0


def from_first(tree: Any) -> Any:
    """The first process's values, on all; arrays of the same shapes everywhere."""
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(tree))


def greatest(number: int) -> int:
    """The greatest of the processes' numbers; every process waits for all."""
    if jax.process_count() == 1:
        return number
    return int(np.max(multihost_utils.process_allgather(np.int32(number))))
