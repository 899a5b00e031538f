"""The camera's conventions: x right, y down, z forward; orbit about the origin."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.render import camera_from_world, orbit_camera, project

FOV = 0.7
DISTANCE = 1 / np.tan(FOV / 2)
SIZE = (24, 32)


def position(camera):
    """Where the camera stands, in the world."""
    return -camera.rotation.T @ camera.translation


def see(point, **angles):
    """(x, y, depth) of a world point from a camera at these angles."""
    camera = orbit_camera(angles.pop("yaw", 0.0), fov=FOV, **angles)
    return np.asarray(project(jnp.asarray([point], float), camera, SIZE)[0])


def test_origin_is_at_the_centre_at_the_default_distance():
    np.testing.assert_allclose(see([0, 0, 0], yaw=0.4, pitch=0.3), [16, 12, DISTANCE], rtol=1e-5)


@pytest.mark.parametrize(
    ("point", "pixel"),
    [
        ([-32 / 24, -1, 0], [0, 0]),
        ([32 / 24, -1, 0], [32, 0]),
        ([-32 / 24, 1, 0], [0, 24]),
        ([32 / 24, 1, 0], [32, 24]),
        # The centre of the first pixel is half a pixel from the border.
        ([-31 / 24, -23 / 24, 0], [0.5, 0.5]),
    ],
)
def test_borders_of_the_image_are_one_unit_from_its_centre(point, pixel):
    np.testing.assert_allclose(see(point)[:2], pixel, atol=1e-4)


def test_nearer_things_are_larger():
    near, far = see([0.5, 0, -1]), see([0.5, 0, 1])
    assert near[0] > far[0] > 16
    assert near[2] < far[2]


def test_camera_starts_before_the_object_looking_forward():
    camera = orbit_camera(0.0, fov=FOV)
    np.testing.assert_allclose(position(camera), [0, 0, -DISTANCE], atol=1e-6)
    np.testing.assert_allclose(camera.rotation, np.eye(3), atol=1e-7)


def test_positive_yaw_moves_the_camera_to_the_right():
    assert position(orbit_camera(0.3, fov=FOV))[0] > 0.5
    assert see([1, 0, 0], yaw=0.3)[2] < DISTANCE  # its +x side comes nearer
    assert see([0, 0, -1], yaw=0.3)[0] < 16  # and its front turns to the left
    np.testing.assert_allclose(
        position(orbit_camera(np.pi / 2, fov=FOV)), [DISTANCE, 0, 0], atol=1e-5
    )


def test_positive_pitch_moves_the_camera_up():
    assert position(orbit_camera(0.0, pitch=0.3, fov=FOV))[1] < -0.5
    assert see([0, -1, 0], pitch=0.3)[2] < DISTANCE
    assert see([0, 0, -1], pitch=0.3)[1] > 12


def test_pitch_is_the_elevation_at_every_yaw():
    height = position(orbit_camera(2.1, pitch=0.3, fov=FOV))[1]
    np.testing.assert_allclose(height, -DISTANCE * np.sin(0.3), rtol=1e-5)


def test_positive_roll_turns_the_picture_clockwise():
    x, y, _ = see([0, -1, 0], roll=0.3)
    assert x > 16 and y < 12


def test_rotation_is_proper_and_keeps_the_distance():
    camera = orbit_camera(1.1, pitch=-0.4, roll=0.7, fov=FOV, distance=5.0)
    np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(camera.rotation) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(position(camera)) == pytest.approx(5, abs=1e-5)
    in_camera = camera_from_world(position(camera)[None], camera)
    np.testing.assert_allclose(in_camera, np.zeros((1, 3)), atol=1e-5)


def test_unit_sphere_fits_the_picture_at_any_field_of_view():
    for fov in (0.05, 0.5, 1.2):
        _, y, _ = np.asarray(
            project(jnp.asarray([[0.0, 1.0, 0.0]]), orbit_camera(0.0, fov=fov), SIZE)[0]
        )
        assert y == pytest.approx(24, abs=1e-3)


def test_points_behind_the_camera_are_finite_with_finite_gradients():
    points = jnp.array([[0.0, 0, -DISTANCE], [1, 1, -9], [0, 0, -1e30]], jnp.float32)

    def total(points, yaw):
        return jnp.sin(project(points, orbit_camera(yaw, fov=FOV), SIZE)).sum()

    gradients = jax.jit(jax.grad(total, argnums=(0, 1)))(points, 0.2)
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(gradients))


def test_gradient_reaches_every_argument(float64):
    def place(yaw, pitch, roll, fov, distance):
        camera = orbit_camera(yaw, pitch, roll, fov=fov, distance=distance)
        return project(jnp.array([[0.3, -0.2, 0.4]]), camera, SIZE).sum()

    arguments = (0.3, 0.2, -0.1, FOV, 4.0)
    slopes = jax.jit(jax.grad(place, argnums=range(5)))(*arguments)
    total = jax.jit(place)
    for i, slope in enumerate(slopes):
        step = 1e-6 * np.eye(5)[i]
        up, down = total(*(arguments + step)), total(*(arguments - step))
        np.testing.assert_allclose(slope, (up - down) / 2e-6, rtol=1e-5)
