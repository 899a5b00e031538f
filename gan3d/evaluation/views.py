"""Pictures, opacity and depth of scenes from one view: what all measures of pictures start from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan3d.scene import Scene, Stage, View, render_background, render_scene, scene_vertices

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class SceneViews(NamedTuple):
    """What N scenes look like from one view, each with its own pictures.

    Attributes:
      image: the full picture, colours in [-1, 1].
      background: what the same camera sees without the object.
      alpha: opacity of the object.
      depth: of the object, camera depth minus orbit distance (negative = towards the camera); 0
        where there is no object.
    """

    image: Float[np.ndarray, "N H W 3"]
    background: Float[np.ndarray, "N H W 3"]
    alpha: Float[np.ndarray, "N H W"]
    depth: Float[np.ndarray, "N H W"]


def scene_views(
    scenes: Iterable[Scene], stage: Stage, yaw: float = 0.0, pitch: float = 0.0
) -> SceneViews:
    """Renders every scene from one view.

    Args:
      scenes: batches, each with one leading axis; equal sizes avoid recompilation.
      stage: how they are shown. Reuse one object: compiled per stage.
      yaw: of the camera, radians.
      pitch: of the camera, radians.

    Raises:
      ValueError: if there is no scene.

    >>> views: SceneViews = scene_views([scenes], evaluation_stage(stage))
    >>> print(views.image.shape, views.depth.shape)
    (2, 64, 64, 3) (2, 64, 64)
    >>> vertices = mesh_vertices([scenes], stage)
    >>> measures = degeneracy(views, vertices, stage.topology)
    >>> print(measures["hollow_share"], measures["flipped_faces"])
    0.0 0.0
    """
    batches = [jax.device_get(_renderer(stage)(batch, yaw, pitch)) for batch in scenes]
    if not sum(len(batch.alpha) for batch in batches):
        raise ValueError("scenes must hold at least one scene; got none.")
    return SceneViews(*map(np.concatenate, zip(*batches, strict=True)))


def mesh_vertices(scenes: Iterable[Scene], stage: Stage) -> Float[np.ndarray, "N V 3"]:
    """Mesh vertices of every scene, world coordinates; arguments as of `scene_views`.

    >>> print(mesh_vertices([scenes], stage).shape)
    (2, 25, 3)
    """
    batches = [np.asarray(_to_vertices(stage)(batch.surface)) for batch in scenes]
    return np.concatenate(batches)


# Bounded, because every entry keeps its stage and compiled program alive.
@functools.lru_cache(maxsize=8)
def _renderer(stage: Stage) -> Callable[..., SceneViews]:
    def show(scene: Scene, yaw: Array, pitch: Array) -> SceneViews:
        view = View(yaw, pitch)
        shown = render_scene(scene, view, stage)
        background = render_background(scene.background, view, stage)
        # The depth is composited over the distance: a (z - D) + D.
        depth = (shown.depth - stage.distance) / jnp.where(shown.alpha > 0, shown.alpha, 1.0)
        return SceneViews(shown.image, background, shown.alpha, depth)

    return jax.jit(jax.vmap(show, in_axes=(0, None, None)))


@functools.lru_cache(maxsize=8)
def _to_vertices(stage: Stage) -> Callable[[Array], Array]:
    return jax.jit(jax.vmap(lambda surface: scene_vertices(surface, stage)))
