"""Joined trees come back as they were, and nothing that computes number by number sees a change."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan3d.training.joined import Joined, join, join_state, split, split_all
from gan3d.training.state import TrainState

TREE = {"b": {"kernel": jnp.arange(6.0).reshape(2, 3), "scale": jnp.float32(7)}, "a": jnp.ones(2)}
OTHER = {"kernel": jnp.zeros((2, 2)), "bias": jnp.full(2, 3.0)}


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.shape == y.shape and x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def test_split_undoes_join():
    joined = join(TREE)
    assert joined.vector.shape == (9,) and len(jax.tree.leaves(joined)) == 1
    assert_same(split(joined), TREE)


def test_what_is_on_the_host_stays_there():
    joined = join(jax.tree.map(np.asarray, TREE))
    assert isinstance(joined.vector, np.ndarray)
    assert_same(split(joined), TREE)


def test_a_gradient_is_joined_by_one_concatenation():
    """And not by a sum of vectors padded with zeros, one for every leaf."""

    def loss(joined):
        return sum((k + 1) * x.sum() for k, x in enumerate(jax.tree.leaves(split(joined))))

    gradient = jax.grad(loss)(join(TREE))
    np.testing.assert_array_equal(gradient.vector, [1, 1] + [2] * 6 + [3])
    text = str(jax.make_jaxpr(jax.grad(loss))(join(TREE)))
    assert "pad" not in text and text.count("concatenate") == 1


def test_several_types_are_refused():
    with pytest.raises(ValueError, match=r"arrays of one type, got \['float32', 'int32'\]"):
        join({"a": jnp.ones(2), "b": jnp.arange(3)})
    with pytest.raises(ValueError, match="arrays of one type, got no arrays"):
        join({})


def test_a_state_is_joined_by_network_and_comes_back():
    adam = optax.adam(1e-3, b1=0.0)
    state = TrainState(
        jnp.int32(5), TREE, OTHER, jax.tree.map(jnp.negative, TREE), adam.init(TREE),
        adam.init(OTHER), jnp.float32(0.5),
    )  # fmt: skip
    joined = join_state(state)
    # Of the two optimizers two moments and a count each; the clock and the probability.
    assert len(jax.tree.leaves(joined)) == 3 + 2 * 3 + 2
    assert isinstance(joined.generator_opt[0].nu, Joined)
    assert_same(split_all(joined), state)
    assert_same(split_all(state), state)


def test_an_optimizer_does_the_same_to_joined_parameters():
    adam = optax.adam(1e-2, b1=0.5)
    params, state = TREE, adam.init(TREE)
    joined, joined_state = join(TREE), adam.init(join(TREE))
    for step in range(3):
        gradient = jax.tree.map(lambda x: jnp.cos(x + step), TREE)  # noqa: B023
        updates, state = adam.update(gradient, state)
        params = optax.apply_updates(params, updates)
        updates, joined_state = adam.update(join(gradient), joined_state)
        joined = optax.apply_updates(joined, updates)
    for a, b in zip(jax.tree.leaves(split(joined)), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
        assert np.abs(np.asarray(a)).max() > 0
