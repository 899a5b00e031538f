"""What a chosen face shows at pixels; with a hand-written gradient.

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
from jax.custom_derivatives import SymbolicZero

from gan3d.render.batching import materialized
from gan3d.render.indexing import DROP, take, take_pairs
from gan3d.render.screen import Settings

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

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


def _surface_fwd(settings, *arguments):
    points, faces, face, pixel = (argument.value for argument in arguments)
    terms = _surface_terms(settings, points, faces, face, pixel, take_pairs)
    return _surface(terms), (points, face, terms)


def _surface_bwd(settings, residuals, cotangent):
    """Layer's cotangents -> the points'.

    With w_k = E_k / z_k and S = sum w (1 instead of 1 / z in an orthographic view):
    b_k = w_k / S and depth = sum b_k z_k. Hence, with h_k = g_k + g_depth z_k,
        dL/dw_k = (h_k - sum_j h_j b_j) / S,    dL/dE_k = dL/dw_k / z_k,
        dL/dz_k = g_depth b_k - dL/dw_k E_k / z_k^2.
    """
    points, face, t = residuals
    wanted = [*cotangent.barycentric, cotangent.depth]
    has_depth = not isinstance(cotangent.depth, SymbolicZero)
    _, wanted = materialized((face, wanted if has_depth else wanted[:3]))
    h = [jnp.where(t.reliable, g, 0) for g in wanted]
    if has_depth:
        h, g_depth = [g + h[3] * z for g, z in zip(h[:3], t.z, strict=True)], h[3]
    mean = h[0] * t.barycentric[0] + h[1] * t.barycentric[1] + h[2] * t.barycentric[2]
    g_weight = [(a - mean) * t.over for a in h]
    g_area = [g * inverse for g, inverse in zip(g_weight, t.inverse, strict=True)]
    # Stored, or all of it would be computed again for every number of every row.
    _, g_area = materialized((face, g_area))
    g_z = [jnp.zeros_like(b) for b in t.barycentric]
    if not settings.orthographic:
        g_z = [-g * a * i for g, a, i in zip(g_area, t.area, t.inverse, strict=True)]
    if has_depth:
        g_z = [g + g_depth * b for g, b in zip(g_z, t.barycentric, strict=True)]
    # Corner k enters the areas opposite its two neighbours i = k + 1 and j = k + 2.
    turns = ((1, 2), (2, 0), (0, 1))
    g_x = [g_area[j] * t.y[i] - g_area[i] * t.y[j] for i, j in turns]
    g_y = [g_area[i] * t.x[j] - g_area[j] * t.x[i] for i, j in turns]
    total = jnp.zeros((points.shape[0], 4), points.dtype)
    for vertex, *corner in zip(t.vertices, g_x, g_y, g_z, strict=True):
        total = add_at_vertices(total, vertex, t.valid, corner)
    return total[:, :3], None, None, None


surface_layer.defvjp(_surface_fwd, _surface_bwd, symbolic_zeros=True)


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
    x, y, z = points[:, 0], points[:, 1], safe(points[:, 2])
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
    over = 1 / safe(weight[0] + weight[1] + weight[2], reliable)
    barycentric = [jnp.where(reliable, w * over, valid / 3) for w in weight]
    return _SurfaceTerms(vertices, x, y, z, inverse, area, barycentric, over, valid, reliable)


def _gather_points(columns: Sequence[Array], *vertices: Int[Array, "N"]) -> list[tuple[Array, ...]]:
    return [tuple(take(column, vertex) for column in columns) for vertex in vertices]


def add_at_vertices(
    total: Float[Array, "V 4"],
    vertices: Int[Array, "*N"],
    valid: Bool[Array, "N"],
    cotangents: Sequence[Float[Array, "*N"]],
) -> Float[Array, "V 4"]:
    """Adds (x, y, z) cotangents at each vertex; a pixel that is not valid adds nothing."""
    row = jnp.stack([*cotangents, jnp.zeros_like(cotangents[0])], axis=-1)
    # Past the end, hence dropped: no contention on vertex 0.
    return total.at[jnp.where(valid, vertices, total.shape[0])].add(row, **DROP)


def safe(value: Array, valid: Bool[Array, "N"] | bool = True) -> Array:
    """The value where it may divide, one elsewhere."""
    return jnp.where(valid & (value != 0), value, jnp.ones_like(value))
