"""The camera's conventions: x right, y down, z forward; orbit about the origin."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.render.camera import (
    Camera,
    camera_from_world,
    look_at_camera,
    orbit_camera,
    orthographic_camera,
    project,
    weak_perspective,
)

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


def test_focal_lengths_and_center_are_in_halves_of_the_image_height():
    camera = Camera(np.eye(3), np.zeros(3), np.array([2.0, 3.0]), np.array([0.25, -0.5]))
    x, y, z = np.asarray(project(np.array([[0.4, -0.8, 1.6]]), camera, SIZE)[0])
    assert x == pytest.approx(16 + 12 * (2.0 * 0.4 / 1.6 + 0.25))
    assert y == pytest.approx(12 + 12 * (3.0 * -0.8 / 1.6 - 0.5))
    assert z == pytest.approx(1.6)


def test_pixels_and_depth_are_homogeneous_coordinates_behind_the_camera_too():
    """A line through the camera's plane stays a line: (x z, y z, z) is linear along it."""
    camera = orbit_camera(0.4, 0.2, fov=FOV)
    ends = np.array([[0.3, -0.2, -4.0], [-0.5, 0.6, 3.0]])
    steps = np.linspace(0, 1, 9)[:, None]
    points = (1 - steps) * ends[:1] + steps * ends[1:]
    x, y, z = np.asarray(project(points, camera, SIZE), float).T
    assert (z < -0.5).any() and (z > 0.5).any()
    homogeneous = np.stack([x * z, y * z, z], axis=1)
    between = (1 - steps) * homogeneous[:1] + steps * homogeneous[-1:]
    np.testing.assert_allclose(homogeneous, between, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("depth", "divisor"), [(0.0, 1e-6), (5e-7, 1e-6), (-5e-7, -1e-6)])
def test_depth_on_the_camera_plane_is_kept_from_zero(depth, divisor):
    camera = Camera(np.eye(3), np.zeros(3), np.ones(2), np.zeros(2))
    x, y, z = np.asarray(project(np.array([[1.0, -2.0, depth]]), camera, SIZE)[0], float)
    np.testing.assert_allclose([x, y], [16 + 12 / divisor, 12 - 24 / divisor], rtol=1e-5)
    assert z == pytest.approx(divisor)


def test_looking_at_the_origin_from_an_orbit_is_the_orbiting_camera():
    orbit = orbit_camera(0.7, -0.3, fov=FOV, distance=3.0)
    camera = look_at_camera(position(orbit), fov=FOV)
    for name in ("rotation", "translation", "focal", "center"):
        np.testing.assert_allclose(getattr(camera, name), getattr(orbit, name), atol=1e-6)


def test_target_is_in_the_middle_and_up_is_up():
    eye, target, up = np.array([1.0, 2, 3]), np.array([-0.5, 0.4, 1]), np.array([0.1, 0.2, 2])
    camera = look_at_camera(eye, target, up, fov=FOV)
    x, y, z = np.asarray(project(np.stack([target, target + 0.1 * up]), camera, SIZE)).T
    assert [x[0], y[0], z[0]] == pytest.approx([16, 12, np.linalg.norm(target - eye)], abs=1e-4)
    assert x[1] == pytest.approx(16, abs=1e-4) and y[1] < 11
    assert np.linalg.det(camera.rotation) == pytest.approx(1, abs=1e-5)


def test_orthographic_picture_does_not_depend_on_depth():
    camera = orthographic_camera(0.5, 0.2, scale=0.5, distance=4.0)
    point, forward = np.array([0.3, -0.6, 0.2]), np.asarray(camera.rotation)[2]
    near, far = np.asarray(project(np.stack([point - forward, point + forward]), camera, SIZE))
    np.testing.assert_allclose(near[:2], far[:2], atol=1e-5)
    assert far[2] - near[2] == pytest.approx(2, abs=1e-5)
    right, down, _ = np.asarray(camera.rotation) @ point
    np.testing.assert_allclose(near[:2], [16 + 6 * right, 12 + 6 * down], atol=1e-5)


def test_weak_perspective_agrees_at_the_reference_depth_and_to_first_order_beside_it():
    perspective = orbit_camera(0.3, 0.1, fov=FOV, distance=5.0)
    perspective = dataclasses.replace(perspective, center=jnp.array([0.1, -0.2]))
    weak = weak_perspective(perspective, 5.0)
    right, down, forward = np.asarray(perspective.rotation)
    plane = 0.6 * right - 0.4 * down
    points = np.stack([plane, plane + 0.05 * forward])
    expected, actual = project(points, perspective, SIZE), project(points, weak, SIZE)
    np.testing.assert_allclose(actual[0], expected[0], atol=1e-5)
    off_axis = np.asarray(expected[1, :2]) - [16 + 1.2, 12 - 2.4]
    np.testing.assert_allclose(actual[1, :2] - expected[1, :2], 0.01 * off_axis, atol=1e-3)
    assert actual[1, 2] == pytest.approx(5.05, abs=1e-5)


def test_a_batch_of_cameras_is_mapped_over():
    points = jnp.array([[0.2, 0.1, -0.3], [-0.4, 0.5, 0.6]])
    yaws = jnp.array([0.1, -0.8, 2.0])
    for make in (orbit_camera, orthographic_camera):
        cameras = jax.vmap(make)(yaws)
        together = jax.jit(jax.vmap(lambda camera: project(points, camera, SIZE)))(cameras)
        single = [project(points, make(yaw), SIZE) for yaw in yaws]
        np.testing.assert_allclose(together, jnp.stack(single), rtol=1e-5)


@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_floating_point_type_is_that_of_the_arguments(dtype, float64):
    number = jnp.asarray(0.3, dtype)
    eye = jnp.asarray([1.0, 2.0, 3.0], dtype)
    for camera in (orbit_camera(number), look_at_camera(eye), orthographic_camera(number)):
        assert {leaf.dtype for leaf in jax.tree.leaves(camera)} == {jnp.dtype(dtype)}
        assert project(eye[None], camera, SIZE).dtype == dtype


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: orbit_camera(0.0, fov=3.2), r"fov must lie between 0 and pi.*got 3.2"),
        (lambda: orbit_camera(0.0, distance=-1), r"distance must be positive, got -1"),
        (lambda: look_at_camera((0, 1)), r"eye must have the shape \[3\], got \[2\]"),
        (lambda: orthographic_camera(scale=0.0), r"scale must be positive, got 0.0"),
        (lambda: weak_perspective(orthographic_camera(), 1.0), "camera must be a perspective one"),
        (lambda: weak_perspective(orbit_camera(0.0), 0), "reference_depth must be positive, got 0"),
        (
            lambda: project(np.zeros((2, 4)), orbit_camera(0.0), SIZE),
            r"points must have the shape \[any, 3\], got \[2, 4\]",
        ),
        (
            lambda: project(np.zeros((2, 3)), orbit_camera(0.0), (8, 0)),
            r"image_size must be \(height, width\) > 0 in pixels, got \(8, 0\)",
        ),
        (
            lambda: project(np.zeros((2, 3)), orbit_camera(0.0), (8.0, 8)),
            r"image_size must be .* got \(8.0, 8\)",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_points_behind_the_camera_are_finite_with_finite_gradients():
    points = jnp.array([[0.0, 0, -DISTANCE], [1, 1, -9], [0, 0, -1e30]], jnp.float32)

    def total(points, yaw):
        return jnp.sin(project(points, orbit_camera(yaw, fov=FOV), SIZE)).sum()

    gradients = jax.jit(jax.grad(total, argnums=(0, 1)))(points, 0.2)
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(gradients))


def assert_gradients_are_slopes(function, arguments):
    """Central differences in each of the arguments, an array of numbers, in float64."""
    total = jax.jit(function)
    gradient = jax.jit(jax.grad(function))(arguments)
    assert (np.abs(gradient) > 1e-3).all()
    for i, slope in enumerate(gradient):
        step = 1e-6 * np.eye(len(arguments))[i]
        difference = total(arguments + step) - total(arguments - step)
        np.testing.assert_allclose(slope, difference / 2e-6, rtol=1e-5, atol=1e-6)


WEIGHTS = np.array([[1.0, 0.7, 0.3]])
POINT = np.array([[0.3, -0.2, 0.4]])


def test_gradient_reaches_every_argument(float64):
    def place(arguments):
        yaw, pitch, roll, fov, distance = arguments
        camera = orbit_camera(yaw, pitch, roll, fov=fov, distance=distance)
        return (WEIGHTS * project(POINT, camera, SIZE)).sum()

    assert_gradients_are_slopes(place, np.array([0.3, 0.2, -0.1, FOV, 4.0]))


def test_gradient_reaches_pose_focal_lengths_and_center(float64):
    def place(arguments):
        camera = look_at_camera(arguments[:3], arguments[3:6], arguments[6:9])
        camera = dataclasses.replace(camera, focal=arguments[9:11], center=arguments[11:13])
        pictures = (camera, weak_perspective(camera, arguments[13]))
        return sum((WEIGHTS * project(POINT, camera, SIZE)).sum() for camera in pictures)

    pose = [1.0, -2, -3, 0.1, 0.2, 0.3, 0.2, -1, 0.1]
    assert_gradients_are_slopes(place, np.array([*pose, 2.0, 2.5, 0.1, -0.2, 3.0]))
