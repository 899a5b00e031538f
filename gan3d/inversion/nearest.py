"""The samples of a generator that look most like given pictures: a search without a descent."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from gan3d.inversion.losses import pyramid_distance
from gan3d.inversion.pictures import as_pictures
from gan3d.scene import Scene, View, render_scene
from gan3d.trained import TrainedGenerator
from gan3d.training.assemble import draw_views, generate, latent_size

if TYPE_CHECKING:
    from jaxtyping import UInt8

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
    parts = generator.parts
    stage = dataclasses.replace(parts.stage, resolution=pictures.shape[1])

    def sample(params, key):
        scene_key, view_key = jax.random.split(key)
        z = jax.random.normal(scene_key, (_BATCH, latent_size(parts)))
        return z, draw_views(parts, params, view_key, _BATCH)

    @jax.jit
    def distances(params, key):
        def draw(z, view):
            return render_scene(generate(parts, params, z), view, stage).image

        drawn = jax.vmap(draw)(*sample(params, key))
        between = jax.vmap(jax.vmap(pyramid_distance, (None, 0)), (0, None))
        return between(pictures, drawn)

    keys = jax.random.split(jax.random.key(seed), -(-num // _BATCH))
    table = np.concatenate([distances(generator.params, key) for key in keys], axis=1)[:, :num]
    nearest = table.argmin(axis=1)
    draw = jax.jit(sample)
    found = []
    for i in nearest:
        drawn = draw(generator.params, keys[i // _BATCH])
        found.append(jax.tree.map(lambda a, i=i: a[i % _BATCH], drawn))
    z, views = jax.tree.map(lambda *a: jnp.stack(a), *found)
    return generator.scene(z), views
