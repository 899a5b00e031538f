"""The training step for its benchmark: the programs that train, and the renderer compiled alone.

Shape letters: B images of a step over all devices, b of one device, R resolution.
"""

from __future__ import annotations

import collections
import functools
import itertools
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan3d.config import Config
from gan3d.scene import render_scene
from gan3d.training.assemble import Parts, generate, init_state, place_views
from gan3d.training.drawing import draw_latents
from gan3d.training.parallel import (
    AXIS,
    in_pieces,
    parallel_programs,
    parallel_step,
    replicate,
    shard_batch,
    whole_programs,
)
from gan3d.training.state import TrainState
from gan3d.training.step import StepPrograms, penalised

if TYPE_CHECKING:
    from jaxtyping import Array, UInt8

RENDERER_FORWARD = "renderer, forward"
RENDERER_BACKWARD = "renderer, backward"
# The step as one program, by whether it has gradient penalties.
WHOLE = {True: "whole step, with penalties", False: "whole step, without"}


class Cost(NamedTuple):
    """What a program costs.

    Attributes:
      compile_seconds: tracing, lowering and compiling; with several processes also running once.
      flops: on all devices, counted by XLA's cost analysis, in which the body of a loop counts
        once; None where the backend counts none.
      memory_bytes: that one device holds while it runs: arguments, results and temporaries; None
        where the backend does not say.
    """

    compile_seconds: float
    flops: float | None
    memory_bytes: int | None


class Training(NamedTuple):
    """A training that can be started any number of times.

    Attributes:
      parts: from `assemble`.
      programs: the pieces of the step, compiled.
      costs: of every program that ran, by its name in `StepPrograms` or `WHOLE`.
      state: before the first step, on the host.
      images: the batch of every step, on the host, split over the devices.
      key: the run's key.
      whole: the step as one program, by whether it has penalties, if that is how these devices
        train, or None.
    """

    parts: Parts
    programs: StepPrograms
    costs: Mapping[str, Cost]
    state: TrainState
    images: UInt8[np.ndarray, "D B/D R R 3"]
    key: Array
    whole: Mapping[bool, Callable[..., Any]] | None = None

    @property
    def config(self) -> Config:
        return self.parts.config

    @property
    def cycle(self) -> list[bool]:
        """Which steps of a penalty interval compute the penalties."""
        batch = self.config.batch
        return [penalised(self.config, i * batch) for i in range(self.config.penalty_interval)]

    def start(
        self, penalise: bool | None = None, programs: StepPrograms | None = None
    ) -> Callable[[], Any]:
        """A new training, as a function that takes the next step each time it is called.

        Args:
          penalise: None computes penalties when training does; else always or never.
          programs: None = those that train on these devices.
        """
        order = itertools.cycle(self.cycle if penalise is None else [penalise])
        state = replicate(self.state, jax.local_devices())
        programs = programs or self.whole or self.programs
        take = parallel_step(self.parts, jax.devices(), programs)

        def step():
            nonlocal state
            state, metrics = take(state, self.images, self.key, next(order))
            return metrics

        return step


def prepare_training(
    parts: Parts, images: UInt8[np.ndarray, "B R R 3"], report: Callable[[str], None]
) -> Training:
    """Compiles the step for all devices, of all processes, and draws the initial state.

    Args:
      parts: from `assemble`.
      images: the batch that every step sees.
      report: called with one line of progress at a time.
    """
    devices, costs, whole = jax.devices(), {}, None
    compiled = lambda name, program: _compiled_at_first_call(  # noqa: E731
        name, program, len(devices), costs, report
    )
    pieces = parallel_programs(parts, devices)._asdict()
    programs = StepPrograms(*itertools.starmap(compiled, pieces.items()))
    if not in_pieces(parts.config, devices):
        by_kind = whole_programs(parts, devices)
        whole = {kind: compiled(WHOLE[kind], program) for kind, program in by_kind.items()}
    state = jax.tree.map(np.array, jax.device_get(init_state(parts, parts.config.seed)))
    key = jax.random.key(parts.config.seed)
    share = np.split(images, jax.process_count())[jax.process_index()]
    sharded = shard_batch(share, jax.local_device_count())
    training = Training(parts, programs, costs, state, sharded, key, whole)
    for penalise in dict.fromkeys(training.cycle):
        training.start(penalise, programs)()
        if whole:
            training.start(penalise)()
    return training


def _compiled_at_first_call(
    name: str, program, num_devices: int, costs: dict[str, Cost], report: Callable[[str], None]
):
    compiled = None

    def run(*arguments):
        nonlocal compiled
        if compiled is None:
            report(f"compiling: {name}")
            start = time.perf_counter()
            if jax.process_count() > 1:
                # What is compiled ahead wants all processes' images; the time is the first call's.
                compiled = program
                result = jax.block_until_ready(program(*arguments))
                costs[name] = Cost(time.perf_counter() - start, None, None)
                return result
            lowered = program.lower(*arguments)
            compiled = lowered.compile()
            seconds, flops = time.perf_counter() - start, _flops(lowered)
            costs[name] = Cost(seconds, flops and flops * num_devices, _memory_bytes(compiled))
        return compiled(*arguments)

    return run


def seconds_per_program(training: Training, steps: int) -> dict[str, float]:
    """Time of every program within training, per step in which it runs; one step is not counted.

    The host waits for each, which an accelerator in training is spared.
    """
    totals, counts = collections.Counter(), collections.Counter()

    def timed(name, program):
        def run(*arguments):
            start = time.perf_counter()
            result = jax.block_until_ready(program(*arguments))
            totals[name] += time.perf_counter() - start
            return result

        return run

    programs = StepPrograms(*itertools.starmap(timed, training.programs._asdict().items()))
    step = training.start(programs=programs)
    step()
    totals.clear()
    for _ in range(steps):
        before = dict(totals)
        step()
        counts.update(name for name in totals if totals[name] != before.get(name))
    return {name: totals[name] / counts[name] for name in counts}


def prepare_all_reduce(state: TrainState) -> tuple[Callable[[], Any], int]:
    """The communication of a step alone: the sum of all gradients over all devices.

    Returns:
      Function without arguments, and the bytes that every device has to give.
    """
    size = sum(
        np.size(x) for x in jax.tree.leaves((state.generator_params, state.discriminator_params))
    )
    gradients = np.zeros((jax.local_device_count(), size), np.float32)
    total = jax.pmap(lambda x: jax.lax.psum(x, AXIS), axis_name=AXIS, devices=jax.devices())
    return functools.partial(total, jax.pmap(jnp.positive)(gradients)), 4 * size


def prepare_renderer(
    parts: Parts, state: TrainState, batch: int, report: Callable[[str], None]
) -> dict[str, Callable[[], Any]]:
    """Compiles the renderer alone, for one device and its share of the batch.

    It draws what the step would draw. The forward pass keeps what the backward pass needs, and the
    backward pass starts from that and computes nothing again.

    Args:
      parts: from `assemble`.
      state: its parameters are used.
      batch: images of one device.
      report: called with one line of progress at a time.

    Returns:
      Functions without arguments, by name.
    """
    calls = {}

    def add(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        report(f"compiling: {name}")
        program = jax.jit(function).lower(*arguments).compile()
        calls[name] = functools.partial(program, *arguments)
        return calls[name]()

    latents = draw_latents(parts, jax.random.key(parts.config.seed), batch, 1, 0)
    scenes = jax.jit(_scenes(parts))(jax.device_put(state.generator_params), latents)
    images, pull_back = add(RENDERER_FORWARD, _renderer(parts), scenes)
    add(RENDERER_BACKWARD, lambda pull_back, by: pull_back(by), pull_back, jnp.sign(images))
    return calls


def _scenes(parts: Parts):
    """(parameters, latents) -> (scenes, views)."""

    def draw(params, latents):
        scene = lambda z, random: generate(parts, params, z, random)  # noqa: E731
        scenes = jax.vmap(scene)(latents.z, latents.random)
        return scenes, place_views(parts, params, latents.view_quantiles.T)

    return draw


def _renderer(parts: Parts):
    """(scenes, views) -> images and the pull-back, to the views too only if they are learned."""

    def draw(drawn):
        scenes, views = drawn
        if parts.view_quantiles is None:
            views = jax.lax.stop_gradient(views)
        render = lambda scene, view: render_scene(scene, view, parts.stage).image  # noqa: E731
        return jax.vmap(render)(scenes, views)

    return lambda drawn: jax.vjp(draw, drawn)


def seconds_per_call(call: Callable[[], Any], calls: int) -> float:
    """Mean over `calls` calls in a row, after one that is not timed.

    As in the training loop, the host waits for every call on CPU, and an accelerator is never kept
    waiting for the host.
    """
    wait_for_each = jax.default_backend() == "cpu"
    jax.block_until_ready(call())
    start = time.perf_counter()
    for _ in range(calls):
        result = call()
        if wait_for_each:
            jax.block_until_ready(result)
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / calls


def _flops(lowered: jax.stages.Lowered) -> float | None:
    """Of one device's program as it is written: in what is compiled for a GPU, convolutions are
    calls of a library, which count nothing. Where the backend counts nothing at all, None."""
    try:
        flops = (lowered.cost_analysis() or {}).get("flops", 0)
    except (NotImplementedError, jax.errors.JaxRuntimeError):
        return None
    return flops if flops > 0 else None


def _memory_bytes(compiled: jax.stages.Compiled) -> int | None:
    try:
        stats = compiled.memory_analysis()
    except (NotImplementedError, jax.errors.JaxRuntimeError):
        return None
    if stats is None:
        return None
    results = stats.output_size_in_bytes - stats.alias_size_in_bytes  # donated ones take no room
    return stats.argument_size_in_bytes + results + stats.temp_size_in_bytes
