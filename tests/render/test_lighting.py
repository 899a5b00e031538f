"""Lights against integrals over the sphere."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import sph_harm_y

import gan3d.render.lighting
from gan3d.render.lighting import DirectionalLights

lambert = jax.jit(gan3d.render.lighting.lambert)
spherical_harmonics = jax.jit(gan3d.render.lighting.spherical_harmonics)
RNG = np.random.default_rng(0)
COEFFICIENTS = RNG.normal(size=(9, 2))


def unit_vectors(count, seed=1):
    vectors = np.random.default_rng(seed).normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def real_harmonics(direction):
    """The nine real harmonics from scipy's complex ones, whose (-1)^m phase is undone."""
    polar = np.arccos(np.clip(direction[..., 2], -1, 1))
    azimuth = np.arctan2(direction[..., 1], direction[..., 0])
    values = []
    for order in range(3):
        for m in range(-order, order + 1):
            value = sph_harm_y(order, abs(m), polar, azimuth)
            if m == 0:
                values.append(value.real)
            else:
                part = value.real if m > 0 else value.imag
                values.append(np.sqrt(2) * (-1) ** m * part)
    return np.stack(values, axis=-1)


def hemisphere(normal, polar_nodes=8, azimuth_nodes=16):
    """Directions around a normal and weights; exact for polynomials of moderate degree."""
    nodes, weights = np.polynomial.legendre.leggauss(polar_nodes)
    cosine, weights = (nodes + 1) / 2, weights / 2
    azimuth = 2 * np.pi * np.arange(azimuth_nodes) / azimuth_nodes
    tangent = np.cross(normal, [0.6, -0.5, 0.62])
    tangent /= np.linalg.norm(tangent)
    across = np.cos(azimuth)[:, None] * tangent
    across = across + np.sin(azimuth)[:, None] * np.cross(normal, tangent)
    sine = np.sqrt(1 - cosine**2)
    direction = cosine[:, None, None] * normal + sine[:, None, None] * across[None]
    solid_angle = np.repeat(weights * 2 * np.pi / azimuth_nodes, azimuth_nodes)
    return direction.reshape(-1, 3), solid_angle


def test_harmonics_give_the_cosine_weighted_integral_of_the_radiance(float64):
    normals = unit_vectors(6)
    for normal, irradiance in zip(normals, spherical_harmonics(normals, COEFFICIENTS), strict=True):
        direction, solid_angle = hemisphere(normal)
        radiance = real_harmonics(direction) @ COEFFICIENTS
        expected = ((direction @ normal) * solid_angle) @ radiance
        np.testing.assert_allclose(irradiance, expected, rtol=1e-10, atol=1e-12)


def test_many_directional_lights_give_the_same_as_the_harmonics(float64):
    """Monte Carlo free: a fine grid of lights that shine with the radiance of the harmonics."""
    up, solid_angle = hemisphere(np.array([0.0, 0, 1]), 40, 80)
    direction = np.concatenate([up, -up])
    solid_angle = np.tile(solid_angle, 2)
    color = solid_angle[:, None] * (real_harmonics(direction) @ COEFFICIENTS)
    normals = unit_vectors(5, seed=2)
    # Lengths must not matter.
    shaded = lambert(3 * normals, np.ones((5, 2)), 0.0, DirectionalLights(7 * direction, color))
    np.testing.assert_allclose(shaded, spherical_harmonics(normals, COEFFICIENTS), atol=5e-3)


def test_lambert_is_the_cosine_law(float64):
    normals, toward = unit_vectors(50), unit_vectors(3, seed=3)
    albedo, color = RNG.uniform(size=(50, 4)), RNG.uniform(size=(3, 4))
    ambient = RNG.uniform(size=4)
    expected = np.zeros((50, 4))
    for i in range(50):
        light = ambient.copy()
        for k in range(3):
            light += color[k] * max(0.0, float(normals[i] @ toward[k]))
        expected[i] = albedo[i] * light
    actual = lambert(normals, albedo, ambient, DirectionalLights(toward, color))
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
    np.testing.assert_allclose(lambert(normals, albedo, ambient), albedo * ambient, rtol=1e-12)


def test_zero_normals_see_the_constant_light_with_finite_gradients():
    lights = DirectionalLights(np.float32([[0, 0, -1]]), np.float32([[2.0, 2.0]]))

    def shade(normals):
        albedo = jnp.ones((*normals.shape[:-1], 2), jnp.float32)
        return lambert(normals, albedo, 0.5, lights)

    irradiance = lambda normals: spherical_harmonics(normals, np.float32(COEFFICIENTS))  # noqa: E731
    normals = np.float32([[0, 0, 0], [1e-30, 0, -1e-30], [3e25, 0, -4e25]])
    np.testing.assert_allclose(shade(normals)[:, 0], [0.5, 0.5 + 2**0.5, 2.1], rtol=1e-6)
    np.testing.assert_allclose(
        irradiance(normals)[0], np.pi * COEFFICIENTS[0] / (2 * np.sqrt(np.pi)), rtol=1e-6
    )
    for function in (shade, irradiance):
        total = lambda normals, f=function: f(normals).sum()  # noqa: E731
        gradient = jax.jit(jax.grad(total))(normals)
        assert np.isfinite(gradient).all()
        np.testing.assert_array_equal(gradient[0], 0)


@pytest.mark.parametrize("which", ("normals", "lights"))
def test_gradients_are_slopes(which, float64):
    normals, toward = 2 * unit_vectors(20), unit_vectors(3, seed=3)
    color = RNG.uniform(size=(3, 2))

    @jax.jit
    def total(normals, toward):
        shaded = lambert(normals, np.ones((20, 2)), 0.1, DirectionalLights(toward, color))
        return jnp.sin(shaded).sum() + jnp.sin(spherical_harmonics(normals, COEFFICIENTS)).sum()

    arguments = [normals, toward]
    place = 0 if which == "normals" else 1
    direction = np.random.default_rng(5).normal(size=arguments[place].shape)

    def along(step):
        moved = list(arguments)
        moved[place] = moved[place] + step * direction
        return total(*moved)

    slope = (along(1e-6) - along(-1e-6)) / 2e-6
    gradient = jax.jit(jax.grad(total, argnums=place))(*arguments)
    np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-7)


ONE_CHANNEL = DirectionalLights(np.ones((2, 3)), np.ones((2, 1)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lambert(np.ones((4, 2)), np.ones((4, 3)), 0.0), r"normals must.*\[4, 2\]"),
        (lambda: lambert(np.ones((4, 3)), np.ones((5, 3)), 0.0), r"albedo must.*\[5, 3\]"),
        (lambda: lambert(*np.ones((2, 4, 3)), 0.0, ONE_CHANNEL), r"lights must.*\[2, 1\]"),
        (lambda: spherical_harmonics(np.ones((4, 3)), np.ones((4, 3))), r"coefficients must"),
    ],
)  # fmt: skip
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
