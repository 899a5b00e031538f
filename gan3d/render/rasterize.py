"""Fragments from screen points: the soft rasterizer.

Layers per pixel p, front to back:

* margin: the closest silhouette edge within `margin` pixels, p on its outer side, if its closest
  point q lies before the surface; alpha = 1 - |p - q| / margin, attributes those of q. A mesh of
  several connected components has a second margin, the closest edge of another component: where
  the silhouettes of two objects cross, each fades on its own, the nearer over the farther;
* surface, the last layer: the nearest front face that contains p, alpha 1.

`visibility.py` decides which face and edge that is; `layers.py` computes their barycentrics, depth
and alpha from the few vertices involved, and differentiates them. An image composited from these
layers is continuous in the vertices at background boundaries and at self-occlusions, so its
gradient sees every silhouette.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jax import lax

from gan3d.render.batching import (
    differentiable_scene_by_scene,
    materialized,
    scene_by_scene,
    traced_once,
)
from gan3d.render.edges import margin_values
from gan3d.render.fragments import Fragments
from gan3d.render.screen import Connectivity, Settings, face_and_corner
from gan3d.render.shading import FAST, SMOOTH, shade_layers
from gan3d.render.topology import Topology
from gan3d.render.visibility import Visible, find_visible

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def rasterize(
    points: Float[Array, "V 3"],
    topology: Topology,
    image_size: tuple[int, int],
    margin_pixels: float = 1.0,
    *,
    orthographic: bool = False,
    cull: bool = True,
    near: float = 1e-3,
    far: float = math.inf,
    num_surfaces: int = 1,
) -> Fragments:
    """Draws one mesh; `vmap` over points (and topology) for batches.

    A front face has negative signed area in (x right, y down).

    Args:
      points: screen points from `project`: x and y in pixels, camera depth z.
      topology: connectivity of the mesh.
      image_size: (height, width) in pixels.
      margin_pixels: width of the soft margin in pixels; 0 is the crisp renderer, whose images
        jump when a silhouette crosses a pixel centre and whose gradients do not see it.
      orthographic: whether the camera is; attributes are then linear on the screen.
      cull: draw front faces only; False draws both sides.
      near: least depth that is drawn, world units; faces are clipped there.
      far: greatest depth that is drawn.
      num_surfaces: surfaces per pixel, K (depth peeling, Everitt 2001): the K nearest faces, each
        with the margins between it and the one before.

    Returns:
      The fragments, K (M + 1) layers for M margins. Barycentrics, depth and alpha are
      differentiable in `points` in reverse mode, also twice; which face or edge a pixel shows is
      piecewise constant. Forward mode (`jax.jvp`) raises JAX's TypeError for custom_vjp functions.

    Raises:
      ValueError: on a wrong shape, size, margin, range or count.

    >>> triangle = make_topology(np.array([[0, 1, 2]]))
    >>> points = np.array([[0.0, 0.0, 2.0], [0.0, 4.0, 2.0], [4.0, 0.0, 2.0]])
    >>> fragments = jax.jit(rasterize, static_argnames="image_size")(
    ...     points, triangle, image_size=(3, 4)
    ... )
    >>> print(fragments.alpha[-1])
    [[1. 1. 1. 0.]
     [1. 1. 0. 0.]
     [1. 0. 0. 0.]]
    """
    points = jnp.asarray(points)
    settings = make_settings(
        points, topology, image_size, margin_pixels,
        orthographic=orthographic, cull=cull, near=near, far=far, num_surfaces=num_surfaces,
    )  # fmt: skip
    return fragments_of(points, topology, see(points, topology, settings), settings)


def make_settings(
    points, topology, image_size, margin_pixels, *, orthographic, cull, near, far, num_surfaces
) -> Settings:
    """What is static about a rasterization, checked; arguments as of `rasterize`."""
    _validate(points, topology, image_size, margin_pixels)
    _validate_range(near, far, num_surfaces)
    height, width = (int(size) for size in image_size)
    return Settings(
        (height, width), float(margin_pixels), 1 + (topology.num_components > 1),
        num_surfaces, bool(orthographic), bool(cull), float(near), float(far),
    )  # fmt: skip


def see(points: Float[Array, "V 3"], topology: Topology, settings: Settings) -> Visible:
    """Which faces and silhouette edges each pixel sees, two margins ordered by depth.

    Constant in the points: no gradient.
    """

    connectivity = topology.faces, topology.neighbors, topology.component
    return _finder(settings)(lax.stop_gradient(points), *connectivity)


@traced_once
def _finder(settings: Settings):
    def find(points, *connectivity):
        visible = materialized(find_visible(points, Connectivity(*connectivity), settings))
        if settings.num_margins < 2 or settings.margin == 0 or connectivity[0].shape[0] == 0:
            return visible
        return _nearer_first(settings, points, connectivity[0], visible)

    return scene_by_scene(find)


def fragments_of(
    points: Float[Array, "V 3"], topology: Topology, visible: Visible, settings: Settings
) -> Fragments:
    """What the faces and edges that `see` found show."""
    shape = visible.half_edge.shape
    if topology.num_faces == 0:
        return _empty(points.dtype, shape)
    margins = jnp.where(visible.half_edge >= 0, face_and_corner(visible.half_edge)[0], -1)
    face = jnp.concatenate([margins, visible.face[:, None]], axis=1)
    return Fragments(
        face.reshape(-1, *shape[2:]),
        *_shader(settings)(points, (jnp.asarray(topology.faces), visible)),
    )


@traced_once
def _shader(settings: Settings):
    return differentiable_scene_by_scene(
        partial(shade_layers, settings, FAST), partial(shade_layers, settings, SMOOTH)
    )


def _validate_range(near, far, num_surfaces):
    if not 0 < near < far:
        raise ValueError(f"near and far must satisfy 0 < near < far, got {near} and {far}")
    if num_surfaces < 1 or num_surfaces != int(num_surfaces):
        raise ValueError(f"num_surfaces must be a whole number >= 1, got {num_surfaces}")


def _validate(points, topology, image_size, margin_pixels):
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(
            f"points must have shape [V, 3] (one mesh; vmap for batches), got {list(points.shape)}"
        )
    if not jnp.issubdtype(points.dtype, jnp.floating):
        raise ValueError(f"points must be floating point, got {points.dtype}")
    if points.shape[0] != topology.num_vertices:
        raise ValueError(
            f"points must have the topology's {topology.num_vertices} vertices, "
            f"got {points.shape[0]}"
        )
    if len(image_size) != 2 or min(image_size) < 1:
        raise ValueError(f"image_size must be (height, width) >= 1, got {tuple(image_size)}")
    if not (np.isfinite(margin_pixels) and margin_pixels >= 0):
        raise ValueError(f"margin_pixels must be finite and at least 0, got {margin_pixels}")


def _nearer_first(settings, points, faces, visible: Visible) -> Visible:
    """Orders two margins by depth; an empty one has no place of its own."""
    face, half_edge = visible
    height, width = settings.image_size
    pixel = jnp.arange(height * width, dtype=jnp.int32)
    ordered = []
    for first, second in half_edge:
        depths = [
            margin_values(settings, points, faces, one.reshape(-1), pixel).depth.reshape(one.shape)
            for one in (first, second)
        ]
        swap = (second >= 0) & (depths[1] < depths[0])
        ordered.append(jnp.stack([jnp.where(swap, second, first), jnp.where(swap, first, second)]))
    return Visible(face, jnp.stack(ordered))


def _empty(dtype, shape):
    num_surfaces, num_margins, height, width = shape
    face = jnp.full((num_surfaces * (num_margins + 1), height, width), -1, jnp.int32)
    zeros = jnp.zeros(face.shape, dtype)
    return Fragments(face, jnp.zeros((*face.shape, 3), dtype), zeros, zeros)
