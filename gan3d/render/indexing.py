"""Gathers by indices that are known to be in range, and running counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax.numpy as jnp
from jax import lax

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Int

_BLOCK = 8


def take(values: Array, index: Int[Array, "..."]) -> Array:
    """values[index] along the first axis, for indices in [0, len(values)).

    Plain indexing also counts negative indices from the end and fills what is out of range, in
    every gather.
    """
    return values.at[index].get(mode="promise_in_bounds")


def running(join: Callable[..., Array], values: Int[Array, "N"]) -> Int[Array, "N"]:
    """The sum, or the maximum, up to and including each place.

    Inside of short blocks at once, then over the blocks' last places: on CPU faster than `cumsum`
    of all.

    Args:
      join: `jnp.add`, or `jnp.maximum` of numbers that are at least -1.
      values: int32.
    """
    (size,) = values.shape
    neutral, whole = (0, lax.cumsum) if join is jnp.add else (-1, lax.cummax)
    rounded = size + -size % _BLOCK
    padded = jnp.pad(values, (_BLOCK - 1, rounded - size), constant_values=neutral)
    lane = jnp.arange(rounded, dtype=jnp.int32) % _BLOCK
    total = padded[_BLOCK - 1 :]
    for back in range(1, _BLOCK):
        before = lax.slice_in_dim(padded, _BLOCK - 1 - back, _BLOCK - 1 - back + rounded)
        total = join(total, jnp.where(lane >= back, before, neutral))
    blocks = total.reshape(-1, _BLOCK)
    before = jnp.pad(whole(blocks[:, -1])[:-1], (1, 0), constant_values=neutral)
    return join(blocks, before[:, None]).reshape(-1)[:size]


def places(present: Bool[Array, "N"], count: Int[Array, "N"], first, room: int) -> Int[Array, "R"]:
    """Indices of the true entries number `first` and following; N where there are no more.

    Args:
      present: which entries are wanted.
      count: their running count.
      first: how many to leave out.
      room: how many to return, R.
    """
    (size,) = present.shape
    local = jnp.where(present & (count > first), count - 1 - first, room)
    index = jnp.arange(size, dtype=jnp.int32)
    return jnp.full(room, size, jnp.int32).at[local].set(index, mode="drop")
