from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.models import ViewQuantiles

PIECES = 4
NETWORK = ViewQuantiles(PIECES)
GRID = np.linspace(-1, 1, 101)


@pytest.fixture(scope="module")
def place():
    """Compiled (logits, quantiles [N, 2]) -> [N, 2]."""
    apply = lambda logits, pair: NETWORK.apply({"params": {"logits": logits}}, pair)  # noqa: E731
    return jax.jit(jax.vmap(apply, (None, 0)))


@pytest.fixture(scope="module")
def logits():
    return 2 * jax.random.normal(jax.random.key(0), (2, PIECES))


def test_it_starts_as_the_identity(place):
    logits = NETWORK.init(jax.random.key(0), jnp.zeros(2))["params"]["logits"]
    pairs = np.stack([GRID, GRID[::-1]], axis=1)
    np.testing.assert_allclose(place(logits, pairs), pairs, atol=1e-6)


def test_it_is_the_quantile_function_of_a_histogram(place, logits):
    """numpy's interpolation between the ends of pieces of equal probability."""
    pairs = np.stack([GRID, GRID], axis=1)
    actual = np.asarray(place(logits, pairs))
    ends = np.concatenate([np.zeros((2, 1)), np.cumsum(jax.nn.softmax(logits), axis=1)], axis=1)
    for angle in range(2):
        knots = np.linspace(-1, 1, PIECES + 1)
        expected = np.interp(GRID, knots, 2 * ends[angle] - 1)
        np.testing.assert_allclose(actual[:, angle], expected, atol=1e-6)
    assert (np.diff(actual, axis=0) > 0).all()


def test_gradient_can_narrow_the_range(place, logits):
    """Descent on the squared angle brings half of the views, two of four pieces, to the middle."""
    pairs = np.stack([GRID, GRID], axis=1)
    loss = jax.jit(jax.value_and_grad(lambda logits: (place(logits, pairs) ** 2).mean()))
    first, current = None, jnp.zeros_like(logits)
    for _ in range(100):
        value, slope = loss(current)
        first = value if first is None else first
        current = current - 3.0 * slope
    assert 0.45 * first < value < 0.6 * first
