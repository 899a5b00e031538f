"""Which face, and which silhouette edge, does each pixel see? Integers only, no gradients.

The search runs over a stream of small pixel tiles: every drawn face contributes the K x K tiles
of its bounding box, faces that contain no pixel centre contribute none, and a while-loop walks
the stream in chunks of static size. Its cost follows the covered pixels, not pixels x faces. The
stream spans the whole batch: `jax.vmap`, nested too, hands all scenes to one stream.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

TILE = 2  # pixels along a tile's side; 2 was the fastest of 1, 2, 4 and 8 on CPU.
NEAR = 1e-3  # faces with a vertex nearer than this are dropped whole, world units.
MIN_DOUBLE_AREA = 1e-10  # faces smaller than this on the screen are degenerate, pixels^2.
_NONE = np.uint64(0xFFFFFFFFFFFFFFFF)


class Corners(NamedTuple):
    """Screen coordinates of the faces' corners: x, y in pixels, camera depth z."""

    x: Float[Array, "F 3"]
    y: Float[Array, "F 3"]
    z: Float[Array, "F 3"]


class Visible(NamedTuple):
    """What each pixel sees: a face and M half-edge ids 3 * face + k, -1 for none."""

    face: Int[Array, "H W"]
    half_edge: Int[Array, "M H W"]


def gather_corners(points: Float[Array, "V 3"], faces: Int[Array, "F 3"]) -> Corners:
    """Structure-of-arrays corner coordinates."""
    return Corners(*(points[:, i][faces] for i in range(3)))


def drawn_faces(corners: Corners) -> Bool[Array, "F"]:
    """Faces that face the camera, lie in front of it and have an area."""
    x, y, z = corners
    double_area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (y[:, 1] - y[:, 0]) * (
        x[:, 2] - x[:, 0]
    )
    return (double_area < -MIN_DOUBLE_AREA) & (z.min(-1) > NEAR)


def find_visible(
    points: Float[Array, "V 3"],
    faces: Int[Array, "F 3"],
    neighbors: Int[Array, "F 3"],
    component: Int[Array, "F"],
    image_size: tuple[int, int],
    margin_pixels: float,
    num_margins: int,
) -> Visible:
    """Nearest face of each pixel, and the closest silhouette edges within the margin.

    Args:
      points: screen points (x, y in pixels, camera depth z).
      faces: vertex indices.
      neighbors: face across each edge, -1 for none.
      component: connected part of the mesh that each face belongs to.
      image_size: (height, width).
      margin_pixels: width of the margin; 0 finds no edges.
      num_margins: M, 1 or 2; the second edge is the closest of another component than the first's.
    """
    no_edges = jnp.full((num_margins, *image_size), -1, jnp.int32)
    if faces.shape[0] == 0:
        return Visible(no_edges[0], no_edges)
    corners = gather_corners(points, faces)
    drawn = drawn_faces(corners)
    silhouette = drawn[:, None] & ~(drawn[neighbors] & (neighbors >= 0))
    face, depth = _batch_native(_search_faces, image_size)(*corners, drawn)
    if margin_pixels == 0:
        return Visible(face, no_edges)
    search_edges = partial(_search_edges, margin=margin_pixels, num_margins=num_margins)
    found = _batch_native(search_edges, image_size)(*corners, silhouette, component, depth)
    return Visible(face, jnp.stack(found))


def _batch_native(search, image_size):
    """Makes a single-scene function of a search over a leading batch axis, however vmapped."""

    @jax.custom_batching.custom_vmap
    def batched(*arrays):
        return search(*arrays, image_size=image_size)

    @batched.def_vmap
    def _merge_axes(axis_size, in_batched, *arrays):
        spread = [
            a if is_batched else jnp.broadcast_to(a, (axis_size, *a.shape))
            for a, is_batched in zip(arrays, in_batched, strict=True)
        ]
        merged = [a.reshape(-1, *a.shape[2:]) for a in spread]
        outputs = batched(*merged)
        split = lambda a: a.reshape(axis_size, -1, *a.shape[1:])  # noqa: E731
        return jax.tree.map(split, outputs), jax.tree.map(lambda _: True, outputs)

    def single(*arrays):
        return jax.tree.map(lambda a: a[0], batched(*(a[None] for a in arrays)))

    return single


class _Stream(NamedTuple):
    """Tiles of N boxes: first pixel, tiles across, and running count of tiles before each box."""

    column: Int[Array, "N"]
    row: Int[Array, "N"]
    across: Int[Array, "N"]
    count: Int[Array, "N"]
    start: Int[Array, "N"]
    total: Int[Array, ""]


def _tile_stream(x_low, x_high, y_low, y_high, wanted, image_size) -> _Stream:
    """Boxes in pixel coordinates -> the stream of tiles over the pixel centres inside them."""
    height, width = image_size
    # Clip as floats: a far-away coordinate would overflow the integer.
    first = lambda low, size: jnp.ceil(jnp.clip(low - 0.5, 0, size)).astype(jnp.int32)  # noqa: E731
    last = lambda high, size: jnp.floor(jnp.clip(high - 0.5, -1, size - 1)).astype(jnp.int32)  # noqa: E731
    column, row = first(x_low, width), first(y_low, height)
    across = (last(x_high, width) - column + TILE) // TILE
    down = (last(y_high, height) - row + TILE) // TILE
    count = jnp.where(wanted & (across > 0) & (down > 0), across * down, 0)
    end = jnp.cumsum(count, dtype=jnp.int32)
    return _Stream(column, row, jnp.maximum(across, 1), count, end - count, end[-1])


def _walk(stream: _Stream, chunk: int, visit, keys):
    """Folds `visit(keys, owner, row, column, live)` over the chunks of the stream."""
    boxes = jnp.arange(stream.count.shape[0], dtype=jnp.int32)
    place = jnp.where(stream.count > 0, stream.start, -1)

    def body(carry):
        first, last_owner, keys = carry
        # A box claims its first slot; the running maximum spreads it over its other slots.
        local = jnp.where(place >= first, place - first, chunk)
        claimed = jnp.full(chunk, -1, jnp.int32).at[local].set(boxes, mode="drop")
        owner = lax.cummax(claimed.at[0].max(last_owner))
        slot = first + jnp.arange(chunk, dtype=jnp.int32)
        tile = slot - stream.start[owner]
        across = stream.across[owner]
        tile_row = tile // across
        row = stream.row[owner] + TILE * tile_row
        column = stream.column[owner] + TILE * (tile - tile_row * across)
        keys = visit(keys, owner, row, column, slot < stream.total)
        return first + jnp.int32(chunk), owner[-1], keys

    more = lambda carry: carry[0] < stream.total  # noqa: E731
    return lax.while_loop(more, body, (jnp.int32(0), jnp.int32(0), keys))[2]


def _chunk_size(expected_tiles: int) -> int:
    """Slots per chunk: about the live tiles, bounded so that a chunk's arrays stay in memory."""
    return int(np.clip(expected_tiles, 256, 1 << 20))


def _scatter_nearest(keys, order, index, live, scene, row, column, image_size):
    """Keeps, per pixel, the smallest (order, index); packed so that one pass decides both."""
    height, width = image_size
    live = live & (row < height) & (column < width)
    bits = lax.bitcast_convert_type(order.astype(jnp.float32), jnp.uint32)
    key = (bits.astype(jnp.uint64) << np.uint64(32)) | index.astype(jnp.uint64)
    pixel = (scene * height + row) * width + column
    return keys.at[jnp.where(live, pixel, keys.shape[0])].min(key, mode="drop")


def _unpack(keys, shape):
    """(index or -1, order or inf) of packed keys."""
    empty = (keys == _NONE).reshape(shape)
    index = (keys & np.uint64(0xFFFFFFFF)).astype(jnp.uint32).astype(jnp.int32).reshape(shape)
    bits = (keys >> np.uint64(32)).astype(jnp.uint32).reshape(shape)
    order = lax.bitcast_convert_type(bits, jnp.float32)
    return jnp.where(empty, -1, index), jnp.where(empty, jnp.inf, order)


def _edge_function(ax, ay, bx, by, px, py):
    """Cross product (b - a) x (p - a), exactly antisymmetric in a and b.

    Evaluated from the lexicographically smaller end, so that the two faces at an edge see
    opposite numbers and a pixel centre on the edge belongs to at least one of them.
    """
    swap = (bx < ax) | ((bx == ax) & (by < ay))
    ox, oy = jnp.where(swap, bx, ax), jnp.where(swap, by, ay)
    dx, dy = jnp.where(swap, ax - bx, bx - ax), jnp.where(swap, ay - by, by - ay)
    value = dx * (py - oy) - dy * (px - ox)
    return jnp.where(swap, -value, value)


def _search_faces(x, y, z, drawn, *, image_size):
    """Nearest drawn face [B, H, W] and its float32 depth; x, y, z [B, F, 3], drawn [B, F]."""
    batch, num_faces = drawn.shape
    height, width = image_size
    with jax.enable_x64(True):
        bounds = [a.reshape(-1) for a in (x.min(-1), x.max(-1), y.min(-1), y.max(-1))]
        stream = _tile_stream(*bounds, drawn.reshape(-1), image_size)
        xs, ys, zs = ([a[..., k].reshape(-1) for k in range(3)] for a in (x, y, z))

        def visit(keys, owner, row, column, live):
            scene = owner // num_faces
            cx, cy = [a[owner] for a in xs], [a[owner] for a in ys]
            inverse = [1 / a[owner] for a in zs]
            for down in range(TILE):
                for right in range(TILE):
                    px = (column + right).astype(x.dtype) + x.dtype.type(0.5)
                    py = (row + down).astype(x.dtype) + x.dtype.type(0.5)
                    # weight k belongs to corner k: the edge from k + 1 to k + 2, negated (front
                    # faces have negative area).
                    weight = [
                        -_edge_function(cx[i], cy[i], cx[j], cy[j], px, py)
                        for i, j in ((1, 2), (2, 0), (0, 1))
                    ]
                    inside = (weight[0] >= 0) & (weight[1] >= 0) & (weight[2] >= 0)
                    over_depth = sum(w * i for w, i in zip(weight, inverse, strict=True))
                    inside = inside & (over_depth > 0)
                    depth = sum(weight) / jnp.where(inside, over_depth, x.dtype.type(1))
                    keys = _scatter_nearest(
                        keys, depth, owner - scene * num_faces, live & inside,
                        scene, row + down, column + right, image_size,
                    )  # fmt: skip
            return keys

        chunk = _chunk_size(batch * (height * width // 4 + min(num_faces // 2, height * width)))
        keys = jnp.full(batch * height * width, _NONE, jnp.uint64)
        keys = _walk(stream, chunk, visit, keys)
        return _unpack(keys, (batch, height, width))


def _search_edges(x, y, z, silhouette, component, depth, *, margin, num_margins, image_size):
    """Closest silhouette half-edges, M x [B, H, W], that lie before the surface; -1 for none."""
    batch, num_faces = silhouette.shape[:2]
    height, width = image_size
    with jax.enable_x64(True):
        ends = [a.reshape(-1) for c in (x, y, z) for a in (c, jnp.roll(c, -1, axis=-1))]
        ax, bx, ay, by, az, bz = ends
        margin = x.dtype.type(margin)
        bounds = (
            jnp.minimum(ax, bx) - margin, jnp.maximum(ax, bx) + margin,
            jnp.minimum(ay, by) - margin, jnp.maximum(ay, by) + margin,
        )  # fmt: skip
        stream = _tile_stream(*bounds, silhouette.reshape(-1), image_size)
        surface_depth, component = depth.reshape(-1), component.reshape(-1)

        def visit(taken, keys, owner, row, column, live):
            scene = owner // (3 * num_faces)
            start, end = (ax[owner], ay[owner]), (bx[owner], by[owner])
            ex, ey = end[0] - start[0], end[1] - start[1]
            near, far = 1 / az[owner], 1 / bz[owner]
            square = ex * ex + ey * ey
            square = jnp.where(square > 0, square, x.dtype.type(1))
            for down in range(TILE):
                for right in range(TILE):
                    centre_x = (column + right).astype(x.dtype) + x.dtype.type(0.5)
                    centre_y = (row + down).astype(x.dtype) + x.dtype.type(0.5)
                    px, py = centre_x - start[0], centre_y - start[1]
                    along = jnp.clip((px * ex + py * ey) / square, 0, 1)
                    dx, dy = px - along * ex, py - along * ey
                    distance2 = dx * dx + dy * dy
                    # The exact opposite of "inside" above: no pixel falls between the layers.
                    outside = _edge_function(*start, *end, centre_x, centre_y) > 0
                    pixel_row = jnp.minimum(row + down, height - 1)
                    pixel_column = jnp.minimum(column + right, width - 1)
                    pixel = (scene * height + pixel_row) * width + pixel_column
                    edge_depth = 1 / ((1 - along) * near + along * far)
                    shows = edge_depth.astype(jnp.float32) < surface_depth[pixel]
                    if taken is not None:
                        shows = shows & (component[owner // 3] != taken[pixel])
                    keys = _scatter_nearest(
                        keys, distance2, owner - scene * (3 * num_faces),
                        live & outside & shows & (distance2 < margin * margin),
                        scene, row + down, column + right, image_size,
                    )  # fmt: skip
            return keys

        chunk = _chunk_size(batch * 4 * (height + width))
        found, taken = [], None
        for _ in range(num_margins):
            keys = jnp.full(batch * height * width, _NONE, jnp.uint64)
            keys = _walk(stream, chunk, partial(visit, taken), keys)
            half_edge = _unpack(keys, (batch, height, width))[0]
            found.append(half_edge)
            scene = jnp.arange(batch, dtype=jnp.int32)[:, None, None]
            owner = component[scene * num_faces + jnp.maximum(half_edge, 0) // 3]
            taken = jnp.where(half_edge >= 0, owner, -1).reshape(-1)
        return tuple(found)
