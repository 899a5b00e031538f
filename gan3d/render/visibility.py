"""Which face, and which silhouette edge, does each pixel see? Integers only, no gradients.

Faces are searched first, nearest first; then the silhouette edges that lie before them.

Shape letters: V vertices, F faces, B scenes, K surfaces, M margins.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gan3d.render.batching import materialized, scene_by_scene, traced_once
from gan3d.render.indexing import DROP, take, take_all
from gan3d.render.screen import (
    Connectivity,
    Settings,
    clip_to_near,
    gather_corners,
    next_corner,
    turned,
    which_way,
)
from gan3d.render.silhouettes import search_edges
from gan3d.render.tiles import (
    NO_BITS,
    Boxes,
    chunk_size,
    join,
    no_keys,
    order_bits,
    tile_pixels,
    tile_stream,
    unpack,
    walk,
)

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


class Visible(NamedTuple):
    """What each pixel sees, nearest first: faces and half-edges 3 * face + k, -1 for none.

    The margins of surface k lie between surface k - 1 and surface k.
    """

    face: Int[Array, "K H W"]
    half_edge: Int[Array, "K M H W"]


def find_visible(
    points: Float[Array, "V 3"], connectivity: Connectivity, settings: Settings
) -> Visible:
    """Nearest faces of each pixel, and the closest silhouette edges within the margin.

    Of M = 2 margins the second is the closest edge of another component than the first's.
    """
    height, width = settings.image_size
    shape = (settings.num_surfaces, settings.num_margins, height, width)
    no_edges = jnp.full(shape, -1, jnp.int32)
    faces, neighbors, component = connectivity
    if faces.shape[0] == 0:
        return Visible(no_edges[:, 0], no_edges)
    corners = gather_corners(lax.stop_gradient(points), faces)
    # Stored: the gathers from it would compute it again.
    facing = materialized(which_way(corners, settings))
    columns = [*corners.x, *corners.y, *corners.z]
    face, depth = _flat(_search_faces, settings)(*columns, facing)
    if settings.margin == 0:
        return Visible(face, no_edges)
    silhouettes = []
    for k in range(3):
        across = take(facing, jnp.maximum(neighbors[:, k], 0))
        across = jnp.where(neighbors[:, k] >= 0, across, 0)
        silhouettes.append((facing != 0) & (across != facing))
    search = _flat(search_edges, settings)
    points = lax.stop_gradient(points)
    vertices = [points[:, i] for i in range(3)]
    return Visible(face, *search(*vertices, faces, facing, *silhouettes, component, face, depth))


@traced_once
def _flat(search, settings: Settings):
    """A search over scenes [B, ...] as a function of one; all scenes of a batch are one stream.

    (A batched while-loop would run every scene until the last is done.)
    """
    search = partial(search, settings=settings)

    def one(*arrays):
        return tuple(a[0] for a in search(*(a[None] for a in arrays)))

    def many(*arrays):
        size = max(a.shape[0] for a in arrays)
        return search(*(jnp.broadcast_to(a, (size, *a.shape[1:])) for a in arrays))

    return scene_by_scene(one, many)


class _Triangles(NamedTuple):
    """Faces with their corners p, q, r in lexicographic order, so that every edge starts at the
    smaller end.

    The two faces at an edge then see the same number on it, and a pixel centre beside it belongs to
    exactly one of them.
    """

    x: list[Float[Array, "F"]]  # of p, q, r
    y: list[Float[Array, "F"]]
    depth: list[Float[Array, "F"]]  # z of p, q, r in an orthographic view, else 1 / z
    left: Int[Array, "F"]  # bits: whether the face lies to the left of its edges, see `_EDGES`


_EDGES = ((0, 1), (0, 2), (1, 2))  # pq, pr and qr; opposite r, q and p


def _triangles(x, y, z, outward, settings: Settings) -> _Triangles:
    after = lambda i, j: (x[j] < x[i]) | ((x[j] == x[i]) & (y[j] < y[i]))  # noqa: E731
    after_01, after_02, after_12 = after(0, 1), after(0, 2), after(1, 2)
    zero, one, two = (jnp.int32(k) for k in range(3))
    first = jnp.where(after_01, jnp.where(after_12, two, one), jnp.where(after_02, two, zero))
    last = jnp.where(after_12, jnp.where(after_01, zero, one), jnp.where(after_02, zero, two))
    # Stored, or every column's loop would compare the corners anew.
    first, last = materialized((first, last))
    middle = 3 - first - last
    pick = lambda values, k: jnp.where(k == 0, values[0], jnp.where(k == 1, values[1], values[2]))  # noqa: E731
    ordered = lambda values: [pick(values, k) for k in (first, middle, last)]  # noqa: E731
    x, y, z = ordered(x), ordered(y), ordered(z)
    # Corners go round from p to q if q follows p in the face.
    side = (outward > 0) ^ (middle != next_corner(first))
    left = 0
    for k, (i, j) in enumerate(_EDGES):
        # Going round from p, the edge between p and r is walked from r.
        turn = turned(z[i], z[j], settings)
        left = left | ((side ^ (k == 1) ^ (turn < 0)).astype(jnp.int32) << k)
    return _Triangles(x, y, z if settings.orthographic else [1 / corner for corner in z], left)


def _bounds(x, y, z, wanted, settings: Settings) -> Boxes:
    """Boxes of the faces' parts in front of the near plane."""
    low = lambda values: jnp.minimum(jnp.minimum(values[0], values[1]), values[2])  # noqa: E731
    high = lambda values: jnp.maximum(jnp.maximum(values[0], values[1]), values[2])  # noqa: E731
    whole = lambda: (low(x), high(x), low(y), high(y))  # noqa: E731
    if settings.orthographic:
        return Boxes(*whole(), wanted)

    def clipped():
        corners = list(zip(x, y, z, strict=True))
        # Every corner, as the end of two edges; one that stays behind the plane is no bound.
        ends = [
            [clip_to_near(corners[i], corners[j], settings.near) for i in range(3) if i != j]
            for j in range(3)
        ]
        pick = lambda k, other, best: [  # noqa: E731
            best(*(jnp.where(end[2] >= settings.near, end[k], other) for end in pair))
            for pair in ends
        ]
        lows = [low(pick(k, jnp.inf, jnp.minimum)) for k in range(2)]
        highs = [high(pick(k, -jnp.inf, jnp.maximum)) for k in range(2)]
        return lows[0], highs[0], lows[1], highs[1]

    # The greatest byte: XLA on CPU takes "any" of many in windows, which are long to compile.
    crossed = (wanted & (low(z) < settings.near)).astype(jnp.int8).max() > 0
    return Boxes(*lax.cond(crossed, clipped, whole), wanted)


def _search_faces(*arrays, settings: Settings):
    """The K nearest drawn faces [B, K, H, W] and their float32 depths.

    Of the columns of x, y and z of the corners and of `which_way`, each [B, F].
    """
    *columns, facing = arrays
    batch, num_faces = facing.shape
    height, width = settings.image_size
    columns = [column.reshape(-1) for column in columns]
    corners = columns[:3], columns[3:6], columns[6:]
    facing = facing.reshape(-1)
    with jax.enable_x64(True):
        triangles = _triangles(*corners, -facing, settings)
        stream = tile_stream(_bounds(*corners, facing != 0, settings), settings.image_size)

        def visit(nearer, keys, slots):
            # Integers divide slowly: not where one scene is searched.
            scene = slots.owner // num_faces if batch > 1 else jnp.zeros_like(slots.owner)
            index = (slots.owner - scene * num_faces)[None]
            # A row per pixel of a tile.
            of_slot = jax.tree.map(lambda a: a[None], take_all(triangles, slots.owner))
            row, column = tile_pixels(slots)
            pixel = (scene[None] * height + row) * width + column
            pixel = jnp.where((row < height) & (column < width), pixel, keys.shape[0])
            inside, depth = _covers(of_slot, row, column, settings)
            bits = order_bits(depth, settings.near)
            inner = jnp.minimum(pixel, keys.shape[0] - 1)
            if nearer:
                inside &= join(bits, index) > take(nearer[-1], inner)
            for shown in nearer:
                # By index, too: here the compiler may round the same depth to a greater number.
                inside &= index != take(shown, inner).astype(jnp.uint32).astype(jnp.int32)
            bits = jnp.where(inside & slots.live[None], bits, NO_BITS)
            # Stored before they are scattered, or each would be computed again, twice. Only then
            # joined with the index: loops over 8 bytes have vectors half as long.
            pixel, bits = materialized((pixel, bits), stream.start)
            key = join(bits, index)
            return keys.at[pixel.reshape(-1)].min(key.reshape(-1), **DROP)

        chunk = chunk_size(batch * _expected_tiles(num_faces, height * width) / 2)
        found, nearer = [], []
        for _ in range(settings.num_surfaces):
            # After the last surface of a pixel comes none: nothing is greater than the empty key.
            keys = walk(
                stream, chunk, partial(visit, tuple(nearer)), no_keys(batch * height * width)
            )
            nearest = unpack(keys, settings.near, settings.far)
            found.append([a.reshape(batch, height, width) for a in nearest])
            nearer.append(keys)
        return tuple(jnp.stack(layers, axis=1) for layers in zip(*found, strict=True))


def _expected_tiles(num_faces: int, num_pixels: int) -> float:
    """Measured on balls of 2,048 to 32,768 faces that cover two thirds of the picture, with some to
    spare: half of them make a chunk, so that two chunks mostly do."""
    return 0.46 * num_pixels + 0.27 * (num_pixels * num_faces) ** 0.5


def _covers(triangles: _Triangles, row, column, settings: Settings):
    """Whether faces contain pixel centres, and their depths there, whatever they are if not."""
    x, y, depth, left = triangles
    dtype = x[0].dtype
    px, py = (a.astype(dtype) + dtype.type(0.5) for a in (column, row))
    inside, areas = True, []
    for k, (i, j) in enumerate(_EDGES):
        # The doubled area of the pixel and the edge opposite a corner is the corner's weight.
        area = (x[j] - x[i]) * (py - y[i]) - (y[j] - y[i]) * (px - x[i])
        # Top-left rule: of the two faces at an edge, one owns the pixel centres on it.
        on_left = (area > 0) | ((area == 0) & (y[j] <= y[i]))
        inside = inside & (on_left == ((left & (1 << k)) > 0))
        areas.append(area)
    total = areas[0] - areas[1] + areas[2]
    weighted = areas[0] * depth[2] - areas[1] * depth[1] + areas[2] * depth[0]
    over, under = (weighted, total) if settings.orthographic else (total, weighted)
    return inside, over / under
