"""The samples of a generator that look most like given pictures: a search without a descent."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from gan3d.inversion.losses import pyramid_distance
from gan3d.inversion.pictures import as_pictures
from gan3d.scene import Scene, View, render_scene
from gan3d.trained import TrainedGenerator
from gan3d.training.assemble import Parts, draw_views, generate, latent_size

if TYPE_CHECKING:
    from jaxtyping import Array, Float, UInt8

_BATCH = 50


def nearest_samples(
    generator: TrainedGenerator, images: UInt8[np.ndarray, "N R R 3"], num: int, seed: int = 0
) -> tuple[Scene, View]:
    """Of `num` random samples from random viewpoints, the nearest to each of N pictures.

    Returns:
      Scenes [N] and viewpoints [N].

    Raises:
      ValueError: images are not such pictures, or num is not positive.
    """
    if num < 1:
        raise ValueError(f"num must be at least 1, got {num}")
    pictures, _ = as_pictures(images)
    parts, params = generator.parts, generator.params
    keys = jax.random.split(jax.random.key(seed), -(-num // _BATCH))
    distances = [_distances(parts, params, key, pictures) for key in keys]
    nearest = np.concatenate(distances, axis=1)[:, :num].argmin(axis=1)
    found = []
    for i in nearest:
        drawn = _draw(parts, params, keys[i // _BATCH])
        found.append(jax.tree.map(lambda a, i=i: a[i % _BATCH], drawn))
    z, views = jax.tree.map(lambda *a: jnp.stack(a), *found)
    return generator.scene(z), views


@functools.partial(jax.jit, static_argnums=0)
def _draw(parts: Parts, params: Any, key: Array) -> tuple[Float[Array, "B Z"], View]:
    """A batch of latents, and from where they are seen."""
    scene_key, view_key = jax.random.split(key)
    z = jax.random.normal(scene_key, (_BATCH, latent_size(parts)))
    return z, draw_views(parts, params, view_key, _BATCH)


@functools.partial(jax.jit, static_argnums=0)
def _distances(
    parts: Parts, params: Any, key: Array, pictures: Float[Array, "N R R 3"]
) -> Float[Array, "N B"]:
    """Of every picture from every sample of a batch."""
    stage = parts.stage.at_resolution(pictures.shape[1])
    show = lambda z, view: render_scene(generate(parts, params, z), view, stage).image  # noqa: E731
    samples = jax.vmap(show)(*_draw(parts, params, key))
    from_one = lambda picture: jax.vmap(lambda s: pyramid_distance(picture, s))(samples)  # noqa: E731
    return jax.vmap(from_one)(pictures)
