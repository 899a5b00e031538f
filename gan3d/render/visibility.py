"""Which face, and which silhouette edge, does each pixel see? Integers only, no gradients.

Faces are searched first, nearest first; then the silhouette edges that lie before them. A vertex
behind the near plane needs no clipping: with screen coordinates x = X / Z also for Z < 0, the edge
functions times the signs of the two depths are the homogeneous ones (Olano & Greer 1997, "Triangle
scan conversion using 2D homogeneous coordinates"), negative outside the visible part of the face.

Shape letters: V vertices, F faces, B scenes, K surfaces, M margins.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan3d.render.batching import scene_by_scene
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
    from jaxtyping import Array, Bool, Float, Int

MIN_DOUBLE_AREA = 1e-10  # faces smaller than this on the screen are degenerate, pixels^2.


class Settings(NamedTuple):
    """What is static about a rasterization; see `rasterize`."""

    image_size: tuple[int, int]
    margin: float = 1.0
    num_margins: int = 1
    num_surfaces: int = 1
    orthographic: bool = False
    cull: bool = True
    near: float = 1e-3
    far: float = np.inf


class Connectivity(NamedTuple):
    """The parts of a topology that visibility needs."""

    faces: Int[Array, "F 3"]
    neighbors: Int[Array, "F 3"]
    component: Int[Array, "F"]


class Corners(NamedTuple):
    """Screen coordinates of the faces' corners: x, y in pixels, camera depth z."""

    x: Float[Array, "F 3"]
    y: Float[Array, "F 3"]
    z: Float[Array, "F 3"]


class Visible(NamedTuple):
    """What each pixel sees, nearest first: faces and half-edges 3 * face + k, -1 for none.

    The margins of surface k lie between surface k - 1 and surface k.
    """

    face: Int[Array, "K H W"]
    half_edge: Int[Array, "K M H W"]


def gather_corners(points: Float[Array, "V 3"], faces: Int[Array, "F 3"]) -> Corners:
    """Structure-of-arrays corner coordinates."""
    return Corners(*(points[:, i][faces] for i in range(3)))


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
    search = _flat(_search_edges, settings)
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


def which_way(corners: Corners, settings: Settings) -> Int[Array, "F"]:
    """1 for a drawn face that shows its front, -1 for one that shows its back, 0 for not drawn."""
    x, y, z = corners
    double_area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (y[:, 1] - y[:, 0]) * (
        x[:, 2] - x[:, 0]
    )
    if not settings.orthographic:
        # Seen through the eye, a corner behind it turns the face's orientation on the screen.
        double_area = double_area * jnp.sign(z).prod(-1)
    in_range = (z.max(-1) > settings.near) & (z.min(-1) < settings.far)
    front = in_range & (double_area < -MIN_DOUBLE_AREA)
    back = in_range & (double_area > MIN_DOUBLE_AREA) & (not settings.cull)
    return front.astype(jnp.int32) - back.astype(jnp.int32)


def clip_to_near(
    a: tuple[Array, Array, Array], b: tuple[Array, Array, Array], near: float
) -> tuple[Array, Array, Array]:
    """The point in front of the near plane at which the edge from a towards b ends.

    b itself if it lies in front; all in screen coordinates (x, y, z) of a perspective view.
    """
    behind = (b[2] <= near) & (a[2] > near)
    fraction = jnp.where(behind, (a[2] - near) / jnp.where(behind, a[2] - b[2], 1), 0)
    # x Z and y Z are affine along the edge in space.
    cut = lambda p, q: (p * a[2] + fraction * (q * b[2] - p * a[2])) / near  # noqa: E731
    return (
        jnp.where(behind, cut(a[0], b[0]), b[0]),
        jnp.where(behind, cut(a[1], b[1]), b[1]),
        jnp.where(behind, near, b[2]),
    )


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


def _turned(z_a, z_b, settings: Settings):
    """-1 where exactly one end lies behind the eye: there the screen shows the edge reversed."""
    return (
        1 if settings.orthographic else jnp.where((z_a < 0) != (z_b < 0), -1, 1).astype(z_a.dtype)
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
        sign = outward * _turned(cz[i], cz[j], settings)
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


class _Edges(NamedTuple):
    """Half-edges of the compacted faces, flat: ends, clipped end points, and where they belong."""

    half_edge: Int[Array, "N"]  # 3 face + k in its scene
    scene: Int[Array, "N"]
    component: Int[Array, "N"]
    outward: Float[Array, "N"]
    a: tuple[Array, Array, Array]
    b: tuple[Array, Array, Array]
    start: tuple[Array, Array, Array]
    end: tuple[Array, Array, Array]
    wanted: Bool[Array, "N"]


def _search_edges(x, y, z, facing, silhouette, component, face, depth, *, settings: Settings):
    """Closest silhouette half-edges [B, K, M, H, W] between the surfaces; -1 for none."""
    batch, num_faces = facing.shape
    height, width = settings.image_size
    with jax.enable_x64(True):
        has_silhouette = silhouette.any(-1).reshape(-1)
        rank = jnp.cumsum(has_silhouette, dtype=jnp.int32) - 1
        num_found = rank[-1] + 1
        # A smooth closed mesh has about sqrt(F) silhouette faces a side; more take more windows.
        window = batch * min(num_faces, 64 + int(6 * num_faces**0.5))

        def gather(first):
            local = jnp.where(has_silhouette & (rank >= first), rank - first, window)
            ids = jnp.arange(batch * num_faces, dtype=jnp.int32)
            face = jnp.full(window, -1, jnp.int32).at[local].set(ids, mode="drop")
            return _gather_edges(x, y, z, facing, silhouette, component, face, settings)

        def fold(keys, visit):
            def body(carry):
                first, keys = carry
                edges = gather(first)
                stream = tile_stream(_edge_boxes(edges, settings), settings.image_size)
                chunk = chunk_size(batch * 3 * (height + width))
                keys = walk(stream, chunk, partial(visit, edges), keys)
                return first + jnp.int32(window), keys

            more = lambda carry: carry[0] < num_found  # noqa: E731
            return lax.while_loop(more, body, (jnp.int32(0), keys))[1]

        layers, behind = [], jnp.full(batch * height * width, -jnp.inf, jnp.float32)
        for k in range(settings.num_surfaces):
            surface, shown, taken = depth[:, k].reshape(-1), face[:, k].reshape(-1), None
            for _ in range(settings.num_margins):
                visit = partial(_visit_edges, shown, surface, behind, taken, settings)
                found, _ = unpack(fold(no_keys(batch * height * width), visit))
                layers.append(found.reshape(batch, height, width))
                scene = jnp.arange(batch * height * width, dtype=jnp.int32) // (height * width)
                owner = scene * num_faces + jnp.maximum(found, 0) // 3
                taken = jnp.where(found >= 0, component.reshape(-1)[owner], -1)
            behind = surface
        shape = (batch, settings.num_surfaces, settings.num_margins, height, width)
        return (jnp.stack(layers, axis=1).reshape(shape),)


def _gather_edges(x, y, z, facing, silhouette, component, face, settings: Settings) -> _Edges:
    """The half-edges of some faces (-1 for none) of all scenes."""
    num_faces = facing.shape[1]
    flat = lambda a: a.reshape(-1)[jnp.maximum(face, 0)]  # noqa: E731
    columns = lambda a: [a[..., k].reshape(-1)[jnp.maximum(face, 0)] for k in range(3)]  # noqa: E731
    joined = lambda parts: jnp.concatenate(parts)  # noqa: E731
    ends = [columns(a) for a in (x, y, z)]
    a = tuple(joined(c) for c in ends)
    b = tuple(joined([c[1], c[2], c[0]]) for c in ends)
    wanted = joined(columns(silhouette)) & jnp.tile(face >= 0, 3)
    start, end = a, b
    if not settings.orthographic:
        start, end = clip_to_near(b, a, settings.near), clip_to_near(a, b, settings.near)
        wanted = wanted & (start[2] >= settings.near) & (end[2] >= settings.near)
    scene = face // num_faces
    local = face - scene * num_faces
    return _Edges(
        half_edge=joined([3 * local + k for k in range(3)]),
        scene=jnp.tile(scene, 3),
        component=jnp.tile(flat(component), 3),
        outward=jnp.tile(-flat(facing).astype(x.dtype), 3),
        a=a, b=b, start=start, end=end, wanted=wanted,
    )  # fmt: skip


def _edge_boxes(edges: _Edges, settings: Settings) -> Boxes:
    (ax, ay, _), (bx, by, _) = edges.start, edges.end
    margin = ax.dtype.type(settings.margin)
    return Boxes(
        jnp.minimum(ax, bx) - margin, jnp.maximum(ax, bx) + margin,
        jnp.minimum(ay, by) - margin, jnp.maximum(ay, by) + margin, edges.wanted,
    )  # fmt: skip


def _visit_edges(shown, surface, behind, taken, settings: Settings, edges: _Edges, keys, slots):
    """Keeps the closest edge of each pixel that shows there."""
    height, width = settings.image_size
    pick = lambda tree: jax.tree.map(lambda a: a[slots.owner], tree)  # noqa: E731
    a, b, start, end = (pick(p) for p in (edges.a, edges.b, edges.start, edges.end))
    half_edge, scene, component, outward = (pick(edges[k]) for k in range(4))
    sign = outward * _turned(a[2], b[2], settings)
    dtype = start[0].dtype
    ex, ey = end[0] - start[0], end[1] - start[1]
    square = ex * ex + ey * ey
    square = jnp.where(square > 0, square, dtype.type(1))
    for down in range(TILE):
        for right in range(TILE):
            row, column = slots.row + down, slots.column + right
            p = (column.astype(dtype) + dtype.type(0.5), row.astype(dtype) + dtype.type(0.5))
            px, py = p[0] - start[0], p[1] - start[1]
            along = jnp.clip((px * ex + py * ey) / square, 0, 1)
            dx, dy = px - along * ex, py - along * ey
            distance2 = dx * dx + dy * dy
            # Outside, or as good as on the edge while the face was not found here: compilers may
            # round the same product differently elsewhere, and no pixel must fall between layers.
            value = edge_function(a, b, p)
            size = jnp.abs((b[0] - a[0]) * (p[1] - a[1])) + jnp.abs((b[1] - a[1]) * (p[0] - a[0]))
            outside = value * sign <= 4 * jnp.finfo(dtype).eps * size
            if settings.orthographic:
                depth = (1 - along) * start[2] + along * end[2]
            else:
                depth = 1 / ((1 - along) / start[2] + along / end[2])
            pixel = (scene * height + row) * width + column
            inner = jnp.clip(pixel, 0, keys.shape[0] - 1)
            depth = depth.astype(jnp.float32)
            shows = (depth < surface[inner]) & (depth > behind[inner])
            shows = shows & (shown[inner] != half_edge // 3)
            shows = shows & (depth > settings.near * (1 - 1e-6)) & (depth < settings.far)
            if taken is not None:
                shows = shows & (component != taken[inner])
            shows = shows & outside & slots.live & (distance2 < dtype.type(settings.margin) ** 2)
            shows = shows & (row < height) & (column < width)
            pixel = jnp.where(shows, pixel, keys.shape[0])
            keys = keys.at[pixel].min(pack(distance2, half_edge), mode="drop")
    return keys
