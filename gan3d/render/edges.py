"""What a chosen silhouette edge shows at pixels beside it; with a hand-written gradient.

Every function is elementwise over a list of pixels. On CPU these lists are short: both axes and
both ends of an edge are one array, a quarter of the kernels that have to be compiled and called.

Shape letters: V vertices, F faces, N pixels; arrays of points [2 2 N] by axis, then by end.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from gan3d.render.batching import materialized
from gan3d.render.indexing import take
from gan3d.render.layers import add_at_vertices, pixel_centres, safe
from gan3d.render.screen import (
    Settings,
    clip_to_near,
    face_and_corner,
    in_front_of_near,
    next_corner,
)

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

# By end.
_IS_END = np.array([[False], [True]])
_TURN = np.array([[1], [-1]], np.float32)


class EdgePoint(NamedTuple):
    """The point of an edge that a margin shows at each of its pixels; zeros where it is empty.

    Attributes:
      share: perspective-correct weight of the half-edge's end; its start has the rest.
      depth: camera-space depth, world units.
      alpha: opacity.
    """

    share: Float[Array, "N"]
    depth: Float[Array, "N"]
    alpha: Float[Array, "N"]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def margin_layer(settings: Settings, points, faces, half_edge, pixel) -> EdgePoint:
    """`margin_values` with its hand-written gradient."""
    return margin_values(settings, points, faces, half_edge, pixel)


def margin_values(
    settings: Settings,
    points: Float[Array, "V 3"],
    faces: Int[Array, "F 3"],
    half_edge: Int[Array, "N"],
    pixel: Int[Array, "N"],
) -> EdgePoint:
    """The point of the chosen edge (-1: none) closest to the pixel's centre, fading with its
    distance."""
    valid, ends = half_edge >= 0, _ends(points, _vertices(faces, half_edge))
    return _edge_point(settings, _terms(settings, pixel, valid, *ends), valid)


def edge_corners(half_edge: Int[Array, "N"]) -> Int[Array, "2 N"]:
    """Where half-edges start and end, as corners 3 face + k; of half-edge 0 for none."""
    face, corner = face_and_corner(half_edge)
    # Stored, or each number of the rows that are gathered there would compute them again.
    return materialized(3 * face[None] + jnp.stack([corner, next_corner(corner)]), half_edge)


def edge_barycentric(half_edge: Int[Array, "N"], share: Float[Array, "N"]) -> list[Array]:
    """Weights of the face's corners at a point of a half-edge; zeros for none."""
    _, corner = face_and_corner(half_edge)
    after, rest = next_corner(corner), jnp.where(half_edge >= 0, 1 - share, 0)
    return [jnp.where(corner == k, rest, jnp.where(after == k, share, 0)) for k in range(3)]


class _Terms(NamedTuple):
    """Of the chosen edge at each pixel; [2 ...] by axis or by end."""

    z: Float[Array, "2 N"]  # depths of the ends in front of the near plane, a and b
    front: Float[Array, "2 N"] | None  # see `in_front_of_near`; None in an orthographic view
    edge: Float[Array, "2 N"]  # e = b - a on the screen
    square: Float[Array, "N"]  # |e|^2
    along: Float[Array, "N"]  # t
    weights: Float[Array, "2 N"]  # 1 - t, t
    away: Float[Array, "2 N"]  # q - p
    distance: Float[Array, "N"]
    total: Float[Array, "N"] | None  # T, see `_edge_point`


def _terms(settings: Settings, pixel, valid, xy, z) -> _Terms:
    """With p the pixel, a and b the edge's ends in front of the near plane, on the screen, the
    closest point is q = a + t e, e = b - a, t = clip((p - a) . e / |e|^2, 0, 1)."""
    front = None
    if not settings.orthographic:
        front = in_front_of_near(z[::-1], z, settings.near)
        xy, z = clip_to_near((xy[:, ::-1], z[::-1]), (xy, z), settings.near)
    start = xy[:, 0] - jnp.stack(pixel_centres(pixel, settings, xy.dtype))
    edge = xy[:, 1] - xy[:, 0]
    square = safe(_dot(edge, edge), valid)
    along = jnp.clip(-_dot(start, edge) / square, 0, 1)
    away = start + along[None] * edge
    distance2 = _dot(away, away)
    distance = jnp.where(distance2 > 0, jnp.sqrt(jnp.where(distance2 > 0, distance2, 1)), 0)
    total = None
    if not settings.orthographic:
        total = safe((1 - along) * z[1] + along * z[0], valid)
    weights = jnp.where(_IS_END, along[None], 1 - along[None])
    return _Terms(z, front, edge, square, along, weights, away, distance, total)


def _edge_point(settings: Settings, t: _Terms, valid: Bool[Array, "N"]) -> EdgePoint:
    """Weights (1 - t) / z_a and t / z_b make it perspective-correct: with T = (1 - t) z_b + t z_a

    s = t z_a / T,  depth = z_a z_b / T,  alpha = 1 - |q - p| / margin,
    and a and b lie 1 - f_a and f_b of the way from the half-edge's start to its end.
    """
    if settings.orthographic:
        share, depth = t.along, (1 - t.along) * t.z[0] + t.along * t.z[1]
    else:
        share = t.along * t.z[0] / t.total  # divided: exactly 1 at the end
        share = (1 - t.front[0]) + share * (t.front[0] + t.front[1] - 1)
        depth = t.z[0] * t.z[1] / t.total
    alpha = jnp.clip(1 - t.distance / settings.margin, 0, 1)
    return EdgePoint(*(jnp.where(valid, value, 0) for value in (share, depth, alpha)))


def _margin_fwd(settings, *arguments):
    points, faces, half_edge, pixel = (argument.value for argument in arguments)
    valid, vertices = half_edge >= 0, _vertices(faces, half_edge)
    ends = _ends(points, vertices)
    terms = _terms(settings, pixel, valid, *ends)
    return _edge_point(settings, terms, valid), (points, half_edge, vertices, ends, terms)


def _margin_bwd(settings, residuals, cotangent):
    points, half_edge, vertices, ends, terms = residuals
    valid = half_edge >= 0
    cotangent = [None if isinstance(g, SymbolicZero) else jnp.where(valid, g, 0) for g in cotangent]
    g_xy, g_z, g_front = _terms_cotangents(settings, terms, *cotangent)
    if not settings.orthographic:
        _, cotangent = materialized((half_edge, (g_xy, g_z, g_front)))
        g_xy, g_z = _unclipped(settings, ends, cotangent)
    _, (g_xy, g_z) = materialized((half_edge, (g_xy, g_z)))
    total = jnp.zeros((points.shape[0], 4), points.dtype)
    total = add_at_vertices(total, vertices, valid, (*g_xy, g_z))
    return total[:, :3], None, None, None


margin_layer.defvjp(_margin_fwd, _margin_bwd, symbolic_zeros=True)


def _terms_cotangents(settings: Settings, t: _Terms, g_share, g_depth, g_alpha):
    """Cotangents of a margin's values (None: there is none) -> those of the ends in front of the
    near plane, xy [2 2 N] and z [2 N], and of what lies in front, f [2 N].

    With w = q - p and n = w / |w|: where t is not clipped n is at right angles to e, and where it
    is, constant; so t does not change the distance, and
        dt = ((w - (1 - t) e) . da - (w + t e) . db) / |e|^2,
        d alpha = -n . ((1 - t) da + t db) / margin.
    """
    of_t, of_z, of_front = jnp.zeros_like(t.along), jnp.zeros_like(t.z), jnp.zeros_like(t.z)
    if g_share is not None:
        of_t, of_z, of_front = _share_cotangents(settings, t, g_share)
    if g_depth is not None:
        depth_of_t, depth_of_z = _depth_cotangents(settings, t, g_depth)
        of_t, of_z = of_t + depth_of_t, of_z + depth_of_z
    of_t = jnp.where((t.along > 0) & (t.along < 1), of_t / t.square, 0)
    of_q = jnp.zeros_like(t.along)
    if g_alpha is not None:
        fades = (t.distance > 0) & (t.distance < settings.margin)
        of_q = jnp.where(fades, -g_alpha / (settings.margin * jnp.where(fades, t.distance, 1)), 0)
    # Along w and along e: a number of each per end.
    along_away = t.weights * of_q[None] + _TURN * of_t[None]
    along_edge = -t.weights * of_t[None]
    return (
        along_away[None] * t.away[:, None] + along_edge[None] * t.edge[:, None],
        of_z,
        of_front,
    )


def _share_cotangents(settings: Settings, t: _Terms, g):
    """To t, z and f: ds = (z_a z_b dt + t (1 - t) (z_b dz_a - z_a dz_b)) / T^2, in front."""
    if settings.orthographic:
        return g, jnp.zeros_like(t.z), jnp.zeros_like(t.z)
    of_share = g * (t.front[0] + t.front[1] - 1) / (t.total * t.total)
    spread = of_share * t.along * (1 - t.along)
    share = (t.along * t.z[0] / t.total)[None]
    return (
        of_share * t.z[0] * t.z[1],
        _TURN * spread[None] * t.z[::-1],
        g[None] * jnp.where(_IS_END, share, share - 1),
    )


def _depth_cotangents(settings: Settings, t: _Terms, g):
    """To t and z: d depth = (z_a z_b (z_b - z_a) dt + (1 - t) z_b^2 dz_a + t z_a^2 dz_b) / T^2."""
    of_t = g * (t.z[1] - t.z[0])
    if settings.orthographic:
        return of_t, g[None] * t.weights
    over = 1 / (t.total * t.total)
    return of_t * t.z[0] * t.z[1] * over, (g * over)[None] * t.weights * t.z[::-1] * t.z[::-1]


def _unclipped(settings: Settings, ends, cotangent):
    """Cotangents of `_terms_cotangents` -> those of the ends."""

    def shown(xy, z):
        xy_shown, z_shown = clip_to_near((xy[:, ::-1], z[::-1]), (xy, z), settings.near)
        return xy_shown, z_shown, in_front_of_near(z[::-1], z, settings.near)

    return jax.vjp(shown, *ends)[1](cotangent)


def _vertices(faces: Int[Array, "F 3"], half_edge: Int[Array, "N"]) -> Int[Array, "2 N"]:
    """The two vertices of a half-edge; those of half-edge 0 for none."""
    return take(faces.reshape(-1), edge_corners(half_edge))


def _ends(points: Float[Array, "V 3"], vertices: Int[Array, "2 N"]) -> tuple[Array, Array]:
    """Screen coordinates [2 2 N] and depths [2 N] of both ends."""
    ends = jnp.moveaxis(take(points, vertices), 2, 0)
    return ends[:2], ends[2]


def _dot(u: Float[Array, "2 N"], v: Float[Array, "2 N"]) -> Float[Array, "N"]:
    return u[0] * v[0] + u[1] * v[1]
