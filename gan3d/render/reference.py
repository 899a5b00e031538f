"""The slow, obvious twin of `rasterize`: every pixel looks at every face and at every edge.

Read this file to learn *what* the rasterizer computes; read `visibility.py` and `rasterize.py` to
learn how it is computed fast. Cost and memory grow with pixels x faces, so it is meant for small
images, for tests and for reading. It keeps the dtype of the points and is differentiated by plain
autodiff: which face or edge a pixel shows is decided on `stop_gradient` values; how it shows it is
then recomputed from the chosen corners.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from gan3d.render.fragments import Fragments
from gan3d.render.screen import MIN_DOUBLE_AREA, Settings

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

    from gan3d.render.topology import Topology


def rasterize_reference(
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
    """Draws one mesh by brute force; arguments and result are those of `rasterize`."""
    height, width = image_size
    num_margins = 1 + (topology.num_components > 1)
    settings = Settings(
        (height, width), margin_pixels, num_margins, num_surfaces, orthographic, cull, near, far
    )
    if topology.num_faces == 0:
        return _empty_fragments(num_surfaces * (num_margins + 1), height, width, points.dtype)
    fixed = jax.lax.stop_gradient(points)
    facing = which_way(fixed, topology, settings)
    silhouette = silhouette_edges(facing, topology)

    def fragments_at(pixel: Float[Array, "2"]) -> Fragments:
        layers, before = [], (-jnp.inf, jnp.int32(-1))
        for _ in range(num_surfaces):
            face = next_face(pixel, fixed, topology, facing, before, settings)
            surface = shade_surface(pixel, face, points, topology, orthographic)
            depth = jnp.where(face >= 0, jax.lax.stop_gradient(surface.depth), jnp.inf)
            layers += _margins(
                pixel, points, topology, facing, silhouette, (before[0], depth), settings
            )
            layers.append(surface)
            before = (depth, face)
        return jax.tree.map(lambda *values: jnp.stack(values), *layers)

    x = jnp.arange(width, dtype=points.dtype) + 0.5
    y = jnp.arange(height, dtype=points.dtype) + 0.5
    pixels = jnp.stack(jnp.meshgrid(x, y), axis=-1)
    fragments = jax.vmap(jax.vmap(fragments_at))(pixels)
    return jax.tree.map(lambda a: jnp.moveaxis(a, 2, 0), fragments)


def _margins(pixel, points, topology, facing, silhouette, between, settings) -> list[Fragments]:
    """The one or two margin layers between two depths, the nearer first."""
    fixed, component = jax.lax.stop_gradient(points), jnp.asarray(topology.component)
    edge = closest_edge(pixel, fixed, topology, facing, silhouette, between, settings)
    first = shade_margin(pixel, edge, points, topology, settings)
    if settings.num_margins == 1:
        return [first]
    foreign = silhouette & (component != component[edge // 3])[:, None] & (edge >= 0)
    edge = closest_edge(pixel, fixed, topology, facing, foreign, between, settings)
    second = shade_margin(pixel, edge, points, topology, settings)
    swap = (edge >= 0) & (second.depth < first.depth)
    near = jax.tree.map(lambda one, two: jnp.where(swap, two, one), first, second)
    far = jax.tree.map(lambda one, two: jnp.where(swap, one, two), first, second)
    return [near, far]


def which_way(
    points: Float[Array, "V 3"], topology: Topology, settings: Settings
) -> Int[Array, "F"]:
    """1 for a drawn face that shows its front, -1 for its back, 0 for one that is not drawn."""
    a, b, c = (points[topology.faces[:, k]] for k in range(3))
    double_area = _cross(b - a, c - a)
    depths = jnp.stack([a, b, c])[..., 2]
    if not settings.orthographic:
        double_area = double_area * jnp.sign(depths).prod(axis=0)
    drawn = (depths.max(axis=0) > settings.near) & (depths.min(axis=0) < settings.far)
    drawn = drawn & (jnp.abs(double_area) > MIN_DOUBLE_AREA)
    facing = jnp.where(drawn, -jnp.sign(double_area), 0).astype(jnp.int32)
    return jnp.maximum(facing, 0) if settings.cull else facing


def silhouette_edges(facing: Int[Array, "F"], topology: Topology) -> Bool[Array, "F 3"]:
    """Edges of a drawn face with no drawn face across that shows the same side."""
    across = jnp.where(topology.neighbors >= 0, facing[topology.neighbors], 0)
    return (facing[:, None] != 0) & (across != facing[:, None])


def next_face(
    pixel: Float[Array, "2"],
    points: Float[Array, "V 3"],
    topology: Topology,
    facing: Int[Array, "F"],
    before: tuple[Float[Array, ""], Int[Array, ""]],
    settings: Settings,
) -> Int[Array, ""]:
    """The nearest drawn face at the pixel centre behind a (depth, index), or -1."""
    edges, owned = edge_functions(pixel, points, topology, facing, settings)
    inside = (facing != 0) & ((edges < 0) | ((edges == 0) & owned)).all(axis=1)
    weights = _screen_barycentrics(edges * _turns(points, topology, settings))
    depth = _depth(weights, points[topology.faces][..., 2], settings.orthographic)
    inside = inside & (depth > settings.near) & (depth < settings.far)
    index = jnp.arange(len(depth))
    behind = (depth > before[0]) | ((depth == before[0]) & (index > before[1]))
    behind = behind & (index != before[1])  # which rounding might find behind itself
    nearest = jnp.argmin(jnp.where(inside & behind, depth, jnp.inf))
    return jnp.where((inside & behind)[nearest], nearest, -1).astype(jnp.int32)


def closest_edge(
    pixel: Float[Array, "2"],
    points: Float[Array, "V 3"],
    topology: Topology,
    facing: Int[Array, "F"],
    silhouette: Bool[Array, "F 3"],
    between: tuple[Float[Array, ""], Float[Array, ""]],
    settings: Settings,
) -> Int[Array, ""]:
    """The closest silhouette edge (3 face + k) whose margin shows at the pixel, or -1.

    The pixel centre must lie on the outer side of the face's edge k, nearer to it than the margin
    is wide, and the edge's closest point must lie between two depths: those of the surface layer
    before and of the one behind.
    """
    faces = jnp.asarray(topology.faces)
    start, end = points[faces], points[jnp.roll(faces, -1, axis=1)]
    visible = (start[..., 2] > settings.near) | (end[..., 2] > settings.near)
    if not settings.orthographic:
        start, end = _clip(start, end, settings.near), _clip(end, start, settings.near)
    edges, owned = edge_functions(pixel, points, topology, facing, settings)
    outside = (edges > 0) | ((edges == 0) & ~owned)
    along, distance = _closest_point(pixel, start[..., :2], end[..., :2])
    depth = _depth(
        jnp.stack([1 - along, along], axis=-1),
        jnp.stack([start[..., 2], end[..., 2]], axis=-1),
        settings.orthographic,
    )
    shows = silhouette & visible & outside & (distance < settings.margin)
    shows = shows & (depth > between[0]) & (depth < between[1]) & (depth < settings.far)
    shows = shows & (depth > settings.near * (1 - 1e-6))
    closest = jnp.argmin(jnp.where(shows, distance, jnp.inf))
    return jnp.where(shows.reshape(-1)[closest], closest, -1).astype(jnp.int32)


def shade_surface(
    pixel: Float[Array, "2"],
    face: Int[Array, ""],
    points: Float[Array, "V 3"],
    topology: Topology,
    orthographic: bool = False,
) -> Fragments:
    """The surface layer: the face at the pixel centre, opaque."""
    found = face >= 0
    # An empty pixel looks at a stand-in triangle: a gradient never meets a zero area or depth.
    stand_in = jnp.array([[0, 0, 1], [0, 1, 1], [1, 0, 1]], points.dtype)
    corners = jnp.where(found, points[jnp.asarray(topology.faces)[face]], stand_in)
    start, end = corners[:, :2], jnp.roll(corners, -1, axis=0)[:, :2]
    edges = _cross(end - start, pixel[None, :] - start)
    weights = _screen_barycentrics(edges)
    barycentric, depth = _perspective(weights, corners[:, 2], orthographic)
    return Fragments(
        face=face,
        barycentric=jnp.where(found, barycentric, 0),
        depth=jnp.where(found, depth, 0),
        alpha=found.astype(points.dtype),
    )


def shade_margin(
    pixel: Float[Array, "2"],
    edge: Int[Array, ""],
    points: Float[Array, "V 3"],
    topology: Topology,
    settings: Settings,
) -> Fragments:
    """The margin layer: the edge's closest point, fading with its distance."""
    found = edge >= 0
    face, corner = edge // 3, edge % 3
    next_corner = (corner + 1) % 3
    # An empty pixel looks at a stand-in edge, for the same reason as above.
    away = pixel + 2
    stand_in = jnp.stack([jnp.append(away, 1), jnp.append(away, 1) + jnp.array([1, 0, 0])])
    start_id, end_id = (jnp.asarray(topology.faces)[face, k] for k in (corner, next_corner))
    whole = jnp.where(found, jnp.stack([points[start_id], points[end_id]]), stand_in)
    start, end = whole
    if not settings.orthographic:
        start, end = _clip(start, end, settings.near), _clip(end, start, settings.near)
    along, distance = _closest_point(pixel, start[:2], end[:2])
    weights, depth = _perspective(
        jnp.stack([1 - along, along]), jnp.stack([start[2], end[2]]), settings.orthographic
    )
    weights = weights[0] * _position(start, *whole) + weights[1] * _position(end, *whole)
    barycentric = (
        jnp.zeros(3, points.dtype).at[corner].set(weights[0]).at[next_corner].set(weights[1])
    )
    alpha = 1 - distance / (settings.margin or 1)
    return Fragments(
        face=jnp.where(found, face, -1),
        barycentric=jnp.where(found, barycentric, 0),
        depth=jnp.where(found, depth, 0),
        alpha=jnp.where(found, alpha, 0),
    )


def edge_functions(
    pixel: Float[Array, "2"],
    points: Float[Array, "V 3"],
    topology: Topology,
    facing: Int[Array, "F"],
    settings: Settings,
) -> tuple[Float[Array, "F 3"], Bool[Array, "F 3"]]:
    """Sides of the edges on which the pixel lies: negative inside; and who owns the edge itself.

    Twice the signed area of (corner k, corner k + 1, pixel), evaluated from the lower to the higher
    welded vertex and then given the sign of the face, of the side it shows, and of the depths: so
    two faces that share an edge see exactly opposite values, and no pixel centre falls between
    them. A centre on the edge falls to the face for which the edge is a top or a left one.
    """
    faces = jnp.asarray(topology.faces)
    next_faces = jnp.roll(faces, -1, axis=1)
    weld = jnp.asarray(topology.weld)
    backwards = weld[faces] > weld[next_faces]
    start = points[jnp.where(backwards, next_faces, faces)][..., :2]
    end = points[jnp.where(backwards, faces, next_faces)][..., :2]
    area = _cross(end - start, pixel[None, None, :] - start)
    sign = jnp.where(backwards, -1, 1) * facing[:, None] * _turns(points, topology, settings)
    dx, dy = ((end - start)[..., i] * sign for i in range(2))
    return area * sign, (dy > 0) | ((dy == 0) & (dx < 0))


def _turns(points, topology: Topology, settings: Settings) -> Float[Array, "F 3"]:
    """-1 for an edge with one end behind the eye: the screen shows it reversed."""
    if settings.orthographic:
        return jnp.ones(topology.faces.shape, points.dtype)
    behind = points[topology.faces][..., 2] < 0
    return jnp.where(behind != jnp.roll(behind, -1, axis=1), -1.0, 1.0).astype(points.dtype)


def _clip(point, other, near: float):
    """The point itself, or where its edge to the other one meets the near plane."""
    behind = ((point[..., 2] <= near) & (other[..., 2] > near))[..., None]
    z, z_other = point[..., 2:], other[..., 2:]
    fraction = (near - z) / jnp.where(behind, z_other - z, 1)
    in_space = lambda p: jnp.concatenate([p[..., :2] * p[..., 2:], p[..., 2:]], axis=-1)  # noqa: E731
    cut = (1 - fraction) * in_space(point) + fraction * in_space(other)
    cut = jnp.concatenate([cut[..., :2] / near, jnp.full_like(z, near)], axis=-1)
    return jnp.where(behind, cut, point)


def _position(point, start, end):
    """Weights (of start, of end) of a point of an edge in space, found by its depth."""
    same = jnp.stack([(point == start).all(), (point == end).all()])
    at = (point[2] - start[2]) / jnp.where(start[2] == end[2], 1, end[2] - start[2])
    at = jnp.where(same[0], 0, jnp.where(same[1], 1, at))
    return jnp.stack([1 - at, at])


def _screen_barycentrics(edges: Float[Array, "... 3"]) -> Float[Array, "... 3"]:
    """Weights on the screen: that of a corner is the area at the edge opposite to it, k + 1."""
    return jnp.roll(edges, -1, axis=-1) / edges.sum(axis=-1, keepdims=True)


def _depth(
    weights: Float[Array, "... N"], depths: Float[Array, "... N"], orthographic: bool
) -> Float[Array, "..."]:
    """Depth of a screen point: 1 / z, or in an orthographic view z, is linear on the screen."""
    if orthographic:
        return (weights * depths).sum(axis=-1)
    return 1 / (weights / depths).sum(axis=-1)


def _perspective(weights: Float[Array, "N"], depths: Float[Array, "N"], orthographic: bool):
    """Weights that are linear on the screen -> weights that are linear in space, and depth."""
    depth = _depth(weights, depths, orthographic)
    return weights if orthographic else weights / depths * depth, depth


def _closest_point(pixel, start, end):
    """The segment's point closest to the pixel: its position in [0, 1], its distance in pixels."""
    pixel = jnp.broadcast_to(pixel, start.shape)
    edge = end - start
    along = ((pixel - start) * edge).sum(axis=-1) / (edge * edge).sum(axis=-1)
    along = jnp.clip(along, 0, 1)
    offset = pixel - ((1 - along)[..., None] * start + along[..., None] * end)
    square = (offset * offset).sum(axis=-1)
    positive = square > 0
    return along, jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0)


def _cross(a: Float[Array, "... 2"], b: Float[Array, "... 2"]) -> Float[Array, "..."]:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _empty_fragments(layers: int, height: int, width: int, dtype) -> Fragments:
    empty = jnp.zeros((layers, height, width), dtype)
    return Fragments(
        face=jnp.full(empty.shape, -1, jnp.int32),
        barycentric=jnp.zeros((*empty.shape, 3), dtype),
        depth=empty,
        alpha=empty,
    )
