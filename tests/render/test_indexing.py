"""Running sums and lists of places against NumPy; gathers in pairs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.render.indexing import places, running, take_all


@pytest.mark.parametrize("size", [1, 7, 8, 9, 1000])
def test_running_sum_and_maximum(size):
    values = np.random.default_rng(size).integers(-1, 100, size).astype(np.int32)
    np.testing.assert_array_equal(running(jnp.add, values), np.cumsum(values))
    np.testing.assert_array_equal(running(jnp.maximum, values), np.maximum.accumulate(values))
    np.testing.assert_array_equal(running(jnp.maximum, np.full(size, -1, np.int32)), -1)


def test_places_go_on_where_the_last_window_ended():
    present = np.random.default_rng(0).random(50) < 0.4
    count = running(jnp.add, present.astype(np.int32))
    windows = [places(present, count, first, 8) for first in range(0, 32, 8)]
    expected = np.full(32, 50)
    expected[: present.sum()] = np.flatnonzero(present)
    np.testing.assert_array_equal(np.concatenate(windows), expected)


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
