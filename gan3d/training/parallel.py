"""The only `pmap`: the step's programs on every local device, each on its share of the batch.

Shape letters: B batch size, D devices, R resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gan3d.training.assemble import Parts
from gan3d.training.state import TrainState
from gan3d.training.step import StepPrograms, step_programs, take_step

if TYPE_CHECKING:
    from jaxtyping import UInt8

AXIS = "devices"

# Axes of the arguments, axes of the results, and which arguments are given up. None is the same on
# all devices and has no device axis: so the state keeps its shapes.
_AXES = StepPrograms(
    draw=((None, None, 0), 0, ()),
    discriminator_gradients=((None, None, 0, 0), 0, ()),
    penalised_gradients=((None, None, 0, 0), 0, ()),
    update_discriminator=((None, None, None, 0), None, (0, 1)),
    image_gradients=((None, None, 0, 0), 0, ()),
    generator_gradients=((0, 0), 0, ()),
    update_generator=((None, None, None, None, 0), None, (0, 1, 2, 3)),
    add=((0, 0), 0, (0,)),
)


def replicate(state: Any, devices: Sequence[jax.Device]) -> Any:
    """Puts a pytree on every device without a leading axis; its arrays look as before."""
    mesh = Mesh(np.asarray(devices), (AXIS,))
    return jax.device_put(state, NamedSharding(mesh, PartitionSpec()))


def shard_batch(images: UInt8[np.ndarray, "B R R 3"], num_devices: int) -> np.ndarray:
    """Splits a batch over the devices, uint8 [D, B/D, R, R, 3].

    Raises:
      ValueError: if the batch does not divide evenly.
    """
    if len(images) % num_devices:
        raise ValueError(f"batch must be divisible by {num_devices} devices, got {len(images)}")
    return images.reshape(num_devices, -1, *images.shape[1:])


def parallel_programs(parts: Parts, devices: Sequence[jax.Device]) -> StepPrograms:
    """`pmap` of every piece of the step."""

    def mapped(program, axes):
        in_axes, out_axes, donated = axes
        return jax.pmap(
            program,
            axis_name=AXIS,
            in_axes=in_axes,
            out_axes=out_axes,
            devices=list(devices),
            donate_argnums=donated,
        )

    return StepPrograms(*map(mapped, step_programs(parts, AXIS), _AXES))


def parallel_step(
    parts: Parts, devices: Sequence[jax.Device], programs: StepPrograms | None = None
) -> Callable[..., tuple[TrainState, dict[str, Any]]]:
    """The training step on several devices.

    Args:
      parts: from `assemble`.
      devices: of all processes, `jax.devices()` or those of one process.
      programs: from `parallel_programs`, or None to make them.

    Returns:
      (state, images sharded over this process's devices, key, penalise) -> (state, metrics). The
      state keeps no device axis and is donated.
    """
    programs = programs or parallel_programs(parts, devices)
    if devices[0].platform == "cpu":
        programs = StepPrograms(*map(_finished, programs))
    num_devices = sum(device.process_index == jax.process_index() for device in devices)
    num_parts = parts.config.microbatches

    def run(state: TrainState, images, key, penalise: bool):
        if len(images) != num_devices:
            raise ValueError(
                f"images must have a leading axis of {num_devices} devices, got {len(images)}"
            )
        return take_step(programs, state, np.split(images, num_parts, axis=1), key, penalise)

    return run


def _finished(program: Callable[..., Any]) -> Callable[..., Any]:
    """Waits for a program's results.

    On CPU a program in the queue takes threads from the one that runs: steps took a sixth longer.
    """
    return lambda *arguments: jax.block_until_ready(program(*arguments))
