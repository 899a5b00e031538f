"""Losses against formulas written out with numpy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.losses import (
    ADVERSARIAL,
    NONSATURATING,
    RELATIVISTIC,
    gradient_penalty,
    penalty_fraction,
)

REAL = jnp.array([0.3, -1.2, 2.0, 0.0])
FAKE = jnp.array([1.1, 0.4, -0.7, -3.0])


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x)))


def test_names():
    assert ADVERSARIAL == {"relativistic": RELATIVISTIC, "nonsaturating": NONSATURATING}


def test_relativistic_values():
    """-E log sigmoid(D(x_r) - D(x_f)), pair by pair."""
    difference = np.asarray(REAL - FAKE)
    expected = -np.log(sigmoid(difference)).mean()
    np.testing.assert_allclose(RELATIVISTIC.discriminator(REAL, FAKE), expected, rtol=1e-5)
    expected = -np.log(sigmoid(-difference)).mean()
    np.testing.assert_allclose(RELATIVISTIC.generator(REAL, FAKE), expected, rtol=1e-5)


def test_relativistic_gradients():
    """D raises real and lowers fake scores, G the reverse, each pair by its own margin."""
    real, fake = jax.grad(RELATIVISTIC.discriminator, (0, 1))(REAL, FAKE)
    np.testing.assert_allclose(real, -sigmoid(FAKE - REAL) / 4, rtol=1e-5)
    np.testing.assert_allclose(fake, sigmoid(FAKE - REAL) / 4, rtol=1e-5)
    real, fake = jax.grad(RELATIVISTIC.generator, (0, 1))(REAL, FAKE)
    np.testing.assert_allclose(real, sigmoid(REAL - FAKE) / 4, rtol=1e-5)
    np.testing.assert_allclose(fake, -sigmoid(REAL - FAKE) / 4, rtol=1e-5)


def test_nonsaturating_values():
    """-E log sigmoid(D(x_r)) - E log(1 - sigmoid(D(x_f))); G: -E log sigmoid(D(x_f))."""
    expected = -np.log(sigmoid(REAL)).mean() - np.log(1 - sigmoid(FAKE)).mean()
    np.testing.assert_allclose(NONSATURATING.discriminator(REAL, FAKE), expected, rtol=1e-5)
    expected = -np.log(sigmoid(FAKE)).mean()
    np.testing.assert_allclose(NONSATURATING.generator(REAL, FAKE), expected, rtol=1e-5)


def test_nonsaturating_generator_ignores_real_images():
    slope = jax.grad(NONSATURATING.generator)(REAL, FAKE)
    np.testing.assert_array_equal(slope, 0)
    moved = NONSATURATING.generator(REAL + 5, FAKE)
    assert moved == NONSATURATING.generator(REAL, FAKE)


@pytest.mark.parametrize("loss", ADVERSARIAL.values(), ids=ADVERSARIAL)
def test_confident_scores_neither_overflow_nor_lose_their_gradient(loss):
    won, lost = jnp.array([200.0]), jnp.array([-200.0])
    assert loss.discriminator(won, lost) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(loss.generator(won, lost), -lost[0] - loss_of(loss, won), rtol=1e-6)
    slope = jax.grad(lambda fake: loss.generator(won, fake).sum())(lost)
    np.testing.assert_allclose(slope, -1, rtol=1e-6)


def loss_of(loss, real):
    """What the real score adds to the generator's loss, with the sign of a subtraction."""
    return -real[0] if loss is RELATIVISTIC else 0


IMAGES = jax.random.normal(jax.random.key(0), (5, 4, 3, 2))


def test_penalty_of_a_linear_discriminator_is_its_squared_norm():
    weights = jax.random.normal(jax.random.key(1), (4, 3, 2))
    penalty = gradient_penalty(lambda x: (weights * x).sum() + 7, IMAGES)
    np.testing.assert_allclose(penalty, (weights**2).sum(), rtol=1e-5)


def test_penalty_of_a_quadratic_discriminator():
    """D = sum c x^2 / 2 has the gradient c x; squares are summed over an image, then averaged."""
    curvature = jax.random.normal(jax.random.key(2), (4, 3, 2))
    penalty = gradient_penalty(lambda x: (curvature * x**2).sum() / 2, IMAGES)
    expected = ((np.asarray(curvature) * np.asarray(IMAGES)) ** 2).sum((1, 2, 3)).mean()
    np.testing.assert_allclose(penalty, expected, rtol=1e-5)


def test_penalty_is_differentiable_in_the_parameters():
    with jax.enable_x64(True):
        images = jnp.asarray(np.asarray(IMAGES), jnp.float64)
        rng = np.random.default_rng(3)
        params, direction = rng.normal(size=(2, 24, 3))

        def penalty(params):
            return gradient_penalty(lambda x: jnp.tanh(x.reshape(-1) @ params).sum(), images)

        step = 1e-6
        measured = (penalty(params + step * direction) - penalty(params - step * direction)) / 2e-6
        slope = (jax.grad(penalty)(params) * direction).sum()
        np.testing.assert_allclose(slope, measured, rtol=1e-7)


def test_penalty_takes_no_derivative_of_the_images():
    slope = jax.grad(lambda images: gradient_penalty(lambda x: (x**3).sum(), images))(IMAGES)
    np.testing.assert_array_equal(slope, 0)


def test_penalties_fall_by_equal_factors():
    fraction = [
        float(penalty_fraction(jnp.int32(n), 0.01, 1000)) for n in (0, 250, 500, 1000, 5000)
    ]
    np.testing.assert_allclose(fraction, [1, 0.01**0.25, 0.1, 0.01, 0.01], rtol=1e-5)
    assert penalty_fraction(jnp.int32(10**9), 1.0, 1) == 1
