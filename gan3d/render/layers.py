"""What a chosen face, or a chosen silhouette edge, shows at a pixel; with hand-written gradients.

Every function is elementwise over an image: corner coordinates are gathered once, kept as separate
arrays (rows of three are several times slower to gather and to scatter), and a backward function
returns the cotangents of those gathered coordinates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from gan3d.render.screen import Corners, Settings, clip_to_near

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

    Point = tuple[Array, Array, Array]

RELIABLE_DOUBLE_AREA = {4: 1e-5, 8: 1e-10}  # by bytes per number, pixels^2; see `surface_layer`


class Layer(NamedTuple):
    """One layer's part of `Fragments`."""

    barycentric: Float[Array, "H W 3"]
    depth: Float[Array, "H W"]
    alpha: Float[Array, "H W"]


def pixel_centres(settings: Settings, dtype) -> tuple[Float[Array, "H W"], Float[Array, "H W"]]:
    """x and y of every pixel's centre."""
    height, width = settings.image_size
    x = jnp.arange(width, dtype=dtype) + 0.5
    y = jnp.arange(height, dtype=dtype) + 0.5
    shape = settings.image_size
    return jnp.broadcast_to(x[None, :], shape), jnp.broadcast_to(y[:, None], shape)


def _safe(value: Array, valid: Bool[Array, "..."]) -> Array:
    """The value where it may divide, one elsewhere."""
    return jnp.where(valid & (value != 0), value, jnp.ones_like(value))


class _SurfaceTerms(NamedTuple):
    """Of the chosen face at each pixel; lists by corner."""

    x: list[Array]  # of the corners, relative to the pixel centre
    y: list[Array]
    z: list[Array]
    inverse: list[Array]  # 1 / z, or 1 in an orthographic view
    area: list[Array]  # E_k: doubled area of the pixel centre and the edge opposite corner k
    barycentric: list[Array]
    total: Array
    valid: Array
    reliable: Array


def _surface_terms(corners: Corners, face: Int[Array, "H W"], settings: Settings) -> _SurfaceTerms:
    px, py = pixel_centres(settings, corners.x.dtype)
    valid = face >= 0
    index = jnp.maximum(face, 0)
    x = [corners.x[:, k][index] - px for k in range(3)]
    y = [corners.y[:, k][index] - py for k in range(3)]
    z = [_safe(corners.z[:, k][index], valid) for k in range(3)]
    inverse = [jnp.ones_like(a) if settings.orthographic else 1 / a for a in z]
    area = [x[i] * y[j] - y[i] * x[j] for i, j in ((1, 2), (2, 0), (0, 1))]
    limit = RELIABLE_DOUBLE_AREA[px.dtype.itemsize]
    reliable = valid & (jnp.abs(area[0] + area[1] + area[2]) > limit)
    weight = [a * b for a, b in zip(area, inverse, strict=True)]
    total = _safe(weight[0] + weight[1] + weight[2], reliable)
    barycentric = [jnp.where(reliable, w / total, valid / 3) for w in weight]
    return _SurfaceTerms(x, y, z, inverse, area, barycentric, total, valid, reliable)


def surface_layer(corners: Corners, face: Int[Array, "H W"], settings: Settings) -> Layer:
    """The face at the pixel centre, opaque.

    A face so thin that rounding decides where in it the pixel lies shows its centroid.
    """
    terms = _surface_terms(corners, face, settings)
    depth = sum(b * z for b, z in zip(terms.barycentric, terms.z, strict=True))
    return Layer(
        jnp.stack(terms.barycentric, axis=-1),
        jnp.where(terms.valid, depth, 0),
        terms.valid.astype(depth.dtype),
    )


def surface_cotangents(
    corners: Corners, face: Int[Array, "H W"], settings: Settings, cotangent: Layer
) -> list[Point]:
    """Cotangents of the three corners' (x, y, z) at each pixel.

    With w_k = E_k / z_k and S = sum w (1 instead of 1 / z in an orthographic view):
    b_k = w_k / S and depth = sum b_k z_k. Hence, with h_k = g_k + g_depth z_k,
        dL/dw_k = (h_k - sum_j h_j b_j) / S,    dL/dE_k = dL/dw_k / z_k,
        dL/dz_k = g_depth b_k - dL/dw_k E_k / z_k^2.
    """
    t = _surface_terms(corners, face, settings)
    g_depth = jnp.where(t.reliable, cotangent.depth, 0)
    h = [
        jnp.where(t.reliable, cotangent.barycentric[..., k], 0) + g_depth * t.z[k] for k in range(3)
    ]
    mean = h[0] * t.barycentric[0] + h[1] * t.barycentric[1] + h[2] * t.barycentric[2]
    g_weight = [(a - mean) / t.total for a in h]
    g_area = [g * inverse for g, inverse in zip(g_weight, t.inverse, strict=True)]
    g_z = [g_depth * b for b in t.barycentric]
    if not settings.orthographic:
        g_z = [g - g_a * a * i for g, g_a, a, i in zip(g_z, g_area, t.area, t.inverse, strict=True)]
    # Corner k enters the areas opposite its two neighbours i = k + 1 and j = k + 2.
    turns = ((0, 1, 2), (1, 2, 0), (2, 0, 1))
    g_x = [g_area[j] * t.y[i] - g_area[i] * t.y[j] for _, i, j in turns]
    g_y = [g_area[i] * t.x[j] - g_area[j] * t.x[i] for _, i, j in turns]
    return list(zip(g_x, g_y, g_z, strict=True))


def margin_layer(corners: Corners, half_edge: Int[Array, "H W"], settings: Settings) -> Layer:
    """The point of the edge closest to the pixel centre, fading with its distance."""
    if settings.margin == 0:
        zeros = jnp.zeros(settings.image_size, corners.x.dtype)
        return Layer(jnp.zeros((*settings.image_size, 3), zeros.dtype), zeros, zeros)
    valid = half_edge >= 0
    pixels = pixel_centres(settings, corners.x.dtype)
    share, depth, alpha = _edge_values(*_edge_ends(corners, half_edge), pixels, valid, settings)
    corner = half_edge % 3
    at_corner = lambda k: (  # noqa: E731
        jnp.where(corner == k, 1 - share, 0) + jnp.where((corner + 1) % 3 == k, share, 0)
    )
    barycentric = jnp.stack([jnp.where(valid, at_corner(k), 0) for k in range(3)], axis=-1)
    return Layer(barycentric, jnp.where(valid, depth, 0), jnp.where(valid, alpha, 0))


def margin_cotangents(
    corners: Corners,
    half_edge: Int[Array, "..."],
    pixels: tuple[Float[Array, "..."], Float[Array, "..."]],
    settings: Settings,
    cotangent: Layer,
) -> list[Point]:
    """Cotangents of the edge's two ends' (x, y, z) at some pixels.

    `_edge_values` is elementwise, so that its transpose by autodiff is a few products, too.

    Args:
      corners: of all faces.
      half_edge: of the pixels, -1 for none.
      pixels: x and y of their centres.
      settings: static.
      cotangent: of their layer.
    """
    valid, corner = half_edge >= 0, half_edge % 3
    pick = lambda k: sum(  # noqa: E731
        jnp.where(k == i, cotangent.barycentric[..., i], 0) for i in range(3)
    )
    g_share = pick((corner + 1) % 3) - pick(corner)
    values = lambda a, b: _edge_values(a, b, pixels, valid, settings)  # noqa: E731
    _, pull_back = jax.vjp(values, *_edge_ends(corners, half_edge))
    wanted = (g_share, cotangent.depth, cotangent.alpha)
    return list(pull_back(tuple(jnp.where(valid, g, 0) for g in wanted)))


def half_edge_ends(half_edge: Int[Array, "..."]) -> tuple[Int[Array, "..."], Int[Array, "..."]]:
    """Flat corner indices 3 face + k of a half-edge's two ends; those of half-edge 0 for none."""
    start = jnp.maximum(half_edge, 0)
    return start, start // 3 * 3 + (start % 3 + 1) % 3


def _edge_ends(corners: Corners, half_edge: Int[Array, "..."]) -> tuple[Point, Point]:
    start, end = half_edge_ends(half_edge)
    flat = [c.reshape(-1) for c in corners]
    return tuple(c[start] for c in flat), tuple(c[end] for c in flat)


def _edge_values(a: Point, b: Point, pixels: tuple[Array, Array], valid: Array, settings: Settings):
    """Share of b in the edge's point q closest to the pixel p, depth of q, alpha of the margin.

    q = a' + t (b' - a') with t = clip((p - a') . e / |e|^2, 0, 1) on the screen, a' and b' the ends
    in front of the near plane; weights (1 - t) / z_a' and t / z_b' make it perspective-correct;
    alpha = 1 - |p - q| / margin.
    """
    px, py = pixels
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
