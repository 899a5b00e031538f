from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.models import Discriminator
from gan3d.models.layers import channels

WIDTH, SIZE = 8, 16


@pytest.fixture(scope="module")
def network():
    """(apply, params, images)."""
    discriminator = Discriminator(WIDTH)
    images = jax.random.uniform(jax.random.key(0), (3, SIZE, SIZE, 3), minval=-1.0)
    params = jax.jit(discriminator.init)(jax.random.key(1), images[0])
    return jax.jit(discriminator.apply), params, images


def test_score_is_a_scalar(network):
    apply, params, images = network
    assert apply(params, images[0]).shape == ()


def test_vmap_equals_a_loop(network):
    """One image's score does not depend on the others in the batch."""
    apply, params, images = network
    batched = jax.jit(jax.vmap(apply, (None, 0)))(params, images)
    np.testing.assert_allclose(batched, [apply(params, x) for x in images], rtol=1e-5, atol=1e-6)
    assert np.ptp(batched) > 1e-3


def test_every_pixel_counts_and_its_place_too(network):
    apply, params, images = network
    slope = np.asarray(jax.jit(jax.grad(apply, argnums=1))(params, images[0]))
    assert (np.abs(slope).max(-1) > 0).all()
    assert abs(apply(params, images[0, :, ::-1]) - apply(params, images[0])) > 1e-3


@pytest.mark.parametrize("resolution", [32, 64, 128, 256])
def test_it_ends_at_four_by_four(resolution):
    discriminator = Discriminator(WIDTH)
    image = jax.ShapeDtypeStruct((resolution, resolution, 3), jnp.float32)
    score, shapes = jax.eval_shape(discriminator.init_with_output, jax.random.key(0), image)
    assert score.shape == ()
    dense = shapes["params"]["Dense_0"]["kernel"].shape
    assert dense == (4 * 4 * channels(WIDTH, 4), 2 * WIDTH)
