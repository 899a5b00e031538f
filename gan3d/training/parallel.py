"""The only `pmap`: one step on every local device, on its share of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gan3d.training.state import TrainState
from gan3d.training.step import Step

if TYPE_CHECKING:
    from jaxtyping import Array, UInt8

AXIS = "devices"


def replicate(state: Any, devices: Sequence[jax.Device]) -> Any:
    """Puts a pytree on every device without a leading axis; its arrays look as before."""
    mesh = Mesh(np.asarray(devices), (AXIS,))
    return jax.device_put(state, NamedSharding(mesh, PartitionSpec()))


def shard_batch(images: UInt8[Array, "B R R 3"], num_devices: int) -> UInt8[Array, "D B/D R R 3"]:
    """Splits a batch over the devices.

    Raises:
      ValueError: if the batch does not divide evenly.
    """
    if len(images) % num_devices:
        raise ValueError(f"batch must be divisible by {num_devices} devices, got {len(images)}")
    return images.reshape(num_devices, -1, *images.shape[1:])


def parallel_step(step: Step, devices: Sequence[jax.Device]):
    """`pmap` of a step made with axis_name=AXIS.

    Args:
      step: (state, images, key) -> (state, metrics), averaging over AXIS.
      devices: local devices.

    Returns:
      (state, sharded images, key) -> (state, metrics). The state keeps no device axis and is
      donated.
    """
    mapped = jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, 0, None),
        out_axes=(None, None),
        devices=list(devices),
        donate_argnums=0,
    )

    def run(state: TrainState, images, key) -> tuple[TrainState, dict[str, Array]]:
        if len(images) != len(devices):
            raise ValueError(
                f"images must have a leading axis of {len(devices)} devices, got {len(images)}"
            )
        return mapped(state, images, key)

    return run
