"""A stream of small pixel tiles: the engine of the visibility search.

Every box (of a face, or of an edge with its margin) contributes the K x K tiles over the pixel
centres inside it; boxes without any contribute none. A while-loop walks the stream in chunks of
static size, so the cost follows the covered pixels, not pixels x faces. Per pixel the nearest
candidate is kept by one scatter-min of a packed (order, index) key.

Shape letters: N boxes, C slots of a chunk, B scenes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from gan3d.render.batching import materialized
from gan3d.render.indexing import DROP, running, take_all
from gan3d.render.manual_axes import alike

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int, UInt32, UInt64

LOG_TILE = 1
TILE = 1 << LOG_TILE  # pixels along a tile's side; 2 was the fastest of 1, 2, 4 and 8 on CPU.
NO_KEY = np.uint64(0xFFFFFFFFFFFFFFFF)
NO_BITS = np.uint32(0xFFFFFFFF)


class Boxes(NamedTuple):
    """Rectangles in pixel coordinates, and which of them are wanted."""

    x_low: Float[Array, "N"]
    x_high: Float[Array, "N"]
    y_low: Float[Array, "N"]
    y_high: Float[Array, "N"]
    wanted: Bool[Array, "N"]


class Stream(NamedTuple):
    """Tiles of N boxes: first pixel, tiles across, and running count of tiles before each box."""

    column: Int[Array, "N"]
    row: Int[Array, "N"]
    across: Int[Array, "N"]
    count: Int[Array, "N"]
    start: Int[Array, "N"]
    total: Int[Array, ""]


class Slots(NamedTuple):
    """Tiles of one chunk: whose they are, their first pixel, and whether they exist."""

    owner: Int[Array, "C"]
    row: Int[Array, "C"]
    column: Int[Array, "C"]
    live: Bool[Array, "C"]


def tile_stream(boxes: Boxes, image_size: tuple[int, int]) -> Stream:
    """Boxes -> the stream of tiles over the pixel centres inside them."""
    height, width = image_size
    # Clip as floats: a far-away coordinate would overflow the integer.
    first = lambda low, size: jnp.ceil(jnp.clip(low - 0.5, 0, size)).astype(jnp.int32)  # noqa: E731
    last = lambda high, size: jnp.floor(jnp.clip(high - 0.5, -1, size - 1)).astype(jnp.int32)  # noqa: E731
    column, row = first(boxes.x_low, width), first(boxes.y_low, height)
    ends = last(boxes.x_high, width), last(boxes.y_high, height)
    # Stored, or each would be computed again for the tiles' number.
    column, row, ends = materialized((column, row, ends))
    across, down = (
        (end - start + TILE) >> LOG_TILE for start, end in zip((column, row), ends, strict=True)
    )
    count = jnp.where(boxes.wanted & (across > 0) & (down > 0), across * down, 0)
    end = running(jnp.add, count)
    return Stream(column, row, jnp.maximum(across, 1), count, end - count, end[-1])


def walk(stream: Stream, chunk: int, visit: Callable[[Any, Slots], Any], keys: Any) -> Any:
    """Folds `visit(keys, slots)` over the chunks of the stream; with 64-bit types enabled."""
    boxes = jnp.arange(stream.count.shape[0], dtype=jnp.int32)
    place = jnp.where(stream.count > 0, stream.start, -1)

    def body(carry):
        first, last_owner, keys = carry
        # A box claims its first slot; the running maximum spreads it over its other slots.
        local = jnp.where(place >= first, place - first, chunk)
        claimed = jnp.full(chunk, -1, jnp.int32).at[local].set(boxes, **DROP)
        claimed = claimed.at[0].max(last_owner)
        # Stored, or every gather would compute its indices again.
        owner = materialized(running(jnp.maximum, claimed), stream.start)
        slot = first + jnp.arange(chunk, dtype=jnp.int32)
        start, across, first_row, first_column = take_all(
            (stream.start, stream.across, stream.row, stream.column), owner
        )
        tile = slot - start
        tile_row = _quotient(tile, across)
        row = first_row + TILE * tile_row
        column = first_column + TILE * (tile - tile_row * across)
        # Stored, or they would be computed again for every pixel.
        row, column = materialized((row, column), stream.start)
        keys = visit(keys, Slots(owner, row, column, slot < stream.total))
        return first + jnp.int32(chunk), owner[-1], keys

    more = lambda carry: carry[0] < stream.total  # noqa: E731
    start = alike((jnp.int32(0), jnp.int32(0), keys), stream)
    return lax.while_loop(more, body, start)[2]


def _quotient(tile: Int[Array, "C"], across: Int[Array, "C"]) -> Int[Array, "C"]:
    """tile // across by floats, for integers divide slowly; rows are few, so it is one off at
    most."""
    guess = (tile.astype(jnp.float32) / across.astype(jnp.float32)).astype(jnp.int32)
    rest = tile - guess * across
    return guess + (rest >= across).astype(jnp.int32) - (rest < 0).astype(jnp.int32)


def tile_pixels(slots: Slots) -> tuple[Int[Array, "T C"], Int[Array, "T C"]]:
    """Row and column of every pixel of the tiles."""
    place = np.arange(TILE * TILE, dtype=np.int32)[:, None]
    return slots.row[None] + place // TILE, slots.column[None] + place % TILE


def chunk_size(expected_tiles: float) -> int:
    """Slots per chunk: about the live tiles, in whole rows of `running`, bounded so that a chunk's
    arrays stay in memory."""
    return int(np.clip(-(-expected_tiles // 256), 1, 1 << 12)) * 256


def no_keys(num_pixels: int) -> UInt64[Array, "P"]:
    return jnp.full(num_pixels, NO_KEY, jnp.uint64)


def pack(
    order: Float[Array, "C"], index: Int[Array, "C"], above: float = -1.0
) -> UInt64[Array, "C"]:
    """Keys that sort by `order`, compared in float32, then by index.

    What is not greater than `above`, or no number, comes after all others; `unpack` drops it. That
    costs one subtraction, for the bits of floats that are not negative sort like integers.
    """
    return join(order_bits(order, above), index)


def order_bits(order: Float[Array, "C"], above: float = -1.0) -> UInt32[Array, "C"]:
    """The first four bytes of a key."""
    return lax.bitcast_convert_type(order.astype(jnp.float32), jnp.uint32) - _first_bits(above)


def join(bits: UInt32[Array, "C"], index: Int[Array, "C"]) -> UInt64[Array, "C"]:
    """Keys of `order_bits` and indices."""
    return (bits.astype(jnp.uint64) << np.uint64(32)) | index.astype(jnp.uint64)


def unpack(
    keys: UInt64[Array, "P"], above: float = -1.0, below: float = np.inf
) -> tuple[Int[Array, "P"], Float[Array, "P"]]:
    """(index, order) where above < order < below, else (-1, inf)."""
    index = (keys & np.uint64(0xFFFFFFFF)).astype(jnp.uint32).astype(jnp.int32)
    bits = (keys >> np.uint64(32)).astype(jnp.uint32)
    limit = np.float32(below).view(np.uint32)
    found = bits < limit - _first_bits(above)
    order = lax.bitcast_convert_type(bits + _first_bits(above), jnp.float32)
    return jnp.where(found, index, -1), jnp.where(found, order, jnp.inf)


def _first_bits(above: float) -> np.uint32:
    """Of the least float32 that is greater and not negative."""
    return np.uint32(0) if above < 0 else np.float32(above).view(np.uint32) + np.uint32(1)


def edge_function(a: tuple[Array, Array], b: tuple[Array, Array], p: tuple[Array, Array]) -> Array:
    """Cross product (b - a) x (p - a), exactly antisymmetric in a and b.

    Evaluated from the lexicographically smaller end, so that the two faces at an edge see
    opposite numbers and a pixel centre beside the edge belongs to exactly one of them.
    """
    swap = (b[0] < a[0]) | ((b[0] == a[0]) & (b[1] < a[1]))
    ox, oy = jnp.where(swap, b[0], a[0]), jnp.where(swap, b[1], a[1])
    ex, ey = jnp.where(swap, a[0], b[0]), jnp.where(swap, a[1], b[1])
    value = (ex - ox) * (p[1] - oy) - (ey - oy) * (p[0] - ox)
    return jnp.where(swap, -value, value)
