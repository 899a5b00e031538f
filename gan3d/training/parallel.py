"""The only `pmap`: the step's programs on every local device, each on its share of the batch.

Between them parameters and their gradients are joined, see `training.joined`.

Shape letters: B batch size, D devices, R resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gan3d.training.ahead import compile_ahead
from gan3d.training.assemble import Parts, init_state
from gan3d.training.joined import Joined, join, join_state, split_all
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
    """`pmap` of every piece of the step, for a state that is joined."""

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

    return StepPrograms(*map(mapped, _on_joined(step_programs(parts, AXIS)), _AXES))


def _on_joined(programs: StepPrograms) -> StepPrograms:
    """The pieces with joined parameters and gradients.

    The updates compute number by number and take them as they come.
    """
    of_whole = lambda program: lambda params, *rest: program(split_all(params), *rest)  # noqa: E731

    def joined_total(program):
        def run(*arguments):
            gradients, metrics = program(*arguments)
            return join(gradients), metrics

        return run

    return programs._replace(
        draw=of_whole(programs.draw),
        discriminator_gradients=joined_total(of_whole(programs.discriminator_gradients)),
        penalised_gradients=joined_total(of_whole(programs.penalised_gradients)),
        image_gradients=of_whole(programs.image_gradients),
        generator_gradients=lambda *arguments: join(programs.generator_gradients(*arguments)),
    )


def parallel_step(
    parts: Parts,
    devices: Sequence[jax.Device],
    programs: StepPrograms | None = None,
    pool: Executor | None = None,
) -> Callable[..., tuple[TrainState, dict[str, Any]]]:
    """The training step on several devices.

    Args:
      parts: from `assemble`.
      devices: of all processes, `jax.devices()` or those of one process.
      programs: from `parallel_programs`, or None to make them.
      pool: from `ahead.compilers`: the step is compiled there, from now on. None = when it is
        called, and always so where there are several processes.

    Returns:
      (state, images sharded over this process's devices, key, penalise) -> (state, metrics). The
      state may be joined or not, comes back joined, keeps no device axis and is donated.
    """
    given = programs or parallel_programs(parts, devices)
    by_kind = dict.fromkeys((False, True), given)
    # What is compiled ahead for several processes would want the images of all of them.
    if pool is not None and jax.process_count() == 1:
        by_kind.update(_compiled_ahead(parts, given, len(devices), pool))
    if devices[0].platform == "cpu":
        by_kind = {kind: _all_finished(programs) for kind, programs in by_kind.items()}
    num_devices = sum(device.process_index == jax.process_index() for device in devices)

    def run(state: TrainState, images, key, penalise: bool):
        if len(images) != num_devices:
            raise ValueError(
                f"images must have a leading axis of {num_devices} devices, got {len(images)}"
            )
        if not isinstance(state.generator_params, Joined):
            state = replicate(join_state(jax.device_get(state)), devices)
        microbatches = np.split(images, parts.config.microbatches, axis=1)
        return take_step(by_kind[penalise], state, microbatches, key, penalise)

    return run


def _compiled_ahead(
    parts: Parts, programs: StepPrograms, num_devices: int, pool: Executor
) -> dict[bool, StepPrograms]:
    """By kind of step, with penalties or without, if a training takes such steps."""
    config = parts.config
    state = jax.eval_shape(lambda: join_state(init_state(parts, config.seed)))
    per_part = config.batch // num_devices // config.microbatches
    size = config.resolution
    images = jax.ShapeDtypeStruct((num_devices, per_part, size, size, 3), np.uint8)
    key = jax.eval_shape(lambda: jax.random.key(config.seed))

    def take(programs, penalise):
        return take_step(programs, state, [images] * config.microbatches, key, penalise)

    return compile_ahead(programs, take, (True, False)[: config.penalty_interval], pool)


def _all_finished(programs: StepPrograms) -> StepPrograms:
    """Waits for every program's results.

    On CPU a program in the queue takes threads from the one that runs: steps took a sixth longer.
    """

    def finished(program):
        return lambda *arguments: jax.block_until_ready(program(*arguments))

    return StepPrograms(*map(finished, programs))
