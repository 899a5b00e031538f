"""Fragments from screen points: the soft rasterizer and its hand-written gradient.

Layers per pixel p, front to back:

* margin: the closest silhouette edge within `margin` pixels, p on its outer side, if its closest
  point q lies before the surface; alpha = 1 - |p - q| / margin, attributes those of q. A mesh of
  several connected components has a second margin, the closest edge of another component: where
  the silhouettes of two objects cross, each fades on its own, the nearer over the farther;
* surface, the last layer: the nearest front face that contains p, alpha 1.

`visibility.py` decides which face and edge that is; here their barycentrics, depth and alpha are
computed from the few vertices involved, and differentiated. An image composited from these
layers is continuous in the vertices at background boundaries and at self-occlusions, so its
gradient sees every silhouette.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan3d.render.batching import materialized, scene_by_scene
from gan3d.render.layers import (
    Layer,
    half_edge_ends,
    margin_cotangents,
    margin_layer,
    pixel_centres,
    surface_cotangents,
    surface_layer,
)
from gan3d.render.screen import Connectivity, Settings, gather_corners
from gan3d.render.topology import Topology
from gan3d.render.visibility import Visible, find_visible

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


class Fragments(NamedTuple):
    """What L layers show at each pixel, front to back: one or two margins, last the surface.

    L is 2 for a connected mesh and 3 for one of several components.

    Attributes:
      face: index of the face, -1 where the layer is empty.
      barycentric: perspective-correct weights of the face's corners; zero where empty.
      depth: camera-space depth, world units; zero where empty.
      alpha: opacity in [0, 1]; zero where empty, one on the surface.
    """

    face: Int[Array, "L H W"]
    barycentric: Float[Array, "L H W 3"]
    depth: Float[Array, "L H W"]
    alpha: Float[Array, "L H W"]


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

    >>> import numpy as np
    >>> from gan3d.render import make_topology
    >>> triangle = make_topology(np.array([[0, 1, 2]]))
    >>> points = np.array([[0.0, 0.0, 2.0], [0.0, 4.0, 2.0], [4.0, 0.0, 2.0]])
    >>> print(rasterize(points, triangle, (3, 4)).alpha[-1])
    [[1. 1. 1. 0.]
     [1. 1. 0. 0.]
     [1. 0. 0. 0.]]
    """
    _validate(points, topology, image_size, margin_pixels)
    _validate_range(near, far, num_surfaces)
    height, width = (int(size) for size in image_size)
    # Copies: a NumPy array that `vmap` maps over inside `jit` would be refused by custom_jvp.
    connectivity = Connectivity(
        *(jnp.array(a) for a in (topology.faces, topology.neighbors, topology.component))
    )
    settings = Settings(
        (height, width), float(margin_pixels), 1 + (topology.num_components > 1),
        num_surfaces, bool(orthographic), bool(cull), float(near), float(far),
    )  # fmt: skip
    return _rasterize(jnp.array(points), connectivity, settings)


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


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _rasterize(points, connectivity: Connectivity, settings: Settings):
    return _rasterize_fwd(points, connectivity, settings)[0]


def _rasterize_fwd(points, connectivity, settings):
    fragments, visible = _draw(settings, points, *connectivity)
    return fragments, (points, connectivity, visible)


def _rasterize_bwd(settings, residuals, cotangent):
    """Cotangents of the fragments -> of the points: gather, a few products, scatter-add.

    The chosen faces and edges are constants; `layers.py` differentiates what they show.
    """
    points, connectivity, visible = residuals
    layers = Layer(*(jnp.array(g) for g in cotangent[1:]))
    return _pull_back(settings, points, connectivity.faces, *visible, *layers), None


_rasterize.defvjp(_rasterize_fwd, _rasterize_bwd)


# The rules above run scene by scene; a derivative of theirs, hence a second one of the fragments,
# is that of the plain functions for the faces and edges that were found.


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _draw(settings, points, *connectivity):
    def draw(points, *connectivity):
        visible = find_visible(points, Connectivity(*connectivity), settings)
        visible = materialized(visible)
        return materialized(shade(settings, points, connectivity[0], *visible))

    return scene_by_scene(draw)(points, *connectivity)


@_draw.defjvp
def _draw_jvp(settings, primals, tangents):
    fragments, visible = _draw(settings, *primals)
    again = lambda points: shade(settings, points, primals[1], *visible)  # noqa: E731
    _, tangent = jax.jvp(again, primals[:1], tangents[:1])
    return (fragments, visible), tangent


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _pull_back(settings, *arguments):
    return scene_by_scene(partial(pull_back, settings))(*arguments)


@_pull_back.defjvp
def _pull_back_jvp(settings, primals, tangents):
    return jax.jvp(partial(pull_back, settings, compact=False), primals, tangents)


def shade(
    settings: Settings,
    points: Float[Array, "V 3"],
    faces: Int[Array, "F 3"],
    face: Int[Array, "K H W"],
    half_edge: Int[Array, "K M H W"],
) -> tuple[Fragments, Visible]:
    """What the chosen faces and edges show; and they, two margins ordered by depth."""
    if faces.shape[0] == 0:
        return _empty(points.dtype, half_edge.shape), Visible(face, half_edge)
    corners = gather_corners(points, faces)
    ids, layers, ordered = [], [], []
    for surface, half_edges in zip(face, half_edge, strict=True):
        margins = [margin_layer(corners, one, settings) for one in half_edges]
        if settings.num_margins == 2:
            margins, half_edges = _nearer_first(margins, half_edges)
        ids += [*(jnp.where(one >= 0, one // 3, -1) for one in half_edges), surface]
        layers += [*margins, surface_layer(corners, surface, settings)]
        ordered.append(half_edges)
    values = (jnp.stack(parts) for parts in zip(*layers, strict=True))
    return Fragments(jnp.stack(ids), *values), Visible(face, jnp.stack(ordered))


def pull_back(
    settings: Settings,
    points: Float[Array, "V 3"],
    faces: Int[Array, "F 3"],
    face: Int[Array, "K H W"],
    half_edge: Int[Array, "K M H W"],
    g_barycentric: Float[Array, "L H W 3"],
    g_depth: Float[Array, "L H W"],
    g_alpha: Float[Array, "L H W"],
    compact: bool = True,
) -> Float[Array, "V 3"]:
    """The transpose of `shade`'s derivative with respect to the points."""
    if faces.shape[0] == 0:
        return jnp.zeros_like(points)
    corners = gather_corners(points, faces)
    per_layer = [Layer(*parts) for parts in zip(g_barycentric, g_depth, g_alpha, strict=True)]
    columns = tuple(jnp.zeros_like(points[:, i]) for i in range(3))
    for surface, half_edges in zip(face, half_edge, strict=True):
        for one in half_edges:
            g_margin, *per_layer = per_layer
            if settings.margin > 0:
                add = _add_margins if compact else _add_all_margins
                columns = add(columns, corners, faces, one, settings, g_margin)
        g_surface, *per_layer = per_layer
        vertices = [faces[:, k][jnp.maximum(surface, 0)] for k in range(3)]
        cotangents = surface_cotangents(corners, surface, settings, g_surface)
        columns = _scatter(columns, vertices, surface, cotangents)
    return jnp.stack(columns, axis=-1)


def _add_margins(columns, corners, faces, half_edge, settings, cotangent):
    """Margins cover few pixels: these are gathered first, unless they are too many."""
    height, width = settings.image_size
    room = min(4 * (height + width), height * width)
    flat = half_edge.reshape(-1)
    present = flat >= 0

    def some(columns):
        (pixel,) = jnp.nonzero(present, size=room, fill_value=height * width)
        inner = jnp.minimum(pixel, height * width - 1)
        found = jnp.where(pixel < height * width, flat[inner], -1)
        centre = lambda index: index.astype(columns[0].dtype) + 0.5  # noqa: E731
        pixels = (centre(inner % width), centre(inner // width))
        gathered = Layer(
            cotangent.barycentric.reshape(-1, 3)[inner],
            cotangent.depth.reshape(-1)[inner],
            cotangent.alpha.reshape(-1)[inner],
        )
        return _scatter_edges(columns, corners, faces, found, pixels, settings, gathered)

    def every(columns):
        return _add_all_margins(columns, corners, faces, half_edge, settings, cotangent)

    return jax.lax.cond(present.sum() <= room, some, every, columns)


def _add_all_margins(columns, corners, faces, half_edge, settings, cotangent):
    pixels = pixel_centres(settings, columns[0].dtype)
    return _scatter_edges(columns, corners, faces, half_edge, pixels, settings, cotangent)


def _scatter_edges(columns, corners, faces, half_edge, pixels, settings, cotangent):
    ends = [faces.reshape(-1)[corner] for corner in half_edge_ends(half_edge)]
    cotangents = margin_cotangents(corners, half_edge, pixels, settings, cotangent)
    return _scatter(columns, ends, half_edge, cotangents)


def _scatter(columns, vertices, found, cotangents):
    """Adds cotangents (x, y, z) to vertices; a pixel that found nothing adds nothing."""
    for vertex, values in zip(vertices, cotangents, strict=True):
        # Past the end, hence dropped: no contention on vertex 0.
        target = jnp.where(found >= 0, vertex, columns[0].shape[0]).reshape(-1)
        columns = tuple(
            column.at[target].add(value.reshape(-1), mode="drop")
            for column, value in zip(columns, values, strict=True)
        )
    return columns


def _nearer_first(margins, half_edges):
    """Orders two margins by depth; an empty one has no place of its own."""
    first, second = margins
    swap = (half_edges[1] >= 0) & (second.depth < first.depth)

    def order(one, other):
        mask = swap.reshape(swap.shape + (1,) * (one.ndim - swap.ndim))
        return jnp.where(mask, other, one), jnp.where(mask, one, other)

    pairs = [order(one, other) for one, other in zip(first, second, strict=True)]
    margins = [Layer(*values) for values in zip(*pairs, strict=True)]
    return margins, jnp.stack(order(*half_edges))


def _empty(dtype, shape):
    num_surfaces, num_margins, height, width = shape
    face = jnp.full((num_surfaces * (num_margins + 1), height, width), -1, jnp.int32)
    zeros = jnp.zeros(face.shape, dtype)
    return Fragments(face, jnp.zeros((*face.shape, 3), dtype), zeros, zeros)
