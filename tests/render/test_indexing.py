"""Running sums and lists of entries against NumPy; gathers in pairs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.render.indexing import places, running, take_all, window_of


@pytest.mark.parametrize("size", [1, 15, 16, 17, 64, 65, 1025, 20_000])
def test_running_sum_and_maximum(size):
    values = np.random.default_rng(size).integers(-1, 100, size).astype(np.int32)
    np.testing.assert_array_equal(running(jnp.add, values), np.cumsum(values))
    np.testing.assert_array_equal(running(jnp.maximum, values), np.maximum.accumulate(values))
    np.testing.assert_array_equal(running(jnp.maximum, np.full(size, -1, np.int32)), -1)


@pytest.mark.parametrize("size", [1, 8, 50, 64])
def test_windows_hold_every_true_entry_once_and_then_none(size):
    present = np.random.default_rng(0).random(size) < 0.4
    place, total = places(present)
    assert total == present.sum()
    windows = [window_of(present, place, jnp.int32(first), 8) for first in range(0, 32, 8)]
    listed = np.concatenate(windows)
    assert (listed[total:] == size).all()
    across = -(-size // 8)
    down_columns = sorted(np.flatnonzero(present), key=lambda i: (i % across, i // across))
    np.testing.assert_array_equal(listed[:total], down_columns)


def test_pairs_are_gathered_bit_by_bit():
    floats = np.array([-0.0, np.inf, 1e-45, -3.5], np.float32)
    integers, wide = np.arange(-2, 2, dtype=np.int32), np.linspace(0, 1, 4)
    index = jnp.array([3, 0, 2, 2])
    with jax.enable_x64(True):
        tree = {"a": floats, "b": integers, "alone": floats[::-1], "wide": wide, "static": 7}
        tree = jax.tree.map(lambda a: a if isinstance(a, int) else jnp.asarray(a), tree)
        taken = take_all(tree, index)
    assert taken.pop("static") == 7
    for name, values in taken.items():
        expected = np.asarray(tree[name])[np.asarray(index)]
        assert values.dtype == expected.dtype
        np.testing.assert_array_equal(np.signbit(values), np.signbit(expected))
        np.testing.assert_array_equal(values, expected)
