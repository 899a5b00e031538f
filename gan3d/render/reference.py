"""The slow, obvious twin of `rasterize`: every pixel looks at every face and at every edge.

Read this file to learn *what* the rasterizer computes; read `visibility.py` and `rasterize.py` to
learn how it is computed fast. Cost and memory grow with pixels x faces, so it is meant for small
images, for tests and for reading. It keeps the dtype of the points and is differentiated by plain
autodiff: which face or edge a pixel shows is decided on `stop_gradient` values; how it shows it is
then recomputed from the chosen corners.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from gan3d.render.rasterize import Fragments
from gan3d.render.visibility import MIN_DOUBLE_AREA, NEAR

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

    from gan3d.render.mesh import Topology


def rasterize_reference(
    points: Float[Array, "V 3"],
    topology: Topology,
    image_size: tuple[int, int],
    margin_pixels: float = 1.0,
) -> Fragments:
    """Draws one mesh by brute force; arguments and result are those of `rasterize`.

    Args:
      points: screen points from `project`: x and y in pixels, camera depth z.
      topology: connectivity of the mesh.
      image_size: (height, width) in pixels.
      margin_pixels: width of the soft margin in pixels; 0 is the crisp renderer.

    Returns:
      The fragments. Barycentrics, depth and alpha are differentiable in `points`.
    """
    height, width = image_size
    if topology.num_faces == 0:
        return _empty_fragments(2, height, width, points.dtype)
    fixed = jax.lax.stop_gradient(points)
    drawn = drawn_faces(fixed, topology)
    silhouette = silhouette_edges(drawn, topology)
    component = jnp.asarray(topology.component)

    def fragments_at(pixel: Float[Array, "2"]) -> Fragments:
        face = nearest_face(pixel, fixed, topology, drawn)
        surface = shade_surface(pixel, face, points, topology)
        behind = jnp.where(face >= 0, jax.lax.stop_gradient(surface.depth), jnp.inf)
        edge = closest_edge(pixel, fixed, topology, silhouette, behind, margin_pixels)
        margin = shade_margin(pixel, edge, points, topology, margin_pixels)
        if topology.num_components < 2:
            return jax.tree.map(lambda *layers: jnp.stack(layers), margin, surface)
        foreign = silhouette & (component != component[edge // 3])[:, None] & (edge >= 0)
        edge = closest_edge(pixel, fixed, topology, foreign, behind, margin_pixels)
        other = shade_margin(pixel, edge, points, topology, margin_pixels)
        swap = (edge >= 0) & (other.depth < margin.depth)
        near = jax.tree.map(lambda one, two: jnp.where(swap, two, one), margin, other)
        far = jax.tree.map(lambda one, two: jnp.where(swap, one, two), margin, other)
        return jax.tree.map(lambda *layers: jnp.stack(layers), near, far, surface)

    x = jnp.arange(width, dtype=points.dtype) + 0.5
    y = jnp.arange(height, dtype=points.dtype) + 0.5
    pixels = jnp.stack(jnp.meshgrid(x, y), axis=-1)
    fragments = jax.vmap(jax.vmap(fragments_at))(pixels)
    return jax.tree.map(lambda a: jnp.moveaxis(a, 2, 0), fragments)


def drawn_faces(points: Float[Array, "V 3"], topology: Topology) -> Bool[Array, "F"]:
    """Faces that turn their front to the camera and lie wholly beyond the near plane."""
    a, b, c = (points[topology.faces[:, k]] for k in range(3))
    double_area = _cross(b - a, c - a)
    in_front = jnp.stack([a, b, c])[..., 2].min(axis=0) > NEAR
    return (double_area < -MIN_DOUBLE_AREA) & in_front


def silhouette_edges(drawn: Bool[Array, "F"], topology: Topology) -> Bool[Array, "F 3"]:
    """Edges of a drawn face on whose other side is no drawn face."""
    neighbor_drawn = (topology.neighbors >= 0) & drawn[topology.neighbors]
    return drawn[:, None] & ~neighbor_drawn


def nearest_face(
    pixel: Float[Array, "2"],
    points: Float[Array, "V 3"],
    topology: Topology,
    drawn: Bool[Array, "F"],
) -> Int[Array, ""]:
    """The nearest drawn face that contains the pixel centre, or -1."""
    edges = edge_functions(pixel, points, topology)
    inside = drawn & (edges <= 0).all(axis=1)
    depth = _depth(_screen_barycentrics(edges), points[topology.faces][..., 2])
    nearest = jnp.argmin(jnp.where(inside, depth, jnp.inf))
    return jnp.where(inside[nearest], nearest, -1).astype(jnp.int32)


def closest_edge(
    pixel: Float[Array, "2"],
    points: Float[Array, "V 3"],
    topology: Topology,
    silhouette: Bool[Array, "F 3"],
    behind: Float[Array, ""],
    margin_pixels: float,
) -> Int[Array, ""]:
    """The closest silhouette edge (3 face + k) whose margin shows at the pixel, or -1.

    The pixel centre must lie on the outer side of the face's edge k, nearer to it than the margin
    is wide, and the edge's closest point must lie before what is `behind`, the surface layer.
    """
    faces = jnp.asarray(topology.faces)
    start, end = points[faces], points[jnp.roll(faces, -1, axis=1)]
    outside = edge_functions(pixel, points, topology) > 0
    along, distance = _closest_point(pixel, start[..., :2], end[..., :2])
    depth = _depth(
        jnp.stack([1 - along, along], axis=-1), jnp.stack([start[..., 2], end[..., 2]], axis=-1)
    )
    shows = silhouette & outside & (distance < margin_pixels) & (depth < behind)
    closest = jnp.argmin(jnp.where(shows, distance, jnp.inf))
    return jnp.where(shows.reshape(-1)[closest], closest, -1).astype(jnp.int32)


def shade_surface(
    pixel: Float[Array, "2"],
    face: Int[Array, ""],
    points: Float[Array, "V 3"],
    topology: Topology,
) -> Fragments:
    """The surface layer: the face at the pixel centre, opaque."""
    found = face >= 0
    # An empty pixel looks at a stand-in triangle: a gradient never meets a zero area or depth.
    stand_in = jnp.array([[0, 0, 1], [0, 1, 1], [1, 0, 1]], points.dtype)
    corners = jnp.where(found, points[jnp.asarray(topology.faces)[face]], stand_in)
    start, end = corners[:, :2], jnp.roll(corners, -1, axis=0)[:, :2]
    edges = _cross(end - start, pixel[None, :] - start)
    barycentric, depth = _perspective(_screen_barycentrics(edges), corners[:, 2])
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
    margin_pixels: float,
) -> Fragments:
    """The margin layer: the edge's closest point, fading with its distance."""
    found = edge >= 0
    face, corner = edge // 3, edge % 3
    next_corner = (corner + 1) % 3
    # An empty pixel looks at a stand-in edge, for the same reason as above.
    away = pixel + 2
    stand_in = jnp.stack([jnp.append(away, 1), jnp.append(away, 1) + jnp.array([1, 0, 0])])
    start_id, end_id = (jnp.asarray(topology.faces)[face, k] for k in (corner, next_corner))
    start, end = jnp.where(found, jnp.stack([points[start_id], points[end_id]]), stand_in)
    along, distance = _closest_point(pixel, start[:2], end[:2])
    weights, depth = _perspective(jnp.stack([1 - along, along]), jnp.stack([start[2], end[2]]))
    barycentric = (
        jnp.zeros(3, points.dtype).at[corner].set(weights[0]).at[next_corner].set(weights[1])
    )
    alpha = 1 - distance / (margin_pixels or 1)
    return Fragments(
        face=jnp.where(found, face, -1),
        barycentric=jnp.where(found, barycentric, 0),
        depth=jnp.where(found, depth, 0),
        alpha=jnp.where(found, alpha, 0),
    )


def edge_functions(
    pixel: Float[Array, "2"], points: Float[Array, "V 3"], topology: Topology
) -> Float[Array, "F 3"]:
    """Twice the signed area of (corner k, corner k + 1, pixel), negative inside a front face.

    Each edge is evaluated from its lower to its higher welded vertex and then given the face's
    sign. So two faces that share an edge see exactly opposite values, and no pixel centre falls
    between them.
    """
    faces = jnp.asarray(topology.faces)
    next_faces = jnp.roll(faces, -1, axis=1)
    weld = jnp.asarray(topology.weld)
    backwards = weld[faces] > weld[next_faces]
    start = points[jnp.where(backwards, next_faces, faces)][..., :2]
    end = points[jnp.where(backwards, faces, next_faces)][..., :2]
    area = _cross(end - start, pixel[None, None, :] - start)
    return jnp.where(backwards, -area, area)


def _screen_barycentrics(edges: Float[Array, "... 3"]) -> Float[Array, "... 3"]:
    """Weights on the screen: that of a corner is the area at the edge opposite to it, k + 1."""
    return jnp.roll(edges, -1, axis=-1) / edges.sum(axis=-1, keepdims=True)


def _depth(weights: Float[Array, "... N"], depths: Float[Array, "... N"]) -> Float[Array, "..."]:
    """Depth of a screen point: 1 / z is linear on the screen."""
    return 1 / (weights / depths).sum(axis=-1)


def _perspective(weights: Float[Array, "N"], depths: Float[Array, "N"]):
    """Weights that are linear on the screen -> weights that are linear in space, and depth."""
    depth = _depth(weights, depths)
    return weights / depths * depth, depth


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
