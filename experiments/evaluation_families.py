"""What an evaluation compares: scenes and pictures of a run, of other ground truth, and baselines.

Everything is a pure function of the run and a seed, which the caller keeps apart from training's.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from gan3d.data.heads import head_scenes
from gan3d.scene import Scene, View, render_scene
from gan3d.training.assemble import Parts, draw_views, init_state, sample_scenes
from gan3d.training.loop import open_training_source
from gan3d.training.run import RunError
from gan3d.visualize import to_uint8

if TYPE_CHECKING:
    from jaxtyping import Array, Float, UInt8

    from gan3d.data.sources import ImageSource

BATCH = 32


def generated_scenes(parts: Parts, params: Any, num: int, seed: int) -> list[Scene]:
    """Samples of the run, in batches."""
    draw = jax.jit(lambda params, key: sample_scenes(parts, params, key, BATCH))
    keys = jax.random.split(jax.random.key(seed), math.ceil(num / BATCH))
    return _trim([draw(params, key) for key in keys], num)


def true_heads(num: int, seed: int, first: int) -> list[Scene]:
    """Procedural heads from index `first` on, in batches."""
    indices = np.arange(first, first + num)
    return [head_scenes(seed, indices[i : i + BATCH]) for i in range(0, num, BATCH)]


def mean_surface(batches: list[Scene]) -> np.ndarray:
    """Heads share a chart: equal pixels of their surface maps are equal places of the face."""
    return np.concatenate([np.asarray(batch.surface) for batch in batches]).mean(axis=0)


def plain(surface: np.ndarray, like: Scene) -> Scene:
    """Copies of one shape without colours, as a batch for which no program has to be compiled."""
    blank = jax.tree.map(jnp.zeros_like, like)
    return blank._replace(surface=jnp.broadcast_to(surface, like.surface.shape))


def generated_pictures(
    parts: Parts, params: Any, num: int, seed: int
) -> tuple[UInt8[np.ndarray, "N R R 3"], View]:
    """Samples in 8 bits, as photographs are, from random viewpoints [N], and these."""
    keys = jax.random.split(jax.random.key(seed), math.ceil(num / BATCH))
    drawn = [jax.device_get(_photographer(parts)(params, key)) for key in keys]
    images = np.concatenate([to_uint8(images) for images, _ in drawn])[:num]
    views = (np.concatenate(angle)[:num] for angle in zip(*(v for _, v in drawn), strict=True))
    return images, View(*views)


def picture_families(
    parts: Parts, params: Any, source: ImageSource, num: int, seed: int
) -> dict[str, UInt8[np.ndarray, "N R R 3"]]:
    """Pictures by name, `num` of each, seen as in training.

    Args:
      parts: of the run.
      params: averaged parameters of its generator.
      source: true images, at least 2 `num`.
      num: pictures of each family.
      seed: of the generated ones.

    Returns:
      run: samples. untrained: samples of the network before training. other: true images number N
      to 2N - 1, the least that scores can reach. truth: true images number 0 to N - 1.
    """
    take = lambda first: np.stack([source[i] for i in range(first, first + num)])  # noqa: E731
    untrained = jax.device_get(init_state(parts, seed).ema_params)
    return {
        "run": generated_pictures(parts, params, num, seed)[0],
        "untrained": generated_pictures(parts, untrained, num, seed)[0],
        "other": take(num),
        "truth": take(0),
    }


@functools.lru_cache(maxsize=2)
def _photographer(parts: Parts) -> Callable[[Any, Any], tuple[Any, View]]:
    """(parameters, key) -> `BATCH` pictures and their views."""

    def photograph(params: Any, key: Array) -> tuple[Float[Array, "B R R 3"], View]:
        scene_key, view_key = jax.random.split(key)
        scenes = sample_scenes(parts, params, scene_key, BATCH)
        views = draw_views(parts, params, view_key, BATCH)
        show = lambda scene, view: render_scene(scene, view, parts.stage).image  # noqa: E731
        return jax.vmap(show)(scenes, views), views

    return jax.jit(photograph)


def true_images(parts: Parts, num: int, seed: int) -> ImageSource:
    """Images of the run's kind: heads of another seed, or the photographs it was trained on.

    Raises:
      RunError: the photographs are gone.
    """
    config = dataclasses.replace(parts.config, seed=seed, num_heads=num)
    try:
        return open_training_source(config)
    except (ValueError, OSError) as error:
        raise RunError(f"the run's images, {config.data}, cannot be opened: {error}") from error


def _trim(batches: list[Scene], num: int) -> list[Scene]:
    """Shortens the last batch, so that the batches hold `num` scenes in all."""
    last = num - BATCH * (len(batches) - 1)
    return [*batches[:-1], jax.tree.map(lambda leaf: leaf[:last], batches[-1])]
