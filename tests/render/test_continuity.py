"""What the margin is for: pictures that are continuous in the vertices, gradients at boundaries."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from render_scenes import (
    IMAGE_SIZE,
    compile_quickly,
    smooth_noise,
    two_copies,
)

from gan3d.render import (
    Camera,
    Topology,
    make_topology,
    orbit_camera,
    project,
    rasterize,
    render,
    sphere_mesh,
)

NUM_STEPS = 200
CAMERA = dict(yaw=0.3, pitch=0.15, fov=np.radians(45.0))


def two_balls(camera: Camera, to_the_right: float) -> tuple[np.ndarray, np.ndarray, Topology]:
    """A small ball before a large one: vertices, which of them are the small one's, topology."""
    ball, topology = sphere_mesh(9)
    right, _, forward = np.asarray(camera.rotation)
    front = 0.3 * ball - 0.75 * forward + to_the_right * right
    back = 0.7 * ball[:, [1, 2, 0]] + 0.1 * forward
    is_front = np.arange(2 * len(ball)) < len(ball)
    return np.concatenate([front, back]), is_front, two_copies(topology)


def steps_of_film(to_the_right: float, margin_pixels: float) -> np.ndarray:
    """The small ball moves by two pixels in 200 steps: changes [200, H, W, RGBA] of the picture."""
    camera = orbit_camera(**CAMERA)
    vertices, is_front, topology = two_balls(camera, to_the_right)
    depth = float(camera.translation[2]) - 0.75
    pixel = depth / (float(camera.focal[0]) * IMAGE_SIZE[0] / 2)
    direction = np.array([0.8, 0.6, 0.0]) @ np.asarray(camera.rotation)
    path = np.linspace(-pixel, pixel, NUM_STEPS + 1)[:, None] * direction
    texture = 0.5 * smooth_noise(2, 16, 8, 3)
    background = 0.5 * smooth_noise(3, *IMAGE_SIZE, 3)

    @compile_quickly
    def film(offsets):
        def frame(offset):
            moved = vertices + is_front[:, None] * offset[None, :]
            rendering = render(
                moved, topology, texture, camera, IMAGE_SIZE, background, margin_pixels
            )
            return jnp.concatenate([rendering.color, rendering.alpha[..., None]], axis=-1)

        return jax.vmap(frame)(offsets)

    return np.diff(film(path), axis=0)


def largest_over_mean(steps: np.ndarray, order: int) -> float:
    lengths = (np.abs(steps) ** order).sum(axis=(1, 2, 3)) ** (1 / order)
    return lengths.max() / lengths.mean()


# Before the middle of the large ball, and across its boundary: there the silhouettes cross.
SHIFTS = (0.0, 0.42)


@pytest.mark.parametrize("to_the_right", SHIFTS)
def test_soft_picture_is_continuous_at_self_occlusions(to_the_right, float64):
    steps = steps_of_film(to_the_right, margin_pixels=1.0)
    assert largest_over_mean(steps, order=1) < 2
    assert largest_over_mean(steps, order=2) < 5
    # A step is a hundredth of a pixel: no value changes by more than a small part of its range.
    assert np.abs(steps).max() < 0.15


@pytest.mark.parametrize("to_the_right", SHIFTS)
def test_crisp_picture_jumps(to_the_right, float64):
    steps = steps_of_film(to_the_right, margin_pixels=0.0)
    assert largest_over_mean(steps, order=1) > 5
    assert largest_over_mean(steps, order=2) > 5
    assert np.abs(steps).max() > 0.5


def coverage(scale, centre, margin_pixels):
    """Sum of the opacity of a ball; its radius on the screen in pixels is 20 scale."""
    vertices, topology = sphere_mesh(33)
    size = (48, 48)
    camera = orbit_camera(0.0, fov=np.radians(1.0))
    points = project(vertices * (20 / 24 * scale), camera, size)
    points = points.at[:, :2].add(centre[None, :])
    fragments = rasterize(points, topology, size, margin_pixels)
    margin, surface = fragments.alpha
    return (margin + (1 - margin) * surface).sum()


def test_coverage_grows_like_the_area(float64):
    """A disc of radius R with margin m has opacity pi R^2 + pi R m (and a term in m^2 alone)."""
    radius, margin = 20.0, 1.0
    centres = np.random.default_rng(0).uniform(-1, 1, (8, 2))
    slope = compile_quickly(
        jax.vmap(jax.grad(lambda scale, centre: coverage(scale, centre, margin)), (None, 0))
    )(1.0, centres)
    expected = 2 * np.pi * radius**2 + np.pi * radius * margin
    np.testing.assert_allclose(slope.mean(), expected, rtol=0.02)


def test_crisp_coverage_has_no_gradient(float64):
    slope = compile_quickly(jax.grad(lambda scale: coverage(scale, np.zeros(2), 0.0)))(1.0)
    assert slope == 0


def test_alpha_falls_linearly_outside_an_edge(float64):
    """A half-plane whose border is the column x = 4.3."""
    vertices = np.array([[4.3, -90.0, 2.0], [-90.0, 3.0, 2.0], [4.3, 90.0, 2.0]])
    topology = make_topology(np.array([[0, 1, 2]]))
    draw = compile_quickly(lambda points: rasterize(points, topology, (3, 9), 2.0).alpha)
    margin, surface = draw(vertices)
    np.testing.assert_array_equal(surface[1], [1, 1, 1, 1, 0, 0, 0, 0, 0])
    expected = [0, 0, 0, 0, 1 - 0.2 / 2, 1 - 1.2 / 2, 0, 0, 0]
    np.testing.assert_allclose(margin[1], expected, atol=1e-12)
