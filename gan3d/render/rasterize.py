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

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan3d.render.mesh import Topology
from gan3d.render.visibility import Corners, find_visible, gather_corners

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
) -> Fragments:
    """Draws one mesh; `vmap` over points for batches.

    Front faces only: a front face has negative signed area in (x right, y down). Faces with a
    vertex nearer than 1e-3 are dropped whole.

    Args:
      points: screen points from `project`: x and y in pixels, camera depth z.
      topology: connectivity of the mesh.
      image_size: (height, width) in pixels.
      margin_pixels: width of the soft margin in pixels; 0 is the crisp renderer, whose images
        jump when a silhouette crosses a pixel centre and whose gradients do not see it.

    Returns:
      The fragments. Barycentrics, depth and alpha are differentiable in `points`.

    Raises:
      ValueError: on a wrong shape, size or margin.
    """
    _validate(points, topology, image_size, margin_pixels)
    height, width = (int(size) for size in image_size)
    connectivity = _Connectivity(
        *(jnp.asarray(a) for a in (topology.faces, topology.neighbors, topology.component))
    )
    settings = _Settings((height, width), float(margin_pixels), 1 + (topology.num_components > 1))
    return _rasterize(jnp.asarray(points), connectivity, settings)


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


class _Connectivity(NamedTuple):
    faces: Int[Array, "F 3"]
    neighbors: Int[Array, "F 3"]
    component: Int[Array, "F"]


class _Settings(NamedTuple):
    image_size: tuple[int, int]
    margin: float
    num_margins: int


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _rasterize(points, connectivity: _Connectivity, settings: _Settings):
    return _rasterize_fwd(points, connectivity, settings)[0]


def _rasterize_fwd(points, connectivity, settings):
    visible = find_visible(points, *connectivity, *settings)
    if connectivity.faces.shape[0] == 0:
        return _empty(points.dtype, settings), (points, connectivity, visible)
    corners = gather_corners(points, connectivity.faces)
    surface = _surface(corners, visible.face, settings.image_size)
    margins = [_margin(corners, half_edge, settings) for half_edge in visible.half_edge]
    if settings.num_margins == 2:
        margins, half_edge = _nearer_first(margins, visible.half_edge)
        visible = visible._replace(half_edge=half_edge)
    faces = [_half_edge_face(half_edge) for half_edge in visible.half_edge]
    layers = Fragments(
        jnp.stack([*faces, visible.face]),
        *(jnp.stack(values) for values in zip(*margins, surface, strict=True)),
    )
    return layers, (points, connectivity, visible)


def _nearer_first(margins, half_edge):
    """Orders two margins by depth; an empty one has no place of its own."""
    first, second = margins
    swap = (half_edge[1] >= 0) & (second.depth < first.depth)

    def order(one, other):
        mask = swap.reshape(swap.shape + (1,) * (one.ndim - swap.ndim))
        return jnp.where(mask, other, one), jnp.where(mask, one, other)

    pairs = [order(one, other) for one, other in zip(first, second, strict=True)]
    margins = [_Layer(*values) for values in zip(*pairs, strict=True)]
    return margins, jnp.stack(order(*half_edge))


def _rasterize_bwd(settings, residuals, cotangent):
    """Cotangents of the fragments -> of the points: gather, a few products, scatter-add.

    Surface. With w_k = E_k / z_k, E_k the doubled area of p and the edge opposite corner k, and
    S = sum w, A = sum E:  b_k = w_k / S,  depth = A / S.  Hence
        dL/dw_k = (g_k - sum_j g_j b_j) / S - g_depth A / S^2 =: h_k,
        dL/dE_k = h_k / z_k + g_depth / S,    dL/dz_k = -h_k E_k / z_k^2,
    and E_k = (x_i - px)(y_j - py) - (y_i - py)(x_j - px) with i = k + 1, j = k + 2.

    Margin. On the edge from a to b with q = a + t (b - a), n = (p - q) / |p - q|:
        d alpha = n . dq / margin,  dq at fixed t (the change of t moves q across n: no effect),
    and weights w_a = (1 - t) / z_a, w_b = t / z_b as above, where t = (p - a) . e / |e|^2 moves
    with the end points unless it is clamped.
    """
    points, connectivity, visible = residuals
    faces, (image_size, margin, num_margins) = connectivity.faces, settings
    if faces.shape[0] == 0:
        return jnp.zeros_like(points), None
    corners = gather_corners(points, faces)
    _, g_barycentric, g_depth, g_alpha = cotangent
    total = jnp.zeros_like(points)
    total = _scatter(
        total, faces, visible.face, (0, 1, 2),
        _surface_bwd(corners, visible.face, image_size, g_barycentric[-1], g_depth[-1]),
    )  # fmt: skip
    for k in range(num_margins if margin > 0 else 0):
        total = _scatter(
            total, faces, visible.half_edge[k], "edge",
            _margin_bwd(
                corners, visible.half_edge[k], image_size, margin,
                g_barycentric[k], g_depth[k], g_alpha[k],
            ),
        )  # fmt: skip
    return total, None


_rasterize.defvjp(_rasterize_fwd, _rasterize_bwd)


class _Layer(NamedTuple):
    barycentric: Float[Array, "H W 3"]
    depth: Float[Array, "H W"]
    alpha: Float[Array, "H W"]


def _empty(dtype, settings):
    zeros = jnp.zeros((settings.num_margins + 1, *settings.image_size), dtype)
    face = jnp.full(zeros.shape, -1, jnp.int32)
    return Fragments(face, jnp.zeros((*zeros.shape, 3), dtype), zeros, zeros)


def _half_edge_face(half_edge):
    return jnp.where(half_edge >= 0, half_edge // 3, -1)


def _pixel_centres(image_size, dtype):
    height, width = image_size
    x = jnp.arange(width, dtype=dtype) + 0.5
    y = jnp.arange(height, dtype=dtype) + 0.5
    return jnp.broadcast_to(x[None, :], image_size), jnp.broadcast_to(y[:, None], image_size)


def _safe(value, valid):
    """The value where it may divide, one elsewhere."""
    return jnp.where(valid & (value != 0), value, jnp.ones_like(value))


def _surface_terms(corners: Corners, face, image_size):
    """Corner coordinates relative to the pixel centre, areas E, weights w and validity."""
    px, py = _pixel_centres(image_size, corners.x.dtype)
    valid = face >= 0
    index = jnp.maximum(face, 0)
    x = [corners.x[:, k][index] - px for k in range(3)]
    y = [corners.y[:, k][index] - py for k in range(3)]
    z = [_safe(corners.z[:, k][index], valid) for k in range(3)]
    area = [x[i] * y[j] - y[i] * x[j] for i, j in ((1, 2), (2, 0), (0, 1))]
    weight = [a / depth for a, depth in zip(area, z, strict=True)]
    total = _safe(weight[0] + weight[1] + weight[2], valid)
    return x, y, z, area, weight, total, valid


def _surface(corners: Corners, face, image_size) -> _Layer:
    _, _, _, area, weight, total, valid = _surface_terms(corners, face, image_size)
    barycentric = jnp.stack([jnp.where(valid, w / total, 0) for w in weight], axis=-1)
    depth = jnp.where(valid, (area[0] + area[1] + area[2]) / total, 0)
    return _Layer(barycentric, depth, valid.astype(depth.dtype))


def _surface_bwd(corners: Corners, face, image_size, g_barycentric, g_depth):
    """Cotangents (x, y, z) of the three corners at each pixel; see `_rasterize_bwd`."""
    x, y, z, area, weight, total, valid = _surface_terms(corners, face, image_size)
    g_depth = jnp.where(valid, g_depth, 0)
    g_bary = [jnp.where(valid, g_barycentric[..., k], 0) for k in range(3)]
    mean = sum(g * w for g, w in zip(g_bary, weight, strict=True)) / total
    shared = mean + g_depth * (area[0] + area[1] + area[2]) / total
    g_weight = [(g - shared) / total for g in g_bary]
    g_area = [g / depth + g_depth / total for g, depth in zip(g_weight, z, strict=True)]
    g_z = [-g * a / (depth * depth) for g, a, depth in zip(g_weight, area, z, strict=True)]
    # Corner k enters the areas opposite its two neighbours i = k + 1 and j = k + 2.
    turns = ((0, 1, 2), (1, 2, 0), (2, 0, 1))
    g_x = [g_area[j] * y[i] - g_area[i] * y[j] for _, i, j in turns]
    g_y = [g_area[i] * x[j] - g_area[j] * x[i] for _, i, j in turns]
    return [tuple(g[k] for g in (g_x, g_y, g_z)) for k in range(3)]


class _EdgeTerms(NamedTuple):
    """Half-edge a -> b at each pixel; coordinates relative to the pixel centre."""

    ax: Array
    ay: Array
    ex: Array
    ey: Array
    square: Array  # |e|^2
    along: Array  # t in [0, 1]
    free: Array  # t is not clamped
    distance: Array
    weight_a: Array
    weight_b: Array
    inverse_a: Array  # 1 / z_a
    inverse_b: Array
    total: Array
    valid: Array


def _edge_terms(corners: Corners, half_edge, image_size) -> _EdgeTerms:
    px, py = _pixel_centres(image_size, corners.x.dtype)
    valid = half_edge >= 0
    start = jnp.maximum(half_edge, 0)
    # Half-edge 3 f + k starts at corner k of face f: the same flat index.
    end = start // 3 * 3 + (start % 3 + 1) % 3
    x, y, z = (c.reshape(-1) for c in corners)
    ax, ay, az = x[start] - px, y[start] - py, _safe(z[start], valid)
    ex, ey, bz = x[end] - x[start], y[end] - y[start], _safe(z[end], valid)
    square = _safe(ex * ex + ey * ey, valid)
    unclamped = -(ax * ex + ay * ey) / square
    along = jnp.clip(unclamped, 0, 1)
    dx, dy = ax + along * ex, ay + along * ey
    square_distance = dx * dx + dy * dy
    distance = jnp.sqrt(jnp.where(square_distance > 0, square_distance, 1))
    distance = jnp.where(square_distance > 0, distance, 0)
    weight_a, weight_b = (1 - along) / az, along / bz
    return _EdgeTerms(
        ax, ay, ex, ey, square, along, (unclamped > 0) & (unclamped < 1), distance,
        weight_a, weight_b, 1 / az, 1 / bz, _safe(weight_a + weight_b, valid), valid,
    )  # fmt: skip


def _margin(corners: Corners, half_edge, settings: _Settings) -> _Layer:
    image_size, margin, _ = settings
    if margin == 0:
        zeros = jnp.zeros(image_size, corners.x.dtype)
        return _Layer(jnp.zeros((*image_size, 3), corners.x.dtype), zeros, zeros)
    edge = _edge_terms(corners, half_edge, image_size)
    at_start, at_end = edge.weight_a / edge.total, edge.weight_b / edge.total
    corner = half_edge % 3
    barycentric = jnp.stack(
        [
            jnp.where(edge.valid & (corner == k), at_start, 0)
            + jnp.where(edge.valid & ((corner + 1) % 3 == k), at_end, 0)
            for k in range(3)
        ],
        axis=-1,
    )
    depth = jnp.where(edge.valid, 1 / edge.total, 0)
    alpha = jnp.where(edge.valid, jnp.clip(1 - edge.distance / margin, 0, 1), 0)
    return _Layer(barycentric, depth, alpha)


def _margin_bwd(corners: Corners, half_edge, image_size, margin, g_barycentric, g_depth, g_alpha):
    """Cotangents (x, y, z) of the edge's two ends at each pixel; see `_rasterize_bwd`."""
    edge = _edge_terms(corners, half_edge, image_size)
    valid, t = edge.valid, edge.along
    mask = lambda g: jnp.where(valid, g, 0)  # noqa: E731
    g_alpha, g_depth = mask(g_alpha), mask(g_depth)
    corner = half_edge % 3
    pick = lambda k: sum(jnp.where(k == i, g_barycentric[..., i], 0) for i in range(3))  # noqa: E731
    g_a, g_b = mask(pick(corner)), mask(pick((corner + 1) % 3))
    mean = (g_a * edge.weight_a + g_b * edge.weight_b) / edge.total
    shared = mean + g_depth / edge.total
    g_weight_a, g_weight_b = (g_a - shared) / edge.total, (g_b - shared) / edge.total
    g_az = -g_weight_a * (1 - t) * edge.inverse_a**2
    g_bz = -g_weight_b * t * edge.inverse_b**2
    g_t = jnp.where(edge.free, g_weight_b * edge.inverse_b - g_weight_a * edge.inverse_a, 0)
    # p - q = -(a + t e) in pixel-relative coordinates; alpha falls by |p - q| / margin.
    away = jnp.where(edge.distance > 0, -1 / (margin * _safe(edge.distance, valid)), 0)
    pull_x = g_alpha * away * (edge.ax + t * edge.ex)
    pull_y = g_alpha * away * (edge.ay + t * edge.ey)
    # t = -(a . e) / |e|^2 with e = b - a.
    by_a = [(c - e + 2 * t * e) / edge.square for c, e in ((edge.ax, edge.ex), (edge.ay, edge.ey))]
    by_b = [(-c - 2 * t * e) / edge.square for c, e in ((edge.ax, edge.ex), (edge.ay, edge.ey))]
    g_start = ((1 - t) * pull_x + g_t * by_a[0], (1 - t) * pull_y + g_t * by_a[1], g_az)
    g_end = (t * pull_x + g_t * by_b[0], t * pull_y + g_t * by_b[1], g_bz)
    return [g_start, g_end]


def _scatter(total, faces, found, corners, cotangents):
    """Adds per-pixel cotangents (x, y, z) of a layer's corners to the points they belong to."""
    # Empty pixels point past the end and are dropped: no contention on vertex 0.
    missing = total.shape[0]
    if corners == "edge":
        start = jnp.maximum(found, 0)
        flat = faces.reshape(-1)
        vertices = [flat[start], flat[start // 3 * 3 + (start % 3 + 1) % 3]]
    else:
        vertices = [faces[:, k][jnp.maximum(found, 0)] for k in corners]
    vertices = [jnp.where(found >= 0, vertex, missing) for vertex in vertices]
    columns = [total[:, i] for i in range(3)]
    for vertex, values in zip(vertices, cotangents, strict=True):
        columns = [
            column.at[vertex.reshape(-1)].add(value.reshape(-1), mode="drop")
            for column, value in zip(columns, values, strict=True)
        ]
    return jnp.stack(columns, axis=-1)
