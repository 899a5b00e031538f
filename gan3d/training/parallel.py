"""The only `pmap`: the step on every local device, each on its share of the batch.

As one program on accelerators, where the host would be busy for longer with the arrays that go from
piece to piece than the device with the arithmetic. In pieces on CPU, where one program is no faster
and two whole ones, with penalties and without, are longer to compile; and in pieces for a batch in
microbatches, which is there to save memory.

Between steps, and between the pieces, parameters and their gradients are joined, see
`training.joined`.

Shape letters: B batch size, D devices, R resolution.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gan3d.config import Config
from gan3d.training.ahead import compile_ahead, compile_whole_ahead
from gan3d.training.assemble import Parts, init_state
from gan3d.training.joined import Joined, join, join_state, split_all
from gan3d.training.state import TrainState
from gan3d.training.step import StepPrograms, step_programs, take_step

if TYPE_CHECKING:
    from jaxtyping import UInt8

AXIS = "devices"

# Of steps: with gradient penalties, and without.
_KINDS = (True, False)

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


def in_pieces(config: Config, devices: Sequence[jax.Device]) -> bool:
    """Whether the step is compiled in pieces on these devices, or else as one program."""
    return devices[0].platform == "cpu" or config.microbatches > 1


def parallel_programs(parts: Parts, devices: Sequence[jax.Device]) -> StepPrograms:
    """`pmap` of every piece of the step, for a state that is joined."""
    pieces = zip(_on_joined(step_programs(parts, AXIS)), _AXES, strict=True)
    return StepPrograms(*(_mapped(piece, devices, *axes) for piece, axes in pieces))


def whole_programs(
    parts: Parts, devices: Sequence[jax.Device]
) -> dict[bool, Callable[..., tuple[TrainState, dict[str, Any]]]]:
    """`pmap` of the whole step, for a state that is joined, by whether it has penalties.

    Each is (state, images sharded over the devices, key) -> (state, metrics), without microbatches.
    """
    pieces = _on_joined(step_programs(parts, AXIS))

    def step(penalise: bool, state: TrainState, images, key):
        return take_step(pieces, state, [images], key, penalise)

    whole = lambda penalise: functools.partial(step, penalise)  # noqa: E731
    return {kind: _mapped(whole(kind), devices, (None, 0, None), None, (0,)) for kind in _KINDS}


def _mapped(function, devices, in_axes, out_axes, donated):
    return jax.pmap(
        function,
        axis_name=AXIS,
        in_axes=in_axes,
        out_axes=out_axes,
        devices=list(devices),
        donate_argnums=donated,
    )


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
    programs: StepPrograms | Mapping[bool, Callable[..., Any]] | None = None,
    pool: Executor | None = None,
) -> Callable[..., tuple[TrainState, dict[str, Any]]]:
    """The training step on several devices.

    Args:
      parts: from `assemble`.
      devices: of all processes, `jax.devices()` or those of one process.
      programs: from `parallel_programs` or `whole_programs`, or None to make those that suit the
        devices, see `in_pieces`.
      pool: from `ahead.compilers`: the step is compiled there, from now on. None = when it is
        called, and always so where there are several processes.

    Returns:
      (state, images sharded over this process's devices, key, penalise) -> (state, metrics). The
      state may be joined or not, comes back joined, keeps no device axis and is donated.
    """
    if programs is None:
        make = parallel_programs if in_pieces(parts.config, devices) else whole_programs
        programs = make(parts, devices)
    # What is compiled ahead for several processes would want the images of all of them.
    if jax.process_count() > 1:
        pool = None
    of_programs = _steps_in_pieces if isinstance(programs, StepPrograms) else _whole_steps
    steps = of_programs(parts, programs, devices, pool)
    num_devices = sum(device.process_index == jax.process_index() for device in devices)

    def run(state: TrainState, images, key, penalise: bool):
        if len(images) != num_devices:
            raise ValueError(
                f"images must have a leading axis of {num_devices} devices, got {len(images)}"
            )
        if not isinstance(state.generator_params, Joined):
            state = replicate(join_state(jax.device_get(state)), devices)
        return steps[penalise](state, images, key)

    return run


def _steps_in_pieces(
    parts: Parts, programs: StepPrograms, devices: Sequence[jax.Device], pool: Executor | None
) -> dict[bool, Callable[..., Any]]:
    """By kind of step, with penalties or without."""
    by_kind, num_parts = dict.fromkeys(_KINDS, programs), parts.config.microbatches
    if pool is not None:
        state, images, key = _shapes(parts, len(devices))
        microbatches = jax.eval_shape(lambda images: jnp.split(images, num_parts, axis=1), images)
        take = lambda given, kind: take_step(given, state, microbatches, key, kind)  # noqa: E731
        by_kind |= compile_ahead(programs, take, _kinds_taken(parts.config), pool)
    if devices[0].platform == "cpu":
        by_kind = {kind: _all_finished(given) for kind, given in by_kind.items()}

    def step(kind: bool, state: TrainState, images, key):
        microbatches = np.split(images, num_parts, axis=1)
        return take_step(by_kind[kind], state, microbatches, key, kind)

    return {kind: functools.partial(step, kind) for kind in _KINDS}


def _whole_steps(
    parts: Parts,
    programs: Mapping[bool, Callable[..., Any]],
    devices: Sequence[jax.Device],
    pool: Executor | None,
) -> dict[bool, Callable[..., Any]]:
    """By kind of step, with penalties or without."""
    if pool is None:
        return dict(programs)
    arguments = _shapes(parts, len(devices))
    taken = {kind: programs[kind] for kind in _kinds_taken(parts.config)}
    return {**programs, **compile_whole_ahead(taken, arguments, pool)}


def _kinds_taken(config: Config) -> tuple[bool, ...]:
    """The kinds of step of a training, in the order in which they come."""
    return _KINDS[: config.penalty_interval]


def _shapes(parts: Parts, num_devices: int) -> tuple[Any, Any, Any]:
    """Of a step's state, images and key."""
    config = parts.config
    state = jax.eval_shape(lambda: join_state(init_state(parts, config.seed)))
    size, per_device = config.resolution, config.batch // num_devices
    images = jax.ShapeDtypeStruct((num_devices, per_device, size, size, 3), np.uint8)
    return state, images, jax.eval_shape(lambda: jax.random.key(config.seed))


def _all_finished(programs: StepPrograms) -> StepPrograms:
    """Waits for every program's results.

    On CPU a program in the queue takes threads from the one that runs: steps took a sixth longer.
    """

    def finished(program):
        return lambda *arguments: jax.block_until_ready(program(*arguments))

    return StepPrograms(*map(finished, programs))
