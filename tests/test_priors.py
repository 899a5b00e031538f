from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.priors import (
    crease_term,
    fold_term,
    laplacian_term,
    size_term,
    smoothness_fraction,
    tangential_term,
)
from gan3d.render import make_topology, sphere_mesh

LOW, HIGH = 0.5, 0.8


@pytest.fixture(scope="module")
def sphere():
    return sphere_mesh(17)


@pytest.fixture(scope="module")
def ball():
    """Points of the unit sphere whose mean is the origin exactly."""
    half = sphere_mesh(9)[0]
    return np.concatenate([half, -half])


class TestSize:
    @pytest.mark.parametrize("radius", [0.505, 0.65, 0.795])
    @pytest.mark.parametrize("offset", [(0, 0, 0), (0.03, -0.05, 0.02)])
    def test_nothing_pulls_inside_the_range(self, ball, radius, offset):
        vertices = jnp.asarray(radius * ball + np.float32(offset))
        value, slope = jax.value_and_grad(size_term)(vertices, LOW, HIGH)
        assert value == 0
        np.testing.assert_array_equal(slope, 0)

    @pytest.mark.parametrize("radius, expected", [(0.3, 0.04), (0.9, 0.01), (1.8, 1.0)])
    def test_outside_it_is_the_squared_excess(self, ball, radius, expected):
        value = size_term(jnp.asarray(radius * ball), LOW, HIGH)
        np.testing.assert_allclose(value, expected, rtol=1e-4)

    def test_off_centre_it_is_the_squared_excess(self, ball):
        # Moved by 0.3, the mean radius grows by 0.3^2 / (3 * 0.65) only, within the range.
        vertices = jnp.asarray(0.65 * ball + np.float32([[0, 0.3, 0]]))
        np.testing.assert_allclose(size_term(vertices, LOW, HIGH), 0.2**2, rtol=1e-4)

    @pytest.mark.parametrize("radius", [0.3, 1.2])
    def test_descent_leads_back(self, ball, radius):
        vertices = jnp.asarray(radius * ball)
        slope = jax.grad(size_term)(vertices, LOW, HIGH)
        outward = (slope * vertices).sum()
        assert outward < 0 if radius < LOW else outward > 0

    def test_a_point_at_the_origin_has_a_finite_gradient(self):
        slope = jax.grad(size_term)(jnp.zeros((5, 3)), LOW, HIGH)
        assert np.isfinite(slope).all()


def displaced(n: int, smooth: bool):
    vertices, topology = sphere_mesh(n)
    x, y, z = vertices.T
    if smooth:
        return np.stack([x * y, y * z + x, z * z * x], axis=1), topology
    noise = np.random.default_rng(0).normal(size=vertices.shape)
    return (0.5 * noise[topology.weld]).astype(np.float32), topology


class TestLaplacian:
    def test_moving_the_whole_shape_costs_nothing(self, sphere):
        vertices, topology = sphere
        constant = jnp.broadcast_to(jnp.array([0.3, -0.2, 0.1]), vertices.shape)
        assert laplacian_term(constant, topology) == 0

    def test_it_is_the_graph_laplacian(self):
        """Against a loop over the vertices."""
        vertices, topology = sphere_mesh(5)
        values = np.random.default_rng(1).normal(size=vertices.shape)[topology.weld]
        total = 0
        for vertex in np.unique(topology.weld):
            around = [b if a == vertex else a for a, b in topology.edges if vertex in (a, b)]
            total += ((values[vertex] - values[around].mean(0)) ** 2).sum()
        one = laplacian_term(jnp.asarray(values, jnp.float32), topology)
        ratio = float(one / total)
        two = laplacian_term(jnp.asarray(3 * values, jnp.float32), topology)
        np.testing.assert_allclose(ratio, 25 / 33**2 / (4 * np.pi), rtol=1e-5)
        np.testing.assert_allclose(two, 9 * one, rtol=1e-5)

    def test_a_smooth_displacement_costs_the_same_on_a_finer_mesh(self):
        coarse, fine = (laplacian_term(*displaced(n, smooth=True)) for n in (17, 33))
        # The chart's creases, where vertices are unevenly spaced, keep it from being equal.
        np.testing.assert_allclose(fine, coarse, rtol=0.2)

    def test_a_rough_displacement_costs_far_more(self):
        smooth, topology = displaced(17, smooth=True)
        rough, _ = displaced(17, smooth=False)
        rough = rough * (np.linalg.norm(smooth) / np.linalg.norm(rough))
        assert laplacian_term(rough, topology) > 30 * laplacian_term(smooth, topology)


def hinge(angle: float):
    """Two triangles that share an edge; `angle` between their normals."""
    vertices = np.array(
        [[0, 0, 0], [0, 1, 0], [1, 0.3, 0], [-np.cos(angle), 0.6, np.sin(angle)]], np.float32
    )
    return jnp.asarray(vertices), make_topology(np.array([[0, 2, 1], [0, 1, 3]]))


class TestCrease:
    @pytest.mark.parametrize("angle", [0.0, 0.4, 1.5, 3.0])
    def test_it_is_one_minus_the_cosine_squared(self, angle):
        expected = (1 - np.cos(angle)) ** 2
        np.testing.assert_allclose(crease_term(*hinge(angle)), expected, rtol=1e-4, atol=1e-6)

    def test_size_does_not_matter(self):
        vertices, topology = hinge(0.7)
        small = crease_term(0.01 * vertices, topology)
        np.testing.assert_allclose(small, crease_term(vertices, topology), rtol=1e-4)

    def test_a_fold_costs_far_more_than_a_sphere(self, sphere):
        vertices, topology = sphere
        round_ = crease_term(jnp.asarray(vertices), topology)
        folded = crease_term(jnp.asarray(np.where([1, 1, 0], vertices, -abs(vertices))), topology)
        assert round_ < 2e-4
        # Of every edge along the equator the faces now lie on each other: (1 - cos)^2 = 4.
        equator = np.abs(vertices[topology.edges][..., 2]).max(-1) < 1e-6
        assert equator.sum() == 32
        np.testing.assert_allclose(folded, 4 * equator.mean(), rtol=0.25)
        assert folded > 500 * round_

    def test_degenerate_faces_count_as_flat_and_have_finite_gradients(self, sphere):
        vertices, topology = sphere
        collapsed = vertices.copy()
        collapsed[topology.faces[:40].reshape(-1)] = vertices[0]
        for shape in (collapsed, np.zeros_like(vertices), np.where([1, 1, 0], vertices, 0)):
            value, slope = jax.value_and_grad(crease_term)(jnp.asarray(shape), topology)
            assert np.isfinite(value) and np.isfinite(slope).all()
        assert crease_term(jnp.zeros_like(vertices), topology) == 0


class TestSmoothnessFraction:
    @pytest.mark.parametrize(
        ("images", "expected"),
        [(0, 1.0), (300, 1.0), (400, 0.5), (500, 0.25), (550, 0.5**2.5), (10**9, 0.1)],
    )
    def test_it_stays_then_halves_down_to_the_floor(self, images, expected):
        fraction = smoothness_fraction(jnp.int32(images), 300, 100, 0.1)
        np.testing.assert_allclose(fraction, expected, rtol=1e-6)

    def test_with_floor_one_it_stays(self):
        assert smoothness_fraction(jnp.int32(10**9), 0, 1, 1.0) == 1


class TestTangential:
    def test_outwards_and_inwards_costs_nothing(self, ball):
        factors = np.random.default_rng(0).uniform(0.5, 2, (len(ball), 1)).astype(np.float32)
        value, slope = jax.value_and_grad(tangential_term)(jnp.asarray(factors * ball), ball)
        np.testing.assert_allclose(value, 0, atol=1e-12)
        np.testing.assert_allclose(slope, 0, atol=1e-8)

    def test_elsewhere_it_is_the_squared_distance_from_the_ray(self, ball):
        points = ball + 0.3 * np.random.default_rng(0).standard_normal(ball.shape)
        for radius in (0.1, 0.6, 1.0):  # that of the start shape does not matter, its rays do
            distances = np.linalg.norm(np.cross(points, ball), axis=-1)
            value = tangential_term(jnp.float32(points), jnp.float32(radius * ball))
            np.testing.assert_allclose(value, (distances**2).mean(), rtol=1e-5)

    def test_descent_leads_back_to_the_ray(self, ball):
        points = jnp.asarray(ball + 0.3 * np.roll(ball, 1, axis=0))
        slope = jax.grad(tangential_term)(points, ball)
        found = points - len(ball) / 2 * slope
        np.testing.assert_allclose(tangential_term(found, ball), 0, atol=1e-12)


class TestFold:
    def test_a_nose_costs_nothing(self, sphere):
        vertices, topology = sphere
        front = np.exp(-((vertices - [0, 0, -1]) ** 2).sum(-1, keepdims=True) / 0.1)
        nosed = vertices * (1 + 0.3 * front)
        value, slope = jax.value_and_grad(fold_term)(jnp.asarray(nosed), topology)
        assert value == 0
        np.testing.assert_array_equal(slope, 0)

    def test_a_hollow_back_costs_and_descent_fills_it(self, sphere):
        """A mask: the back half lies just behind the front half, the origin behind both."""
        vertices, topology = sphere
        x, y, z = vertices.T
        mask = jnp.asarray(np.stack([x, y, np.where(z > 0, -0.8 * z, z) - 0.5], -1), jnp.float32)
        value, slope = jax.value_and_grad(fold_term)(mask, topology)
        assert value > 0.2
        assert fold_term(mask - 1e-2 * slope / jnp.abs(slope).max(), topology) < value

    def test_it_is_the_mean_of_the_squared_shortfall(self, sphere):
        """Of a turned mesh every face lies 180 degrees off: cos = -1, but for rounding."""
        vertices, topology = sphere
        np.testing.assert_allclose(fold_term(-jnp.asarray(vertices), topology), 1.21, rtol=0.02)

    def test_faces_without_area_have_a_finite_gradient(self, sphere):
        vertices, topology = sphere
        slope = jax.grad(fold_term)(jnp.zeros_like(jnp.asarray(vertices)), topology)
        assert np.isfinite(slope).all()
