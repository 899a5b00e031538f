"""Converted cameras against each convention's own formulas, at the corners of the picture."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from gan3d.render.camera import orthographic_camera, project
from gan3d.render.camera_formats import (
    camera_from_colmap,
    camera_from_intrinsics,
    camera_from_opengl,
    camera_from_pytorch3d,
    cameras_from_transforms,
    intrinsics,
)

SIZE = HEIGHT, WIDTH = (24, 40)
# The corners of the picture, the centre of its first pixel, a point of its inside: (x, y).
PIXELS = np.array([[0, 0], [40, 0], [0, 24], [40, 24], [0.5, 0.5], [13, 17]], float)
DEPTHS = np.array([2.0, 3, 2.5, 4, 5, 1.5])
ROTATION = Rotation.from_euler("xyz", [0.3, -1.1, 2.0])
POSITION = np.array([0.7, -0.4, 1.2])
MATRIX = np.array([[30.0, 0, 18], [0, 26, 13], [0, 0, 1]])


def assert_sees(camera, points, pixels=PIXELS, depths=DEPTHS, size=SIZE):
    """World points appear at these pixels, at these depths."""
    expected = np.concatenate([pixels, depths[:, None]], axis=1)
    np.testing.assert_allclose(project(jnp.asarray(points), camera, size), expected, atol=2e-4)
    assert np.linalg.det(camera.rotation) == pytest.approx(1, abs=1e-5)


def opengl_rays(pose, fl_x, fl_y, cx, cy):
    """World points at DEPTHS on the rays of PIXELS: x right, y up, the camera looks along -z."""
    x, y = (PIXELS - [cx, cy]).T
    directions = np.stack([x / fl_x, -y / fl_y, -np.ones_like(x)], axis=1)
    return DEPTHS[:, None] * directions @ pose[:3, :3].T + pose[:3, 3]


def opengl_pose() -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = ROTATION.as_matrix(), POSITION
    return pose


def test_intrinsics_matrix_maps_the_camera_frame_to_pixels():
    homogeneous = DEPTHS[:, None] * np.concatenate([PIXELS, np.ones((6, 1))], axis=1)
    in_camera = homogeneous @ np.linalg.inv(MATRIX).T
    points = (in_camera - POSITION) @ ROTATION.as_matrix()
    camera = camera_from_intrinsics(MATRIX, ROTATION.as_matrix(), POSITION, SIZE)
    assert_sees(camera, points)
    np.testing.assert_allclose(intrinsics(camera, SIZE), MATRIX, rtol=1e-6)


def test_intrinsics_of_an_orthographic_camera_are_pixels_per_world_unit():
    points = np.concatenate([(PIXELS - [18, 13]) / [30, 26], DEPTHS[:, None]], axis=1)
    camera = camera_from_intrinsics(MATRIX, np.eye(3), np.zeros(3), SIZE, orthographic=True)
    assert_sees(camera, points)
    np.testing.assert_allclose(intrinsics(camera, SIZE), MATRIX, rtol=1e-6)
    matrix = intrinsics(orthographic_camera(scale=0.5), SIZE)
    np.testing.assert_allclose(matrix, [[6, 0, 20], [0, 6, 12], [0, 0, 1]])


@pytest.mark.parametrize("rows", (3, 4))
def test_opengl_camera_looks_backwards_along_its_z_axis(rows):
    pose = opengl_pose()
    camera = camera_from_opengl(pose[:rows], MATRIX, SIZE)
    assert_sees(camera, opengl_rays(pose, 30, 26, 18, 13))


def transforms(**entries) -> dict:
    frames = [
        {"file_path": "a.png", "transform_matrix": opengl_pose().tolist()},
        {"file_path": "b.png", "transform_matrix": np.eye(4).tolist()},
    ]
    return {"frames": frames, **entries}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (dict(w=40, h=24, fl_x=30.0, fl_y=26.0, cx=18.0, cy=13.0), (30, 26, 18, 13)),
        (dict(w=40, h=24, fl_x=30.0), (30, 30, 20, 12)),
        # A file of larger pictures, shrunk; and stretched by two to one.
        (dict(w=80.0, h=48.0, fl_x=60.0, fl_y=52.0, cx=36.0, cy=26.0), (30, 26, 18, 13)),
        (dict(w=40, h=48, fl_x=30.0, fl_y=52.0, cx=18.0, cy=26.0), (30, 26, 18, 13)),
        # The full angle whose half has the tangent 2 / 3.
        (dict(camera_angle_x=2 * np.arctan(2 / 3)), (30, 30, 20, 12)),
        (dict(w=20, h=24, camera_angle_x=2 * np.arctan(2 / 3)), (30, 15, 20, 12)),
        (
            dict(camera_angle_x=2 * np.arctan(2 / 3), camera_angle_y=2 * np.arctan(0.5)),
            (30, 24, 20, 12),
        ),
        (dict(w=40, h=24, fl_x=30.0, camera_model="OPENCV", k1=0.0, p2=0), (30, 30, 20, 12)),
    ],
)
def test_transforms_file(entries, expected):
    (first, second), paths = cameras_from_transforms(transforms(**entries), SIZE)
    assert paths == ["a.png", "b.png"]
    assert_sees(first, opengl_rays(opengl_pose(), *expected))
    assert_sees(second, opengl_rays(np.eye(4), *expected))


def test_entries_of_a_frame_go_before_those_of_the_file():
    file = transforms(w=40, h=24, fl_x=30.0)
    file["frames"][1]["fl_x"] = 50.0
    (first, second), _ = cameras_from_transforms(file, SIZE)
    assert intrinsics(first, SIZE)[0, 0] == pytest.approx(30)
    assert intrinsics(second, SIZE)[0, 0] == pytest.approx(50)


@pytest.mark.parametrize("size", (SIZE, SIZE[::-1]))
@pytest.mark.parametrize("orthographic", (False, True))
@pytest.mark.parametrize(("focal", "center"), [(1.7, (0.0, 0.0)), ((1.7, 2.1), (0.2, -0.1))])
def test_pytorch3d_has_row_vectors_and_ndc_on_the_shorter_side(size, orthographic, focal, center):
    height, width = size
    R, T = ROTATION.as_matrix(), POSITION
    # NDC of the pixels: +1 is at the left and at the top, one unit is half of the shorter side.
    pixels = PIXELS if size == SIZE else PIXELS[:, ::-1]
    ndc = -(pixels - [width / 2, height / 2]) / (min(height, width) / 2)
    view = (ndc - center) / focal * (1 if orthographic else DEPTHS[:, None])
    view = np.concatenate([view, DEPTHS[:, None]], axis=1)
    camera = camera_from_pytorch3d(R, T, focal, center, size, orthographic=orthographic)
    assert_sees(camera, (view - T) @ R.T, pixels, size=size)


@pytest.mark.parametrize(
    ("model", "params"),
    [("PINHOLE", (30.0, 26.0, 18.0, 13.0)), ("SIMPLE_PINHOLE", (30.0, 18.0, 13.0))],
)
def test_colmap_quaternion_has_its_real_part_first(model, params):
    x, y, z, w = 1.7 * ROTATION.as_quat()
    camera = camera_from_colmap((w, x, y, z), POSITION, model, params, SIZE)
    fx, fy = params[0], params[-3]
    directions = np.concatenate([(PIXELS - [18, 13]) / [fx, fy], np.ones((6, 1))], axis=1)
    in_camera = DEPTHS[:, None] * directions
    assert_sees(camera, ROTATION.inv().apply(in_camera - POSITION))


# Of 21 numbers the first nine are an intrinsics matrix.
FOCAL, CENTER = np.array([0, 4]), np.array([2, 5])
CALLS = {
    "intrinsics": lambda a: camera_from_intrinsics(
        a[:9].reshape(3, 3), a[9:18].reshape(3, 3), a[18:21], SIZE
    ),
    "opengl": lambda a: camera_from_opengl(a[9:21].reshape(3, 4), a[:9].reshape(3, 3), SIZE),
    "pytorch3d": lambda a: camera_from_pytorch3d(
        a[9:18].reshape(3, 3), a[18:21], a[FOCAL], a[CENTER], SIZE
    ),
    "colmap": lambda a: camera_from_colmap(
        a[9:13], a[18:21], "PINHOLE", jnp.concatenate([a[FOCAL], a[CENTER]]), SIZE
    ),
}


@pytest.mark.parametrize("convention", CALLS)
def test_gradient_reaches_pose_and_intrinsics(convention, float64):
    weights = np.array([[1.0, 0.7, 0.3]])

    def place(numbers):
        pixel = project(np.array([[0.3, -0.2, 0.4]]), CALLS[convention](numbers), SIZE)
        return (weights * pixel).sum()

    pose = np.concatenate([ROTATION.as_matrix(), POSITION[:, None]], axis=1).reshape(-1)
    numbers = np.concatenate([MATRIX.reshape(-1), pose])
    gradient, total = jax.jit(jax.grad(place))(numbers), jax.jit(place)
    steps = 1e-6 * np.eye(len(numbers))
    slopes = [(total(numbers + step) - total(numbers - step)) / 2e-6 for step in steps]
    np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-6)
    expected = dict(intrinsics=16, opengl=16, pytorch3d=16, colmap=11)
    assert (np.abs(gradient) > 1e-6).sum() == expected[convention]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (dict(frames=[]), "transforms must have frames"),
        (dict(frames=[{"file_path": "a"}]), "frame 0 must have file_path and transform_matrix"),
        (dict(), "must have fl_x or camera_angle_x"),
        (dict(fl_x=30.0), "must have w and h beside fl_x"),
        (dict(camera_angle_x=1.0, k1=0.1), r"without distortion .*\['k1'\]"),
        (dict(camera_angle_x=1.0, camera_model="OPENCV_FISHEYE"), "OPENCV_FISHEYE"),
    ],
)
def test_bad_transforms_are_explained(entries, message):
    with pytest.raises(ValueError, match=message):
        cameras_from_transforms(transforms() | entries, SIZE)


@pytest.mark.parametrize("pose", [2 * np.eye(4), np.diag([1, 1, -1, 1]), np.eye(3)])
def test_transform_that_is_no_pose_is_refused(pose):
    file = transforms(camera_angle_x=1.0)
    file["frames"][1]["transform_matrix"] = pose.tolist()
    with pytest.raises(ValueError, match="frame 1 must be a rotation and a position"):
        cameras_from_transforms(file, SIZE)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: camera_from_intrinsics(np.eye(4), np.eye(3), np.zeros(3), SIZE), "matrix"),
        (lambda: camera_from_intrinsics(np.eye(3), np.eye(3), np.zeros((1, 3)), SIZE), "transla"),
        (lambda: camera_from_opengl(np.eye(3), np.eye(3), SIZE), "world_from_camera must have"),
        (lambda: camera_from_pytorch3d(np.eye(3), np.zeros(3), 1.0, 0.0, SIZE), "principal_point"),
        (lambda: camera_from_colmap((1, 0, 0), (0, 0, 0), "PINHOLE", (1,) * 4, SIZE), "qvec"),
        (lambda: camera_from_colmap((1, 0, 0, 0), (0, 0, 0), "PINHOLE", (1,) * 3, SIZE), "params"),
        (lambda: camera_from_colmap((1, 0, 0, 0), (0, 0, 0), "OPENCV", (1,) * 4, SIZE), "OPENCV"),
        (lambda: camera_from_intrinsics(MATRIX, np.eye(3), np.zeros(3), (0, 4)), "image_size"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
