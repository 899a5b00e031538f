"""What margins show of an edge, and the hand-written gradient beside JAX's own."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.render.edges import EdgePoint, edge_barycentric, margin_layer, margin_values
from gan3d.render.screen import Settings

SIZE = (12, 12)
FACES = jnp.array([[0, 1, 2], [2, 1, 3], [3, 4, 0], [5, 5, 1]], jnp.int32)  # the last has no area
PIXELS = jnp.arange(SIZE[0] * SIZE[1], dtype=jnp.int32)


def scene(some_behind: bool):
    """Points of which one may lie behind the near plane, and any half-edge, or none, per pixel."""
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(0, 12, (6, 2)), rng.uniform(1, 3, (6, 1))], axis=1)
    if some_behind:
        points[1, 2] = -0.7
        points[4, 2] = 0.3
    half_edge = rng.integers(-2, 3 * len(FACES), PIXELS.shape)
    return jnp.asarray(points), jnp.asarray(np.maximum(half_edge, -1), jnp.int32)


def settings_of(orthographic: bool):
    return Settings(SIZE, 9.0, orthographic=orthographic, near=0.5)


@pytest.mark.parametrize("asked", [*([name] for name in EdgePoint._fields), EdgePoint._fields])
@pytest.mark.parametrize(
    "orthographic, some_behind", [(True, False), (False, False), (False, True)]
)
def test_gradient_is_that_of_the_values(orthographic, some_behind, asked, float64):
    settings, (points, half_edge) = settings_of(orthographic), scene(some_behind)
    weights = np.random.default_rng(1).normal(size=(len(EdgePoint._fields), len(PIXELS)))

    def loss(layer, points):
        shown = layer(settings, points, FACES, half_edge, PIXELS)._asdict()
        parts = zip(EdgePoint._fields, weights, strict=True)
        return sum((w * shown[name]).sum() for name, w in parts if name in asked)

    gradient = lambda layer: jax.jit(jax.grad(partial(loss, layer)))(points)  # noqa: E731
    by_hand, expected = gradient(margin_layer), gradient(margin_values)
    # Clipping, perspective and the depths themselves depend on depths.
    in_depth = some_behind or "depth" in asked or (not orthographic and "share" in asked)
    assert (np.abs(expected).max(0) > 0.01).tolist() == [True, True, in_depth]
    np.testing.assert_allclose(by_hand, expected, rtol=1e-9, atol=1e-9)


def test_an_end_in_front_of_the_near_plane_shows_exactly_its_corner():
    settings, (points, half_edge) = settings_of(orthographic=False), scene(some_behind=False)
    shown = margin_values(settings, jnp.float32(points), FACES, half_edge, PIXELS)
    at_corner = (shown.share == 0) | (shown.share == 1)
    assert 0.3 < at_corner[half_edge >= 0].mean() < 1  # pixels beyond the end of an edge
    weights = jnp.stack(edge_barycentric(half_edge, shown.share))
    np.testing.assert_allclose(weights.sum(0), half_edge >= 0, rtol=1e-6)
    assert ((weights == 0).sum(0) >= 1).all()
    for value in shown:
        np.testing.assert_array_equal(value[half_edge < 0], 0)


def test_an_edge_without_length_has_a_finite_gradient():
    settings, (points, _) = settings_of(orthographic=False), scene(some_behind=False)
    half_edge = jnp.full(PIXELS.shape, 9, jnp.int32)  # from vertex 5 to vertex 5

    def total(points):
        return sum(a.sum() for a in margin_layer(settings, points, FACES, half_edge, PIXELS))

    gradient = jax.jit(jax.grad(total))(jnp.float32(points))
    assert np.isfinite(gradient).all() and np.abs(gradient[5]).max() > 0.1
