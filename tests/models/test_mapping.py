from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.models import MappingNetwork

Z = jax.random.normal(jax.random.key(0), (12,))


@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_style_depends_on_the_latents_direction_only(num_layers):
    network = MappingNetwork(10, num_layers)
    params = network.init(jax.random.key(1), Z)
    style = network.apply(params, Z)
    assert style.shape == ((10,) if num_layers else (12,))
    for scale in (0.1, 20.0):
        np.testing.assert_allclose(network.apply(params, scale * Z), style, rtol=1e-4, atol=1e-6)
    assert np.abs(network.apply(params, -Z) - style).max() > 0.1


def test_without_layers_it_returns_the_latent_at_unit_mean_square():
    network = MappingNetwork(12, 0)
    style = np.asarray(network.apply({}, Z))
    np.testing.assert_allclose(np.mean(style**2), 1, rtol=1e-5)
    np.testing.assert_allclose(style / style[0], Z / Z[0], rtol=1e-5)


def test_style_starts_with_unit_mean_square():
    network = MappingNetwork(400, 2)
    params = network.init(jax.random.key(2), Z)
    np.testing.assert_allclose(np.mean(network.apply(params, Z) ** 2), 1, rtol=0.25)


def test_a_zero_latent_has_a_gradient():
    network = MappingNetwork(12, 0)
    slope = jax.jacobian(lambda z: network.apply({}, z))(jnp.zeros(12))
    np.testing.assert_allclose(slope, 1e4 * np.eye(12), rtol=1e-4)


@pytest.mark.parametrize("num_layers", [0, 2])
def test_leading_entries_can_be_kept_apart(num_layers):
    network = MappingNetwork(12, num_layers, shape_features=4)
    params = network.init(jax.random.key(1), Z)
    slope = np.abs(jax.jacobian(lambda z: network.apply(params, z))(Z))
    assert slope.shape == (12, 12)
    np.testing.assert_array_equal(slope[:4, 4:], 0)
    np.testing.assert_array_equal(slope[4:, :4], 0)
    assert np.median(slope[:4, :4]) > 0.01 and np.median(slope[4:, 4:]) > 0.01
