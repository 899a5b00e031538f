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
from gan3d.training.assemble import Parts

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


def make_programs(generator: TrainedGenerator, network: EncoderNetwork, batch: int) -> Programs:
    """Programs for one generator and one network, with `batch` samples per step."""
    init, learn, autoencode = _programs(generator.parts, network, batch)
    # What the generator has learned is an argument: as constants it would be compiled.
    fixed = generator.params, style_space(generator)

    def of_generator(step):
        return lambda state, rate, *others: step(state, rate, fixed, *others)

    return Programs(init, of_generator(learn), of_generator(autoencode))


# Bounded, because every entry keeps compiled programs alive.
@functools.lru_cache(maxsize=2)
def _programs(parts: Parts, network: EncoderNetwork, batch: int) -> Programs:
    """The same, with (parameters, style space) of the generator before the key."""
    size = parts.stage.resolution
    adam = optax.scale_by_adam(b1=0.9, b2=0.99)

    def init(key):
        params = network.init(key, jnp.zeros((size, size, 3)))["params"]
        return EncoderState(params, adam.init(params))

    def answers(params, images):
        return jax.vmap(lambda image: network.apply({"params": params}, image))(images)

    def learned(params, fixed, key):
        generator_params, space = fixed
        samples = draw_samples(Model(parts, space), generator_params, key, batch)
        loss, degrees = jax.vmap(label_loss)(answers(params, samples.images), samples)
        return loss.mean(), {"loss": loss.mean(), "degrees": degrees.mean()}

    def autoencoded(params, fixed, key, weight, images):
        loss, metrics = learned(params, fixed, key)
        pictures = images.astype(jnp.float32) / 127.5 - 1
        generator_params, space = fixed
        back = functools.partial(return_loss, Model(parts, space), generator_params)
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

        return step

    return Programs(jax.jit(init), stepper(learned), stepper(autoencoded))
