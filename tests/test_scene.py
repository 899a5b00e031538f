"""Scenes: the mesh stays closed, and camera, chart and background agree on what moves where."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gan3d.models.layers import pad
from gan3d.render import octahedral_direction
from gan3d.scene import (
    Scene,
    View,
    ViewPrior,
    make_stage,
    render_background,
    render_normals,
    render_scene,
    scene_vertices,
)

SIZE = 32
FOV = math.radians(20.0)
DISTANCE = 1 / math.tan(FOV / 2)
RADIUS = 0.6


@pytest.fixture(scope="module")
def stage():
    return make_stage(SIZE, resolution=32, fov=FOV)


@pytest.fixture(scope="module")
def picture(stage):
    return jax.jit(lambda scene, view: render_scene(scene, view, stage))


def view_at(yaw: float, pitch: float = 0.0) -> View:
    return View(jnp.radians(yaw), jnp.radians(pitch))


def ball(radius: float = RADIUS, texture=None, background: float = -1.0) -> Scene:
    centre = (np.arange(SIZE) + 0.5) / SIZE
    uv = np.stack(np.meshgrid(centre, centre), axis=-1)
    return Scene(
        surface=jnp.asarray(radius * octahedral_direction(uv), jnp.float32),
        texture=jnp.full((SIZE, SIZE, 3), 0.5) if texture is None else jnp.asarray(texture),
        background=jnp.full((12, 12, 3), background),
    )


def pixel_centres(resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """(x right, y down) of the pixels in [-1, 1]."""
    centre = 2 * (np.arange(resolution) + 0.5) / resolution - 1
    return np.meshgrid(centre, centre)


def test_octahedral_stage_is_closed_for_any_surface_map(stage):
    surface = jax.random.normal(jax.random.key(0), (SIZE, SIZE, 3))
    vertices = np.asarray(scene_vertices(surface, stage))
    np.testing.assert_array_equal(vertices, vertices[stage.topology.weld])
    assert (stage.topology.neighbors >= 0).all()


def test_vertices_are_means_of_the_four_pixels_around_them(stage):
    surface = np.asarray(jax.random.normal(jax.random.key(1), (SIZE, SIZE, 3)))
    grid = np.asarray(scene_vertices(surface, stage)).reshape(SIZE + 1, SIZE + 1, 3)
    inner = (surface[:-1, :-1] + surface[1:, :-1] + surface[:-1, 1:] + surface[1:, 1:]) / 4
    np.testing.assert_allclose(grid[1:-1, 1:-1], inner, atol=1e-6)
    # On the border the pixels beyond the fold take part, as in the networks' padding.
    folded = np.asarray(pad(jnp.asarray(surface), 1, "octahedral"))
    around = (folded[:-1, :-1] + folded[1:, :-1] + folded[:-1, 1:] + folded[1:, 1:]) / 4
    np.testing.assert_allclose(grid, around, atol=1e-6)


class TestBackground:
    """A 12 x 12 background behind an 8 x 8 view: whole pixels of slack, so crops are exact."""

    PRIOR = ViewPrior(math.radians(60.0), math.radians(20.0))

    def crop(self, yaw: float, pitch: float) -> np.ndarray:
        stage = make_stage(4, resolution=8, fov=FOV, prior=self.PRIOR)
        return np.asarray(render_background(self.background(), view_at(yaw, pitch), stage))

    def background(self):
        return jax.random.uniform(jax.random.key(2), (12, 12, 3), minval=-1.0)

    @pytest.mark.parametrize(
        "yaw, pitch, row, column",
        [
            (0, 0, 2, 2),
            (60, 0, 2, 0),  # from +x the camera looks towards -x: the crop moves left
            (-60, 0, 2, 4),
            (30, 0, 2, 1),
            (0, 20, 4, 2),  # from above it looks down: the crop moves down
            (0, -20, 0, 2),
            (-60, -20, 0, 4),
            (90, 25, 4, 0),  # outside the prior's range it stays at the limit
        ],
    )
    def test_the_view_is_a_crop_that_pans_over_the_full_extent(self, yaw, pitch, row, column):
        expected = self.background()[row : row + 8, column : column + 8]
        np.testing.assert_allclose(self.crop(yaw, pitch), expected, atol=2e-6)

    def test_a_range_of_zero_leaves_the_background_still(self):
        stage = make_stage(4, resolution=8, fov=FOV, prior=ViewPrior(0.0, 0.0))
        still = render_background(self.background(), view_at(0, 0), stage)
        np.testing.assert_allclose(still, self.background()[2:10, 2:10], atol=2e-6)

    def test_the_object_does_not_move_it(self, stage, picture):
        scene, view = ball(), view_at(20, 5)
        scene = scene._replace(background=self.background())
        expected = np.asarray(render_background(scene.background, view, stage))
        for radius in (0.3, 0.7):
            image, alpha, *_ = picture(scene._replace(surface=ball(radius).surface), view)
            outside = np.asarray(alpha) == 0
            assert 0 < outside.sum() < outside.size
            np.testing.assert_allclose(np.asarray(image)[outside], expected[outside], atol=1e-6)


def test_depth_is_that_of_the_ball_and_the_orbits_distance_beside_it(picture):
    result = picture(ball(), view_at(30, 10))
    depth, alpha = np.asarray(result.depth), np.asarray(result.alpha)
    np.testing.assert_allclose(depth[alpha == 0], DISTANCE, rtol=1e-6)
    x, y = pixel_centres(32)
    # The ray s (x, y, DISTANCE) through a pixel against the ball around (0, 0, DISTANCE).
    square = x**2 + y**2 + DISTANCE**2
    inside = np.maximum(DISTANCE**4 - square * (DISTANCE**2 - RADIUS**2), 0)
    expected = DISTANCE * (DISTANCE**2 - np.sqrt(inside)) / square
    middle = np.hypot(x, y) < 0.8 * RADIUS
    assert (alpha[middle] == 1).all()
    np.testing.assert_allclose(depth[middle], expected[middle], atol=0.02)


FRONT, RIGHT, LEFT, BELOW = (0.5, 0.5), (0.75, 0.5), (0.25, 0.5), (0.5, 0.75)


@pytest.mark.parametrize(
    "uv, yaw, pitch, across, up",
    [
        (FRONT, 0, 0, 0, 0),
        (FRONT, 45, 0, -45, 0),  # the camera went to the right: the front is on its left
        (FRONT, -45, 0, 45, 0),
        (FRONT, 0, 15, 0, -15),  # the camera went up: the front is below
        (FRONT, 0, -45, 0, 45),
        (RIGHT, 0, 0, 45, 0),
        (RIGHT, 45, 0, 0, 0),
        (RIGHT, 65, 0, -20, 0),
        (LEFT, -45, 0, 0, 0),
        (LEFT, -20, 0, -25, 0),
        (BELOW, 0, 0, 0, -45),
        (BELOW, 0, -45, 0, 0),
    ],
)
def test_a_painted_point_appears_where_the_camera_sees_it(picture, uv, yaw, pitch, across, up):
    """`across` (right) and `up` are its degrees from the point of the ball nearest the camera."""
    centre = (np.arange(64) + 0.5) / 64
    texels = octahedral_direction(np.stack(np.meshgrid(centre, centre), axis=-1))
    # Round on the ball: the chart bends at u = v.
    spot = np.exp((texels @ octahedral_direction(np.array(uv)) - 1) / 0.1**2)
    scene = ball(texture=np.repeat(2 * spot[..., None] - 1, 3, axis=-1).astype(np.float32))
    light = (np.asarray(picture(scene, view_at(yaw, pitch)).image)[..., 0] + 1) / 2
    x, y = pixel_centres(32)
    seen = np.array([(light * x).sum(), (light * y).sum()]) / light.sum()
    across, up = np.radians([across, up])
    scale = DISTANCE * RADIUS / (DISTANCE - RADIUS * np.cos(across + up))
    expected = np.array([scale * np.sin(across), -scale * np.sin(up)])
    # Two fifths of a pixel: a spot of finite size is foreshortened unevenly.
    np.testing.assert_allclose(seen, expected, atol=0.8 / 32)


@pytest.mark.parametrize("yaw, pitch", [(0, 0), (70, -10)])
def test_normals_are_blue_in_the_middle_red_at_the_right_green_at_the_top(stage, yaw, pitch):
    draw = jax.jit(lambda scene, view: render_normals(scene, stage.camera(view), stage))
    image = np.asarray(draw(ball(), view_at(yaw, pitch)))
    x, y = pixel_centres(32)
    # Of a ball seen in parallel; perspective accounts for most of the tolerance.
    expected = np.stack([x / RADIUS, -y / RADIUS], axis=-1)
    expected = np.concatenate(
        [expected, np.sqrt(np.maximum(1 - (expected**2).sum(-1, keepdims=True), 0))], axis=-1
    )
    inside = np.hypot(x, y) < 0.85 * RADIUS
    np.testing.assert_allclose(image[inside], expected[inside], atol=0.12)
    np.testing.assert_array_equal(image[np.hypot(x, y) > RADIUS + 0.15], 0)
    row, column = 16, 16 + int(0.85 * RADIUS * 16)
    assert image[row, 16].argmax() == 2 and image[row, 16, 2] > 0.98
    assert image[row, column].argmax() == 0
    assert image[31 - column, row].argmax() == 1


def test_viewpoints_are_uniform_within_the_ranges_and_independent():
    num = 20_000
    prior = ViewPrior(1.5, 0.25)
    view = jax.tree.map(np.asarray, prior.sample(jax.random.key(3), (num,)))
    expected = (np.arange(num) + 0.5) / num
    for angle, extent in ((view.yaw, 1.5), (view.pitch, 0.25)):
        assert angle.shape == (num,) and np.abs(angle).max() <= extent
        # Kolmogorov-Smirnov at the 0.1% level.
        assert np.abs(np.sort(angle / extent / 2 + 0.5) - expected).max() < 1.95 / num**0.5
    for a, b in ((view.yaw, view.pitch), (abs(view.yaw), abs(view.pitch))):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / num**0.5
    assert prior.sample(jax.random.key(3)).yaw.shape == ()


def test_gaussian_viewpoints_end_at_two_standard_deviations():
    quantiles = np.tile(np.linspace(-1, 1, 2001, dtype=np.float32), (2, 1))
    view = ViewPrior(1.5, 0.25, "gaussian").place(jnp.asarray(quantiles))
    expected = scipy.stats.truncnorm.ppf((quantiles[0] + 1) / 2, -2, 2) / 2
    for angle, extent in ((view.yaw, 1.5), (view.pitch, 0.25)):
        np.testing.assert_allclose(angle, extent * expected, atol=1e-4)


class TestSilhouetteGradient:
    """Of a ball of one colour before a background of another: only its outline can matter."""

    def gradient(self, margin_pixels: float) -> np.ndarray:
        stage = make_stage(SIZE, resolution=32, fov=FOV, margin_pixels=margin_pixels)
        scene = ball(background=-0.5)

        def brightness(surface):
            return render_scene(scene._replace(surface=surface), view_at(0), stage).image.sum() / 3

        return np.asarray(jax.jit(jax.grad(brightness))(scene.surface))

    def test_with_a_margin_it_is_that_of_the_covered_area(self):
        gradient, surface = self.gradient(1.0), np.asarray(ball().surface)
        # With the margin, alpha sums to the integral of 2 pi R dR over R up to the outline,
        # and half a pixel's ring more: growing by dR adds 2 pi (R + 1/2) dR pixels.
        radius = 16 * DISTANCE * RADIUS / math.sqrt(DISTANCE**2 - RADIUS**2)
        grown = radius * 2 * math.pi * (radius + 0.5)
        np.testing.assert_allclose((gradient * surface).sum(), grown, rtol=0.04)

    def test_with_a_margin_it_lives_on_the_outline(self):
        gradient, surface = self.gradient(1.0), np.asarray(ball().surface)
        strength = np.linalg.norm(gradient, axis=-1)
        assert strength.max() > 0.1
        # The outline lies a little before the equator z = 0; a vertex spreads over four pixels.
        assert np.abs(surface[strength > 0][:, 2]).max() < 0.45 * RADIUS

    def test_the_crisp_renderer_has_none(self):
        np.testing.assert_array_equal(self.gradient(0.0), 0)
