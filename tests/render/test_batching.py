"""What a function of one scene keeps for its gradient."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.render.batching import differentiable_scene_by_scene

BATCH = 3
X = np.linspace(0.1, 2, BATCH * 4).reshape(BATCH, 4)
SCALE = np.array([2.0, 3.0, 5.0])


def square_of_sine(x, scale, keep):
    """Also of integers that are kept, and of several arrays at once."""
    order = keep(jnp.argsort(-scale * x))
    sine, double = keep([jnp.sin(x), 2 * x])
    return scale * (sine * sine + double)[order]


def as_is(x, scale):
    return square_of_sine(x, scale, lambda value: value)


def loss(draw, x, scale):
    weights = jnp.cos(jnp.arange(4, dtype=x.dtype))[None]
    return (weights * jax.vmap(draw)(x, scale)).sum()


@pytest.mark.parametrize("kept", [True, False])
def test_what_is_kept_is_not_computed_again(kept, float64):
    function = square_of_sine if kept else lambda x, scale, keep: as_is(x, scale)
    draw = differentiable_scene_by_scene(function, square_of_sine)
    value, pull_back = jax.jit(lambda x: jax.vjp(lambda x: loss(draw, x, SCALE), x))(X)
    expected = jax.value_and_grad(lambda x: loss(as_is, x, SCALE))(X)
    pulled = jax.jit(lambda pull_back: pull_back(1.0)[0])
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-12), (value, pulled(pull_back)), expected
    )
    program = pulled.lower(pull_back).compile().as_text()
    assert "cosine(" in program and (" sine(" in program) != kept


def test_the_gradient_of_the_gradient_knows_that_what_is_kept_depends_on_the_variables(float64):
    draw = differentiable_scene_by_scene(square_of_sine, square_of_sine)
    direction = np.cos(X)

    def slope(draw):
        return jax.jit(
            jax.grad(lambda x: (jax.grad(lambda x: loss(draw, x, SCALE))(x) * direction).sum())
        )

    expected = slope(as_is)(X)
    assert np.abs(expected).min() > 0.01
    np.testing.assert_allclose(slope(draw)(X), expected, rtol=1e-12)
