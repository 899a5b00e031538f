"""Gathers by indices that are known to be in range, and running counts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan3d.render.batching import materialized

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Int

_COLUMN = 8
_ROW = 16
_FEW = 64  # of which every pair may be compared

# Of a scatter: what is past the end is dropped. By default negative indices would count from the
# end, which is one more loop.
DROP = {"mode": "drop", "wrap_negative_indices": False}


def take(values: Array, index: Int[Array, "..."]) -> Array:
    """values[index] along the first axis, for indices in [0, len(values)).

    Plain indexing also counts negative indices from the end and fills what is out of range, in
    every gather.
    """
    return values.at[index].get(mode="promise_in_bounds", wrap_negative_indices=False)


def take_all(tree: Any, index: Int[Array, "C"]) -> Any:
    """`take` from every array [N] of a pytree; static numbers stay.

    Two numbers of four bytes are gathered as one of eight: half as many gathers. Needs 64-bit
    types to be enabled. No gradient.
    """
    return _take_joined(_joined(tree), tree, index)


def take_pairs(tree: Any, *indices: Int[Array, "C"], constant: bool = False) -> list[Any]:
    """`take_all` at each of some lists of indices, also where 64-bit types are not enabled.

    Args:
      tree: as of `take_all`.
      indices: the lists.
      constant: whether the compiler knows the tree: it then joins the numbers itself.
    """
    with jax.enable_x64(True):
        joined = _joined(tree)
        if not constant:
            # Stored, or each gather would join its numbers anew.
            joined = materialized(joined, indices[0])
        return [_take_joined(joined, tree, index) for index in indices]


def _joined(tree):
    """The arrays of four bytes per number in pairs."""
    narrow = _narrow(tree)
    pairs = zip(narrow[::2], narrow[1::2], strict=False)
    return [_bits(first) | (_bits(second) << np.uint64(32)) for first, second in pairs]


def _take_joined(joined, tree, index):
    leaves, structure = jax.tree.flatten(tree)
    narrow, taken = _narrow(tree), {}
    for k, both in enumerate(take(pair, index) for pair in joined):
        first, second = narrow[2 * k : 2 * k + 2]
        taken[id(first)] = _from_bits(both, first.dtype)
        taken[id(second)] = _from_bits(both >> np.uint64(32), second.dtype)
    get = lambda a: taken[id(a)] if id(a) in taken else take(a, index)  # noqa: E731
    return jax.tree.unflatten(structure, [a if isinstance(a, int) else get(a) for a in leaves])


def _narrow(tree):
    return [a for a in jax.tree.leaves(tree) if not isinstance(a, int) and a.dtype.itemsize == 4]


def _bits(values):
    return lax.bitcast_convert_type(values, jnp.uint32).astype(jnp.uint64)


def _from_bits(bits, dtype):
    return lax.bitcast_convert_type(bits.astype(jnp.uint32), dtype)


def running(join: Callable[..., Array], values: Int[Array, "N"]) -> Int[Array, "N"]:
    """The sum, or the maximum, up to and including each place.

    In rows of 16 at once, then over the rows' last places, in rows of 16 again, until few are left:
    on CPU a few large loops, where window reductions are many.

    Args:
      join: `jnp.add`, or `jnp.maximum`.
      values: int32, at least -1.
    """
    neutral = 0 if join is jnp.add else -1

    def rows(values):
        return jnp.pad(values, (0, -values.shape[0] % _ROW), constant_values=neutral).reshape(
            -1, _ROW
        )

    def before(values):
        """What precedes each place."""
        if values.shape[0] <= _FEW:
            place = np.arange(values.shape[0])
            earlier = jnp.where(place[:, None] < place, values[:, None], neutral)
            return earlier.sum(0, values.dtype) if join is jnp.add else earlier.max(0)
        earlier, ends = within(rows(values))
        return join(earlier, before(ends)[:, None]).reshape(-1)[: values.shape[0]]

    def within(rows):
        """What precedes each place in its row, and the whole of each row."""
        # A row of neutral numbers before each row: nothing has to be masked.
        padded = jnp.pad(rows, ((0, 0), (_ROW - 1, 0)), constant_values=neutral)
        shifted = (padded[:, k : k + _ROW] for k in range(_ROW - 1))
        earlier = functools.reduce(join, shifted)
        return earlier, join(earlier[:, -1], rows[:, -1])

    return join(before(values), values)


def places(present: Bool[Array, "N"]) -> tuple[Int[Array, "8 M"], Int[Array, ""]]:
    """The place of every true entry in a list of them, and how many there are.

    The list goes down columns of 8 entries: sums across rows are vector instructions. Places come
    in rows, too; as one row they would be computed one by one.
    """
    (size,) = present.shape
    across = -(-size // _COLUMN)
    rows = jnp.pad(present.astype(jnp.int32), (0, across * _COLUMN - size)).reshape(_COLUMN, across)
    padded = jnp.pad(rows, ((_COLUMN - 1, 0), (0, 0)))
    count = sum(padded[row : row + _COLUMN] for row in range(_COLUMN))
    end = running(jnp.add, count[-1])
    return count - rows + (end - count[-1])[None], end[-1]


def window_of(
    present: Bool[Array, "N"], place: Int[Array, "8 M"], first: Int[Array, ""], room: int
) -> Int[Array, "R"]:
    """Indices of the true entries at places `first` and following; N where there are no more.

    Args:
      present: which entries are wanted.
      place: of each, from `places`.
      first: how many to leave out.
      room: how many to return, R.
    """
    (size,) = present.shape
    place = place.reshape(-1)[:size]
    local = jnp.where(present & (place >= first), place - first, room)
    index = jnp.arange(size, dtype=jnp.int32)
    return jnp.full(room, size, jnp.int32).at[local].set(index, **DROP)
