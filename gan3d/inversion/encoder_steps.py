"""A step of an encoder's training: samples, true pictures, gradients, Adam.

Shape letters: N pictures of a step, R their side.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gan3d.inversion.encoder import EncoderNetwork
from gan3d.inversion.encoder_losses import draw_samples, label_loss, return_loss
from gan3d.inversion.style_space import style_space
from gan3d.inversion.unknowns import Model
from gan3d.trained import TrainedGenerator

if TYPE_CHECKING:
    from jaxtyping import Array


class EncoderState(NamedTuple):
    """What a step changes: the network's parameters, and Adam's moments."""

    params: Any
    moments: Any


class Programs(NamedTuple):
    """What a training runs, compiled on first use.

    Attributes:
      init: key -> state.
      learn: (state, step size, key) -> state and metrics, from samples.
      autoencode: (state, step size, key, weight, images [N, R, R, 3]) -> the same, from true
        pictures too.
    """

    init: Callable[..., EncoderState]
    learn: Callable[..., tuple[EncoderState, dict[str, Array]]]
    autoencode: Callable[..., tuple[EncoderState, dict[str, Array]]]


# Bounded, because every entry keeps its generator and compiled programs alive.
@functools.lru_cache(maxsize=2)
def make_programs(generator: TrainedGenerator, network: EncoderNetwork, batch: int) -> Programs:
    """Programs for one generator and one network, with `batch` samples per step."""
    size, space = generator.parts.stage.resolution, style_space(generator)
    adam = optax.scale_by_adam(b1=0.9, b2=0.99)

    def init(key):
        params = network.init(key, jnp.zeros((size, size, 3)))["params"]
        return EncoderState(params, adam.init(params))

    def answers(params, images):
        return jax.vmap(lambda image: network.apply({"params": params}, image))(images)

    def learned(params, fixed, key):
        samples = draw_samples(Model(generator, space), fixed, key, batch)
        loss, degrees = jax.vmap(label_loss)(answers(params, samples.images), samples)
        return loss.mean(), {"loss": loss.mean(), "degrees": degrees.mean()}

    def autoencoded(params, fixed, key, weight, images):
        loss, metrics = learned(params, fixed, key)
        pictures = images.astype(jnp.float32) / 127.5 - 1
        back = functools.partial(return_loss, Model(generator, space), fixed)
        total, distance = jax.vmap(back)(answers(params, pictures), pictures)
        return loss + weight * total.mean(), {**metrics, "distance": distance.mean()}

    def stepper(loss):
        @jax.jit
        def step(state, rate, fixed, key, *others):
            slope = jax.grad(loss, has_aux=True)
            gradient, metrics = slope(state.params, fixed, key, *others)
            directions, moments = adam.update(gradient, state.moments)
            params = jax.tree.map(lambda p, d: p - rate * d, state.params, directions)
            return EncoderState(params, moments), metrics

        # The generator's parameters are arguments: as constants they would be compiled.
        return lambda state, rate, key, *others: step(state, rate, generator.params, key, *others)

    return Programs(jax.jit(init), stepper(learned), stepper(autoencoded))
