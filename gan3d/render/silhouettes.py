"""Which silhouette edge does each pixel see in its margin? Integers only, no gradients.

Silhouette edges are few; they are gathered first, window by window, and their boxes, a margin
wider, become a stream of tiles.

Shape letters: B scenes, V vertices, F faces, K surfaces, M margins, N half-edges of a window.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gan3d.render.indexing import DROP, places, take, take_all, window_of
from gan3d.render.manual_axes import alike
from gan3d.render.screen import (
    Settings,
    clip_to_near,
    face_and_corner,
    next_corner,
    turned,
)
from gan3d.render.tiles import (
    Boxes,
    chunk_size,
    edge_function,
    no_keys,
    pack,
    tile_pixels,
    tile_stream,
    unpack,
    walk,
)

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int


class _Edges(NamedTuple):
    """Some half-edges, flat: ends, the same clipped and ordered, and whose they are."""

    half_edge: Int[Array, "N"]  # 3 face + k in its scene
    scene: Int[Array, "N"] | int  # 0 where there is one
    component: Int[Array, "N"] | int  # 0 where nobody asks
    outward: Float[Array, "N"]
    a: tuple[Array, Array, Array]
    b: tuple[Array, Array, Array]
    start: tuple[Array, Array, Array]
    end: tuple[Array, Array, Array]
    wanted: Bool[Array, "N"]


def search_edges(*arrays, settings: Settings):
    """Closest silhouette half-edges [B, K, M, H, W] between the surfaces; -1 for none.

    Args:
      arrays: x, y and z of the vertices, each [B, V]; the faces [B, F, 3]; which way they face,
        whether their edges are silhouettes, three columns, and their components, each [B, F]; then
        the faces that the pixels see and their depths.
      settings: static.
    """
    *mesh, face, depth = arrays
    batch, num_faces = mesh[3].shape[:2]
    height, width = settings.image_size
    with jax.enable_x64(True):
        mesh = _flat_mesh(*mesh)
        place, total = places(mesh.silhouette)
        # A smooth closed mesh has some 3 sqrt(F); more take more windows. In rows of `running`.
        window = 16 * -(-batch * min(3 * num_faces, 64 + int(6 * num_faces**0.5)) // 16)

        def gather(first):
            found = window_of(mesh.silhouette, place, first, window)
            return _gather_edges(mesh, found, batch, settings)

        def fold(keys, visit):
            def body(carry):
                first, keys = carry
                edges = gather(first)
                stream = tile_stream(_edge_boxes(edges, settings), settings.image_size)
                chunk = chunk_size(batch * 3 * (height + width))
                keys = walk(stream, chunk, partial(visit, edges), keys)
                return first + jnp.int32(window), keys

            more = lambda carry: carry[0] < total  # noqa: E731
            return lax.while_loop(more, body, alike((jnp.int32(0), keys), mesh))[1]

        layers, behind = [], jnp.full(batch * height * width, -jnp.inf, jnp.float32)
        for k in range(settings.num_surfaces):
            surface, taken = depth[:, k].reshape(-1), None
            shown = [face[:, i].reshape(-1) for i in range(k + 1)]
            for _ in range(settings.num_margins):
                visit = partial(_visit_edges, shown, surface, behind, taken, settings)
                found, _ = unpack(fold(no_keys(batch * height * width), visit))
                layers.append(found.reshape(batch, height, width))
                scene = jnp.arange(batch * height * width, dtype=jnp.int32) // (height * width)
                owner = scene * num_faces + face_and_corner(found)[0]
                taken = jnp.where(found >= 0, take(mesh.component, owner), -1)
            behind = surface
        shape = (batch, settings.num_surfaces, settings.num_margins, height, width)
        return (jnp.stack(layers, axis=1).reshape(shape),)


class _Mesh(NamedTuple):
    """All scenes after one another; half-edges corner by corner, then face by face."""

    points: tuple[Array, Array, Array]  # x, y, z [B V]
    faces: Int[Array, "3BF"]
    facing: Int[Array, "BF"]
    component: Int[Array, "BF"]
    silhouette: Bool[Array, "3BF"]


def _flat_mesh(x, y, z, faces, facing, s0, s1, s2, component):
    offsets = jnp.arange(x.shape[0], dtype=jnp.int32) * jnp.int32(x.shape[1])
    faces = faces + offsets[:, None, None] if x.shape[0] > 1 else faces
    return _Mesh(
        points=tuple(a.reshape(-1) for a in (x, y, z)),
        faces=faces.reshape(-1),
        facing=facing.reshape(-1),
        component=component.reshape(-1),
        silhouette=jnp.concatenate([a.reshape(-1) for a in (s0, s1, s2)]),
    )


def _gather_edges(mesh: _Mesh, found, batch, settings: Settings):
    """Some half-edges of all scenes; past the last one none."""
    (num_faces,) = mesh.facing.shape
    exists = found < 3 * num_faces
    found = jnp.where(exists, found, 0)
    corner = lax.div(found, jnp.int32(num_faces))
    face = found - corner * num_faces
    vertices = [take(mesh.faces, 3 * face + k) for k in (corner, next_corner(corner))]
    a, b = (take_all(mesh.points, vertex) for vertex in vertices)
    wanted, start, end = exists, a, b
    if not settings.orthographic:
        start, end = clip_to_near(b, a, settings.near), clip_to_near(a, b, settings.near)
        wanted = wanted & (start[2] >= settings.near) & (end[2] >= settings.near)
    # Both faces at an edge measure from the same end: equally far, the first half-edge counts.
    swap = (end[0] < start[0]) | ((end[0] == start[0]) & (end[1] < start[1]))
    ends = list(zip(start, end, strict=True))
    start = tuple(jnp.where(swap, second, first) for first, second in ends)
    end = tuple(jnp.where(swap, first, second) for first, second in ends)
    scene = face // (num_faces // batch) if batch > 1 else 0
    return _Edges(
        half_edge=3 * (face - scene * (num_faces // batch)) + corner,
        scene=scene,
        component=take(mesh.component, face) if settings.num_margins > 1 else 0,
        outward=-take(mesh.facing, face).astype(a[0].dtype),
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
    # A row per pixel of a tile.
    row_of = lambda a: a if isinstance(a, int) else a[None]  # noqa: E731
    of_slot = jax.tree.map(row_of, take_all(edges[:-1], slots.owner))
    half_edge, scene, component, outward, a, b, start, end = of_slot
    sign = outward * turned(a[2], b[2], settings)
    dtype = start[0].dtype
    ex, ey = end[0] - start[0], end[1] - start[1]
    square = ex * ex + ey * ey
    square = jnp.where(square > 0, square, dtype.type(1))
    row, column = tile_pixels(slots)
    p = (column.astype(dtype) + dtype.type(0.5), row.astype(dtype) + dtype.type(0.5))
    px, py = p[0] - start[0], p[1] - start[1]
    along = jnp.clip((px * ex + py * ey) / square, 0, 1)
    # At an end, exactly as far as by the next edge from there: the first half-edge counts.
    dx = jnp.where(along < 1, px - along * ex, p[0] - end[0])
    dy = jnp.where(along < 1, py - along * ey, p[1] - end[1])
    distance2 = dx * dx + dy * dy
    # Outside, or as good as on the edge while the face was not found here: compilers may round
    # the same product differently elsewhere, and no pixel must fall between layers.
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
    shows = (depth < take(surface, inner)) & (depth > take(behind, inner))
    for face in shown:
        shows = shows & (take(face, inner) != face_and_corner(half_edge)[0])
    shows = shows & (depth > settings.near * (1 - 1e-6)) & (depth < settings.far)
    if taken is not None:
        shows = shows & (component != take(taken, inner))
    shows = shows & outside & slots.live[None] & (distance2 < dtype.type(settings.margin) ** 2)
    shows = shows & (row < height) & (column < width)
    pixel = jnp.where(shows, pixel, keys.shape[0])
    key = pack(distance2, half_edge)
    return keys.at[pixel.reshape(-1)].min(key.reshape(-1), **DROP)
