"""The training step for its benchmark: the programs that train, and its parts, compiled alone.

Shape letters: B images of a step over all devices, b of one device, R resolution.
"""

from __future__ import annotations

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
from gan3d.training.blur import blurred_score
from gan3d.training.parallel import AXIS, parallel_step, replicate, shard_batch
from gan3d.training.state import TrainState
from gan3d.training.step import (
    discriminator_gradients,
    draw_latents,
    generator_image_gradients,
    make_step,
    penalised,
)

if TYPE_CHECKING:
    from jaxtyping import Array, UInt8

# Parts, in the order in which a step runs them.
GENERATOR_FORWARD = "generator, forward"
RENDERER_FORWARD = "renderer, forward"
DISCRIMINATOR = "discriminator's gradients"
DISCRIMINATOR_PENALISED = "discriminator's gradients, with penalties"
IMAGE_GRADIENT = "generator's image gradient"
RENDERER_BACKWARD = "renderer, backward"
GENERATOR_BACKWARD = "generator, backward"


class Program(NamedTuple):
    """One of the two programs of the step, over all devices.

    Attributes:
      run: (state, sharded images, key) -> (state, metrics); the state is donated.
      compile_seconds: tracing, lowering and compiling.
      flops: on all devices, counted by XLA's cost analysis, in which the body of a loop counts
        once; None where the backend counts none.
      memory_bytes: that one device holds while it runs: arguments, results and temporaries; None
        where the backend does not say.
    """

    run: Callable[..., Any]
    compile_seconds: float
    flops: float | None
    memory_bytes: int | None


class Training(NamedTuple):
    """A training that can be started any number of times.

    Attributes:
      config: the configuration.
      programs: by whether they compute the gradient penalties; with penalties on every step there
        is one alone.
      state: before the first step, on the host.
      images: the batch of every step, on the host, split over the devices.
      key: the run's key.
    """

    config: Config
    programs: Mapping[bool, Program]
    state: TrainState
    images: UInt8[np.ndarray, "D B/D R R 3"]
    key: Array

    @property
    def cycle(self) -> list[bool]:
        """Which steps of a penalty interval compute the penalties."""
        batch = self.config.batch
        return [penalised(self.config, i * batch) for i in range(self.config.penalty_interval)]

    def start(self, penalise: bool | None = None) -> Callable[[], Any]:
        """A new training, as a function that takes the next step each time it is called.

        Args:
          penalise: None alternates the programs as training does; else that program alone.
        """
        order = itertools.cycle(self.cycle if penalise is None else [penalise])
        state = replicate(self.state, jax.local_devices())

        def step():
            nonlocal state
            state, metrics = self.programs[next(order)].run(state, self.images, self.key)
            return metrics

        return step


def prepare_training(
    parts: Parts, images: UInt8[np.ndarray, "B R R 3"], report: Callable[[str], None]
) -> Training:
    """Compiles the step for all local devices and draws the initial state.

    Args:
      parts: from `assemble`.
      images: the batch that every step sees.
      report: called with one line of progress at a time.
    """
    config, devices = parts.config, jax.local_devices()
    state = jax.tree.map(np.array, jax.device_get(init_state(parts, config.seed)))
    sharded, key = shard_batch(images, len(devices)), jax.random.key(config.seed)
    programs = {}
    for penalise in (True, False) if config.penalty_interval > 1 else (True,):
        report(f"compiling: step {'with' if penalise else 'without'} penalties")
        start = time.perf_counter()
        step = parallel_step(make_step(parts, AXIS, penalise), devices)
        # Within a jit, because only what is jitted can be compiled ahead; the program is the same.
        lowered = jax.jit(step, donate_argnums=0).lower(replicate(state, devices), sharded, key)
        compiled = lowered.compile()
        seconds = time.perf_counter() - start
        flops = _flops(compiled)
        flops = flops and flops * len(devices)
        programs[penalise] = Program(compiled, seconds, flops, _memory_bytes(compiled))
    return Training(config, programs, state, sharded, key)


def prepare_parts(
    parts: Parts,
    state: TrainState,
    images: UInt8[np.ndarray, "b R R 3"],
    report: Callable[[str], None],
) -> dict[str, Callable[[], Any]]:
    """Compiles every part of the step alone, for one device and its share of the batch.

    Each gets what the step would give it. A forward pass keeps what its backward pass needs, and a
    backward pass starts from that and computes nothing again.

    Args:
      parts: from `assemble`.
      state: its parameters are used.
      images: one device's share of the real images.
      report: called with one line of progress at a time.

    Returns:
      Functions without arguments, by the name of the part.
    """
    calls = {}

    def add(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        report(f"compiling: {name}")
        program = jax.jit(function).lower(*arguments).compile()
        calls[name] = functools.partial(program, *arguments)
        return calls[name]()

    key, on_device = jax.random.key(parts.config.seed), jax.device_put(state)
    latents = draw_latents(parts, key, len(images), 1, 0)
    real = jnp.asarray(images, jnp.float32) / 127.5 - 1
    scored = (on_device.discriminator_params, real)
    seen = on_device.images_seen
    from_params, generator_params = _generator(parts), on_device.generator_params
    drawn, to_params = add(GENERATOR_FORWARD, from_params, generator_params, latents)
    fake, to_drawn = add(RENDERER_FORWARD, _renderer(parts), drawn)
    add(DISCRIMINATOR, _discriminator(parts, penalise=False), *scored, fake, seen)
    add(DISCRIMINATOR_PENALISED, _discriminator(parts, penalise=True), *scored, fake, seen)
    _, by_image = add(IMAGE_GRADIENT, _image_gradients(parts), *scored, fake, seen)
    (by_drawn,) = add(RENDERER_BACKWARD, _pull_back, to_drawn, by_image)
    add(GENERATOR_BACKWARD, _pull_back, to_params, by_drawn)
    return calls


def _generator(parts: Parts):
    """(parameters, latents) -> (scenes, views) and the pull-back to the parameters."""

    def draw(params, latents):
        scene = lambda z, random: generate(parts, params, z, random)  # noqa: E731
        scenes = jax.vmap(scene)(latents.z, latents.random)
        return scenes, place_views(parts, params, latents.view_quantiles.T)

    return lambda params, latents: jax.vjp(lambda params: draw(params, latents), params)


def _renderer(parts: Parts):
    """(scenes, views) -> images and the pull-back, to the views too only if they are learned."""

    def draw(drawn):
        scenes, views = drawn
        if parts.view_quantiles is None:
            views = jax.lax.stop_gradient(views)
        render = lambda scene, view: render_scene(scene, view, parts.stage).image  # noqa: E731
        return jax.vmap(render)(scenes, views)

    return lambda drawn: jax.vjp(draw, drawn)


def _discriminator(parts: Parts, penalise: bool):
    def gradients(params, real, fake, images_seen):
        score = blurred_score(parts, images_seen)
        return discriminator_gradients(parts, score, params, real, fake, penalise)

    return gradients


def _image_gradients(parts: Parts):
    def gradients(params, real, fake, images_seen):
        score = blurred_score(parts, images_seen)
        return generator_image_gradients(parts, score, params, real, fake)

    return gradients


def _pull_back(pull_back, cotangent):
    return pull_back(cotangent)


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


def _flops(compiled: jax.stages.Compiled) -> float | None:
    """Of one device's program."""
    try:
        flops = (compiled.cost_analysis() or {}).get("flops", 0)
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
