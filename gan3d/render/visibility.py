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

from gan3d.render.batching import scene_by_scene
from gan3d.render.screen import (
    Connectivity,
    Settings,
    clip_to_near,
    gather_corners,
    turned,
    which_way,
)
from gan3d.render.silhouettes import search_edges
from gan3d.render.tiles import (
    TILE,
    Boxes,
    chunk_size,
    edge_function,
    no_keys,
    pack,
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
    facing = which_way(corners, settings)
    face, depth = _flat(_search_faces, settings)(*corners, facing)
    if settings.margin == 0:
        return Visible(face, no_edges)
    across = jnp.where(neighbors >= 0, facing[neighbors], 0)
    silhouette = (facing[:, None] != 0) & (across != facing[:, None])
    search = _flat(search_edges, settings)
    return Visible(face, *search(*corners, facing, silhouette, component, face, depth))


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


def _bounds(x, y, z, wanted, settings: Settings) -> Boxes:
    """Boxes of the faces' parts in front of the near plane."""
    low = lambda values: jnp.stack(values).min(0)  # noqa: E731
    high = lambda values: jnp.stack(values).max(0)  # noqa: E731
    if settings.orthographic:
        return Boxes(low(x), high(x), low(y), high(y), wanted)
    corners = list(zip(x, y, z, strict=True))
    pairs = ((0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2))
    # Every corner, as the end of two edges; one that stays behind the plane is no bound.
    ends = [clip_to_near(corners[i], corners[j], settings.near) for i, j in pairs]
    valid = [end[2] >= settings.near for end in ends]
    pick = lambda k, other: [jnp.where(v, e[k], other) for v, e in zip(valid, ends, strict=True)]  # noqa: E731
    inf = jnp.inf
    return Boxes(
        low(pick(0, inf)), high(pick(0, -inf)), low(pick(1, inf)), high(pick(1, -inf)), wanted
    )


def _owns(a, b, sign):
    """Top-left rule: of the two faces at an edge, exactly one owns the pixel centres on it."""
    dx, dy = (b[0] - a[0]) * sign, (b[1] - a[1]) * sign
    return (dy > 0) | ((dy == 0) & (dx < 0))


def _search_faces(x, y, z, facing, *, settings: Settings):
    """The K nearest drawn faces [B, K, H, W] and their float32 depths; x, y, z [B, F, 3]."""
    batch, num_faces = facing.shape
    height, width = settings.image_size
    flat = [[a[..., k].reshape(-1) for k in range(3)] for a in (x, y, z)]
    facing = facing.reshape(-1)
    with jax.enable_x64(True):
        stream = tile_stream(_bounds(*flat, facing != 0, settings), settings.image_size)

        def visit(previous, keys, slots):
            scene = slots.owner // num_faces
            index = slots.owner - scene * num_faces
            cx, cy, cz = ([a[slots.owner] for a in corners] for corners in flat)
            inverse = [1 / z for z in cz]
            outward = -1 if settings.cull else -facing[slots.owner].astype(x.dtype)
            for down in range(TILE):
                for right in range(TILE):
                    row, column = slots.row + down, slots.column + right
                    inside, depth = _covers(cx, cy, cz, inverse, outward, row, column, settings)
                    pixel = (scene * height + row) * width + column
                    key = pack(depth, index)
                    show = slots.live & inside & (row < height) & (column < width)
                    if previous is not None:
                        show = show & (key > previous[jnp.minimum(pixel, keys.shape[0] - 1)])
                    pixel = jnp.where(show, pixel, keys.shape[0])
                    keys = keys.at[pixel].min(key, mode="drop")
            return keys

        chunk = chunk_size(batch * max(5120, num_faces // 4))
        found, previous = [], None
        for _ in range(settings.num_surfaces):
            # After the last surface of a pixel comes none: nothing is greater than the empty key.
            previous = walk(
                stream, chunk, partial(visit, previous), no_keys(batch * height * width)
            )
            found.append([a.reshape(batch, height, width) for a in unpack(previous)])
        return tuple(jnp.stack(layers, axis=1) for layers in zip(*found, strict=True))


def _covers(cx, cy, cz, inverse, outward, row, column, settings: Settings):
    """Whether faces contain pixel centres, and their depths there (1 where they do not)."""
    dtype = cx[0].dtype
    p = (column.astype(dtype) + dtype.type(0.5), row.astype(dtype) + dtype.type(0.5))
    corners = list(zip(cx, cy, strict=True))
    area, inside = [], True
    # The edge function of the edge opposite a corner is the corner's weight.
    for i, j in ((1, 2), (2, 0), (0, 1)):
        value = edge_function(corners[i], corners[j], p)
        sign = outward * turned(cz[i], cz[j], settings)
        inside = inside & (
            (value * sign > 0) | ((value == 0) & _owns(corners[i], corners[j], -sign))
        )
        area.append(value)
    if settings.orthographic:
        over, under = sum(a * z for a, z in zip(area, cz, strict=True)), sum(area)
    else:
        over, under = sum(area), sum(a * i for a, i in zip(area, inverse, strict=True))
    inside = inside & (under != 0)
    depth = over / jnp.where(inside, under, dtype.type(1))
    inside = inside & (depth > settings.near) & (depth < settings.far)
    return inside, jnp.where(inside, depth, dtype.type(1))
