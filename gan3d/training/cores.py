"""The cores of a CPU as devices of their own, each with its share of the batch.

One program keeps several cores busy in its large loops alone, and most of a step's are small.
"""

from __future__ import annotations

import os

import jax

from gan3d.config import Config, validate

# Images of a core: with fewer, adding up the gradients may cost more than the core gives.
_LEAST_IMAGES = 4


def use_cores(config: Config) -> None:
    """Makes as many cores devices as share the batch evenly; before anything else of jax is used.

    See `make_devices`.
    """
    make_devices(useful_cores(config, available_cores()))


def make_devices(number: int) -> None:
    """Divides the CPU into devices.

    Does nothing if it was said how many devices there are (`jax_num_cpu_devices`, or XLA_FLAGS), or
    if jax is in use already, as by one of several processes. Accelerators are not concerned.
    """
    if jax.config.jax_num_cpu_devices >= 0:
        return
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    try:
        jax.config.update("jax_num_cpu_devices", number)
    except RuntimeError:
        return  # too late


def available_cores() -> int:
    """Cores for which XLA starts a thread.

    More devices than threads would wait for one another: in a sum over devices each holds one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("NPROC", "")
    return max(1, min(cores or 1, int(threads) if threads.isdecimal() else cores or 1))


def useful_cores(config: Config, num_cores: int) -> int:
    """The most devices, of at least four images each, that can share the batch.

    >>> print(useful_cores(Config(batch=16), num_cores=2), useful_cores(Config(batch=16), 64))
    2 4
    >>> print(useful_cores(Config(batch=16, mbstd_group_size=8), num_cores=64))
    2
    """
    for number in range(min(num_cores, config.batch // _LEAST_IMAGES), 1, -1):
        try:
            validate(config, number)
        except ValueError:
            continue
        return number
    return 1
