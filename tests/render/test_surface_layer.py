"""What pixels see of a face, whichever of its corners is the first."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.render.layers import surface_layer, surface_values
from gan3d.render.screen import Settings

SIZE = (16, 16)


@pytest.mark.parametrize("orthographic", [False, True])
@pytest.mark.parametrize("first", range(3))
def test_a_corner_far_outside_costs_no_precision(first, orthographic, float64):
    # As of a floor that begins under the camera.
    points = np.array([[-1e7, 30.0, 0.01], [40.0, -20.0, 2.0], [50.0, 60.0, 1.5]])
    settings = Settings(SIZE, 1.0, 1, 1, orthographic, True, 1e-3, np.inf)
    corners = np.roll(np.arange(3), first)[None]
    corners, pixel = jnp.array(corners, jnp.int32), jnp.arange(SIZE[0] * SIZE[1], dtype=jnp.int32)
    face = jnp.zeros_like(pixel)
    draw = lambda rule, dtype: jax.jit(  # noqa: E731
        lambda points: rule(settings, points, corners, face, pixel)
    )(jnp.asarray(points, dtype))
    found, expected = draw(surface_layer, jnp.float32), draw(surface_values, jnp.float64)
    for weight, true_weight in zip(found.barycentric, expected.barycentric, strict=True):
        np.testing.assert_allclose(weight, true_weight, atol=1e-6)
    np.testing.assert_allclose(found.depth, expected.depth, rtol=1e-4)
