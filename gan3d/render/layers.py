"""What a chosen face, or a chosen silhouette edge, shows at pixels; with hand-written gradients.

Every function is elementwise over a list of pixels. Coordinates are gathered one by one and kept
as separate arrays; gradients are added to the vertices in rows of four, which on CPU is faster than
in rows of three, or one number at a time.

Shape letters: V vertices, F faces, N pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gan3d.render.batching import materialized
from gan3d.render.indexing import DROP, take, take_pairs
from gan3d.render.screen import Settings, clip_to_near, face_and_corner, next_corner

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

    Point = tuple[Array, Array, Array]

RELIABLE_DOUBLE_AREA = {4: 1e-5, 8: 1e-10}  # by bytes per number, pixels^2; see `surface_values`


class Layer(NamedTuple):
    """What a layer shows at each of its pixels; zeros where it is empty.

    Attributes:
      barycentric: perspective-correct weight of each corner of the face.
      depth: camera-space depth, world units.
      alpha: opacity.
    """

    barycentric: tuple[Float[Array, "N"], Float[Array, "N"], Float[Array, "N"]]
    depth: Float[Array, "N"]
    alpha: Float[Array, "N"]


def pixel_centres(
    pixel: Int[Array, "N"], settings: Settings, dtype
) -> tuple[Float[Array, "N"], Float[Array, "N"]]:
    """x and y of the centres of pixels, which are counted row by row."""
    width = settings.image_size[1]
    row = lax.div(pixel, jnp.int32(width))
    return (pixel - row * width).astype(dtype) + 0.5, row.astype(dtype) + 0.5


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def surface_layer(settings: Settings, points, faces, face, pixel) -> Layer:
    """`surface_values` with its hand-written gradient."""
    return _surface(_surface_terms(settings, points, faces, face, pixel, take_pairs))


def surface_values(
    settings: Settings,
    points: Float[Array, "V 3"],
    faces: Int[Array, "F 3"],
    face: Int[Array, "N"],
    pixel: Int[Array, "N"],
) -> Layer:
    """The chosen face (-1 for none) at each pixel's centre, opaque.

    A face so thin that rounding decides where in it the pixel lies shows its centroid.
    """
    return _surface(_surface_terms(settings, points, faces, face, pixel, _gather_points))


def _surface(terms: _SurfaceTerms) -> Layer:
    depth = sum(b * z for b, z in zip(terms.barycentric, terms.z, strict=True))
    return Layer(
        tuple(terms.barycentric), jnp.where(terms.valid, depth, 0), terms.valid.astype(depth.dtype)
    )


def _surface_fwd(settings, points, faces, face, pixel):
    return surface_layer(settings, points, faces, face, pixel), (points, faces, face, pixel)


def _surface_bwd(settings, residuals, cotangent):
    """Layer's cotangents -> the points'.

    With w_k = E_k / z_k and S = sum w (1 instead of 1 / z in an orthographic view):
    b_k = w_k / S and depth = sum b_k z_k. Hence, with h_k = g_k + g_depth z_k,
        dL/dw_k = (h_k - sum_j h_j b_j) / S,    dL/dE_k = dL/dw_k / z_k,
        dL/dz_k = g_depth b_k - dL/dw_k E_k / z_k^2.
    """
    _, cotangent = materialized((residuals[2], cotangent))
    t = _surface_terms(settings, *residuals, take_pairs)
    g_depth = jnp.where(t.reliable, cotangent.depth, 0)
    h = [
        jnp.where(t.reliable, g, 0) + g_depth * z
        for g, z in zip(cotangent.barycentric, t.z, strict=True)
    ]
    mean = h[0] * t.barycentric[0] + h[1] * t.barycentric[1] + h[2] * t.barycentric[2]
    g_weight = [(a - mean) * t.over for a in h]
    g_area = [g * inverse for g, inverse in zip(g_weight, t.inverse, strict=True)]
    # Stored, or all of it would be computed again for every number of every row.
    _, g_area = materialized((residuals[2], g_area))
    g_z = [g_depth * b for b in t.barycentric]
    if not settings.orthographic:
        g_z = [g - g_a * a * i for g, g_a, a, i in zip(g_z, g_area, t.area, t.inverse, strict=True)]
    # Corner k enters the areas opposite its two neighbours i = k + 1 and j = k + 2.
    turns = ((1, 2), (2, 0), (0, 1))
    g_x = [g_area[j] * t.y[i] - g_area[i] * t.y[j] for i, j in turns]
    g_y = [g_area[i] * t.x[j] - g_area[j] * t.x[i] for i, j in turns]
    cotangents = zip(g_x, g_y, g_z, strict=True)
    return _add_to_points(residuals[0], t.vertices, t.valid, cotangents), None, None, None


surface_layer.defvjp(_surface_fwd, _surface_bwd)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def margin_layer(settings: Settings, points, faces, half_edge, pixel) -> Layer:
    """`margin_values` with a gradient that adds whole rows."""
    return margin_values(settings, points, faces, half_edge, pixel)


def margin_values(
    settings: Settings,
    points: Float[Array, "V 3"],
    faces: Int[Array, "F 3"],
    half_edge: Int[Array, "N"],
    pixel: Int[Array, "N"],
) -> Layer:
    """The point of the chosen edge (-1: none) closest to the pixel's centre, fading with its
    distance."""
    valid, (_, corner) = half_edge >= 0, face_and_corner(half_edge)
    a, b = _gather_points(points.T, *_edge_vertices(faces, half_edge))
    share, depth, alpha = _edge_values(settings, pixel, valid, a, b)
    barycentric = (
        jnp.where(corner == k, 1 - share, 0) + jnp.where(next_corner(corner) == k, share, 0)
        for k in range(3)
    )
    empty = lambda value: jnp.where(valid, value, 0)  # noqa: E731
    return Layer(tuple(empty(b) for b in barycentric), empty(depth), empty(alpha))


def _margin_fwd(settings, points, faces, half_edge, pixel):
    residuals = points, faces, half_edge, pixel
    return margin_layer(settings, *residuals), residuals


def _margin_bwd(settings, residuals, cotangent):
    """`_edge_values` is elementwise, so that its transpose by autodiff is a few products, too."""
    points, faces, half_edge, pixel = residuals
    _, cotangent = materialized((half_edge, cotangent))
    valid, (_, corner) = half_edge >= 0, face_and_corner(half_edge)
    pick = lambda k: sum(  # noqa: E731
        jnp.where(k == i, g, 0) for i, g in enumerate(cotangent.barycentric)
    )
    wanted = pick(next_corner(corner)) - pick(corner), cotangent.depth, cotangent.alpha
    vertices = _edge_vertices(faces, half_edge)
    ends = _gather_points(points.T, *vertices)
    _, pull_back = jax.vjp(partial(_edge_values, settings, pixel, valid), *ends)
    _, cotangents = materialized(
        (half_edge, pull_back(tuple(jnp.where(valid, g, 0) for g in wanted)))
    )
    return _add_to_points(points, vertices, valid, cotangents), None, None, None


margin_layer.defvjp(_margin_fwd, _margin_bwd)


class _SurfaceTerms(NamedTuple):
    """Of the chosen face at each pixel; lists by corner."""

    vertices: list[Array]
    x: list[Array]  # of the corners, relative to the pixel centre
    y: list[Array]
    z: list[Array]
    inverse: list[Array]  # 1 / z, or 1 in an orthographic view
    area: list[Array]  # E_k: doubled area of the pixel centre and the edge opposite corner k
    barycentric: list[Array]
    over: Array  # 1 / S, see `_surface_bwd`
    valid: Array
    reliable: Array


def _surface_terms(settings: Settings, points, faces, face, pixel, gather) -> _SurfaceTerms:
    valid, index = face >= 0, jnp.maximum(face, 0)
    (vertices,) = take_pairs([faces[:, k] for k in range(3)], index, constant=True)
    x, y, z = points[:, 0], points[:, 1], _safe(points[:, 2])
    # Divided vertex by vertex: a picture has more pixels.
    columns = x, y, z, jnp.ones_like(z) if settings.orthographic else 1 / z
    corners = gather(columns, *vertices)
    x, y, z, inverse = (list(column) for column in zip(*corners, strict=True))
    px, py = pixel_centres(pixel, settings, points.dtype)
    x, y = [a - px for a in x], [a - py for a in y]
    area = [x[i] * y[j] - y[i] * x[j] for i, j in ((1, 2), (2, 0), (0, 1))]
    limit = RELIABLE_DOUBLE_AREA[px.dtype.itemsize]
    reliable = valid & (jnp.abs(area[0] + area[1] + area[2]) > limit)
    weight = [a * b for a, b in zip(area, inverse, strict=True)]
    over = 1 / _safe(weight[0] + weight[1] + weight[2], reliable)
    barycentric = [jnp.where(reliable, w * over, valid / 3) for w in weight]
    return _SurfaceTerms(vertices, x, y, z, inverse, area, barycentric, over, valid, reliable)


def _edge_vertices(faces: Int[Array, "F 3"], half_edge: Int[Array, "N"]) -> tuple[Array, Array]:
    """The two vertices of a half-edge; those of half-edge 0 for none."""
    face, corner = face_and_corner(half_edge)
    return tuple(take(faces.reshape(-1), 3 * face + k) for k in (corner, next_corner(corner)))


def _edge_values(settings: Settings, pixel, valid, a: Point, b: Point):
    """Share of b in the edge's point q closest to the pixel p, depth of q, alpha of the margin.

    q = a' + t (b' - a') with t = clip((p - a') . e / |e|^2, 0, 1) on the screen, a' and b' the ends
    in front of the near plane; weights (1 - t) / z_a' and t / z_b' make it perspective-correct;
    alpha = 1 - |p - q| / margin.
    """
    px, py = pixel_centres(pixel, settings, a[0].dtype)
    start, end, low, high = a, b, 0, 1
    if not settings.orthographic:
        start, end = clip_to_near(b, a, settings.near), clip_to_near(a, b, settings.near)
        # Positions of the clipped ends between a and b in space.
        span = _safe(b[2] - a[2], valid)
        low = jnp.where(start[2] != a[2], (start[2] - a[2]) / span, 0)
        high = jnp.where(end[2] != b[2], (end[2] - a[2]) / span, 1)
    ax, ay, za, zb = start[0] - px, start[1] - py, _safe(start[2], valid), _safe(end[2], valid)
    ex, ey = end[0] - start[0], end[1] - start[1]
    along = jnp.clip(-(ax * ex + ay * ey) / _safe(ex * ex + ey * ey, valid), 0, 1)
    dx, dy = ax + along * ex, ay + along * ey
    square = dx * dx + dy * dy
    distance = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    alpha = jnp.clip(1 - distance / settings.margin, 0, 1)
    if settings.orthographic:
        return along, (1 - along) * za + along * zb, alpha
    weight_a, weight_b = (1 - along) / za, along / zb
    total = _safe(weight_a + weight_b, valid)
    share = weight_b / total
    return (1 - share) * low + share * high, 1 / total, alpha


def _gather_points(columns: Sequence[Array], *vertices: Int[Array, "N"]) -> list[tuple[Array, ...]]:
    return [tuple(take(column, vertex) for column in columns) for vertex in vertices]


def _add_to_points(points, vertices, valid, cotangents) -> Float[Array, "V 3"]:
    """Sum of (x, y, z) cotangents at each vertex; a pixel that is not valid adds nothing."""
    count = points.shape[0]
    total = jnp.zeros((count, 4), points.dtype)
    for vertex, values in zip(vertices, cotangents, strict=True):
        row = jnp.stack([*values, jnp.zeros_like(values[0])], axis=-1)
        # Past the end, hence dropped: no contention on vertex 0.
        total = total.at[jnp.where(valid, vertex, count)].add(row, **DROP)
    return total[:, :3]


def _safe(value: Array, valid: Bool[Array, "N"] | bool = True) -> Array:
    """The value where it may divide, one elsewhere."""
    return jnp.where(valid & (value != 0), value, jnp.ones_like(value))
