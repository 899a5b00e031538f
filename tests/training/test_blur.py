from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from gan3d.config import Config
from gan3d.training.assemble import assemble
from gan3d.training.blur import blur, blurred_score

CONFIG = Config(
    surface_size=4, texture_size=4, background_size=4, generator_width=4, discriminator_width=4,
    blur_pixels=2.0, blur_images=1000,
)  # fmt: skip


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).uniform(-1, 1, (32, 24, 3)).astype(np.float32)


@pytest.mark.parametrize("deviation", [0.1, 0.7, 2.0])
def test_it_is_scipys_gaussian(image, deviation):
    radius = 6
    actual = jax.jit(blur, static_argnums=2)(image, deviation, radius)
    expected = gaussian_filter(image, (deviation, deviation, 0), mode="nearest", radius=radius)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_the_narrowest_changes_nothing(image):
    np.testing.assert_allclose(blur(jnp.asarray(image), jnp.float32(0.1), 6), image, atol=1e-6)


class Contrast:
    """Stands in for a discriminator: the score is the variance of the picture it is given."""

    def apply(self, variables, image):
        return variables["params"] * image.var()


@pytest.fixture(scope="module")
def scores(image):
    parts = dataclasses.replace(assemble(CONFIG), discriminator=Contrast())
    score = jax.jit(lambda seen: blurred_score(parts, seen)(1.0, jnp.asarray(image)))
    return [float(score(jnp.int32(seen))) for seen in (0, 500, 990, 1000, 50_000)]


def test_the_blur_fades_and_is_gone(scores, image):
    assert scores[0] < scores[1] < scores[2] <= scores[3]
    np.testing.assert_allclose(scores[3:], image.var(), rtol=1e-4)
    expected = gaussian_filter(image, (2, 2, 0), mode="nearest", radius=6).var()
    np.testing.assert_allclose(scores[0], expected, rtol=1e-4)


def test_without_blur_nothing_is_added():
    parts = assemble(dataclasses.replace(CONFIG, blur_pixels=0.0))
    shape = jax.ShapeDtypeStruct((32, 32, 3), jnp.float32)
    params = jax.eval_shape(parts.discriminator.init, jax.random.key(0), shape)["params"]
    score = lambda p, x: blurred_score(parts, jnp.int32(0))(p, x)  # noqa: E731
    without = jax.make_jaxpr(score)(params, shape)
    direct = jax.make_jaxpr(lambda p, x: parts.discriminator.apply({"params": p}, x))(params, shape)
    assert str(without) == str(direct)
