"""Cameras from other conventions: pixel calibrations, OpenGL and NeRF, PyTorch3D, COLMAP.

Only the camera's own axes are converted, to x right, y down, z forward. The *world* axes stay those
of the file: where it has z up, vertices fitted to its cameras have z up too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from gan3d.render.camera import Camera, check_image_size, check_shape, precise_product, to_floats

if TYPE_CHECKING:
    from jaxtyping import Array, Float

# What our axes are in theirs. OpenGL: y up, z backward. PyTorch3D: x left, y up.
FLIP_OPENGL = np.array([1.0, -1.0, -1.0], np.float32)
FLIP_PYTORCH3D = np.array([-1.0, -1.0, 1.0], np.float32)

# Models of transforms.json that are pinholes where their distortion is zero.
TRANSFORMS_MODELS = "PERSPECTIVE PINHOLE SIMPLE_PINHOLE SIMPLE_RADIAL RADIAL OPENCV".split()
DISTORTIONS = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")


def camera_from_intrinsics(
    matrix: Float[Array, "3 3"],
    rotation: Float[Array, "3 3"],
    translation: Float[Array, "3"],
    image_size: tuple[int, int],
    *,
    orthographic: bool = False,
) -> Camera:
    """A camera from its calibration in pixels.

    Args:
      matrix: [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels; other entries are not looked at (no
        skew). (cx, cy) is measured from the picture's upper left *corner*: where a calibration
        puts pixel centres at whole numbers, as OpenCV's does, add 0.5 to cx and cy.
      rotation: camera_from_world rotation, camera axes x right, y down, z forward.
      translation: camera_from_world translation, world units.
      image_size: (height, width) in pixels of the calibrated picture.
      orthographic: parallel rays; fx and fy are pixels per world unit then.

    Returns:
      The camera. Differentiable in matrix, rotation and translation.

    Raises:
      ValueError: an argument has the wrong shape, or image_size is not positive.

    >>> matrix = jnp.array([[20.0, 0.0, 16.0], [0.0, 20.0, 10.0], [0.0, 0.0, 1.0]])
    >>> camera = camera_from_intrinsics(matrix, jnp.eye(3), jnp.zeros(3), (16, 32))
    >>> print(camera.focal, camera.center)
    [2.5 2.5] [0.   0.25]
    """
    height, width = check_image_size(image_size)
    matrix, rotation, translation = to_floats(matrix, rotation, translation)
    check_shape("matrix", matrix, (3, 3))
    check_shape("rotation", rotation, (3, 3))
    check_shape("translation", translation, (3,))
    focal = jnp.stack([matrix[0, 0], matrix[1, 1]]) * (2 / height)
    center = jnp.stack([matrix[0, 2] - width / 2, matrix[1, 2] - height / 2]) * (2 / height)
    return Camera(rotation, translation, focal, center, orthographic)


def intrinsics(camera: Camera, image_size: tuple[int, int]) -> Float[Array, "3 3"]:
    """The intrinsics matrix in pixels, inverse of `camera_from_intrinsics`.

    Args:
      camera: the camera; for an orthographic one fx and fy are pixels per world unit.
      image_size: (height, width) in pixels.

    Returns:
      [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], pixel centres at half-integers. Differentiable.

    Raises:
      ValueError: image_size is not positive.

    >>> camera = Camera(jnp.eye(3), jnp.zeros(3), jnp.array([2.0, 2.0]), jnp.zeros(2))
    >>> print(intrinsics(camera, (16, 32)).tolist())
    [[16.0, 0.0, 16.0], [0.0, 16.0, 8.0], [0.0, 0.0, 1.0]]
    """
    height, width = check_image_size(image_size)
    (fx, fy), (cx, cy) = jnp.asarray(camera.focal), jnp.asarray(camera.center)
    half = height / 2
    return _intrinsics_matrix(fx * half, fy * half, cx * half + width / 2, cy * half + half)


def camera_from_opengl(
    world_from_camera: Float[Array, "4 4"],
    matrix: Float[Array, "3 3"],
    image_size: tuple[int, int],
) -> Camera:
    """A camera from its pose in OpenGL's axes, as Blender and NeRF data have it.

    Args:
      world_from_camera: its columns are the camera's axes x right, y up, z *backward*, and its
        position; a [3, 4] matrix will do as well.
      matrix: intrinsics in pixels as for `camera_from_intrinsics`, y down from the upper left
        corner: the axes of the picture are not OpenGL's.
      image_size: (height, width) in pixels of the calibrated picture.

    Returns:
      The camera, in the world axes of the pose. Differentiable in both matrices.

    Raises:
      ValueError: an argument has the wrong shape, or image_size is not positive.

    >>> pose = jnp.eye(4).at[2, 3].set(5.0)  # on the z axis, looking along -z
    >>> matrix = jnp.array([[8.0, 0.0, 8.0], [0.0, 8.0, 8.0], [0.0, 0.0, 1.0]])
    >>> camera = camera_from_opengl(pose, matrix, (16, 16))
    >>> print(camera.rotation.diagonal(), camera.translation + 0.0)
    [ 1. -1. -1.] [0. 0. 5.]
    """
    world_from_camera, matrix = to_floats(world_from_camera, matrix)
    if world_from_camera.shape != (3, 4):
        check_shape("world_from_camera", world_from_camera, (4, 4))
    rotation = FLIP_OPENGL[:, None] * world_from_camera[:3, :3].T
    translation = -precise_product(rotation, world_from_camera[:3, 3])
    return camera_from_intrinsics(matrix, rotation, translation, image_size)


def cameras_from_transforms(
    transforms: dict, image_size: tuple[int, int]
) -> tuple[list[Camera], list[str]]:
    """The cameras of a NeRF `transforms.json`, one per frame, and the frames' picture files.

    Poses are `transform_matrix`, as in `camera_from_opengl`. Intrinsics are `fl_x`, `fl_y`, `cx`,
    `cy` in pixels of pictures of `w` x `h`, or else `camera_angle_x` and `camera_angle_y`, the full
    angles of view in radians; what is missing means square pixels and an optical axis in the
    middle. A frame's own entries go before those of the file.

    Args:
      transforms: what the JSON file holds.
      image_size: (height, width) in pixels that the pictures are resized to; a picture whose
        aspect ratio changes is stretched, and so are the cameras.

    Returns:
      cameras: in the world axes of the file (Blender's have z up).
      file_paths: `file_path` of each frame, as it stands in the file.

    Raises:
      ValueError: an entry is missing, a pose is no rigid motion, or the lens has distortion.

    >>> frame = {"file_path": "a.png", "transform_matrix": np.eye(4).tolist()}
    >>> file = {"camera_angle_x": 2 * math.atan(0.5), "frames": [frame]}
    >>> (camera,), paths = cameras_from_transforms(file, (16, 16))
    >>> print(jnp.round(camera.focal, 3), paths)
    [2. 2.] ['a.png']
    """
    height, width = check_image_size(image_size)
    frames = transforms.get("frames")
    if not frames:
        raise ValueError(f"transforms must have frames, got the entries {sorted(transforms)}")
    cameras = []
    for index, frame in enumerate(frames):
        if not {"file_path", "transform_matrix"} <= set(frame):
            rule = f"transforms: frame {index} must have file_path and transform_matrix"
            raise ValueError(f"{rule}, got {sorted(frame)}")
        matrix = _transforms_intrinsics({**transforms, **frame}, height, width)
        pose = np.asarray(frame["transform_matrix"], float)
        _check_pose(pose, index)
        cameras.append(camera_from_opengl(pose, matrix, (height, width)))
    return cameras, [frame["file_path"] for frame in frames]


def camera_from_pytorch3d(
    R: Float[Array, "3 3"],
    T: Float[Array, "3"],
    focal_length: Float[Array, ""] | Float[Array, "2"] | float,
    principal_point: Float[Array, "2"],
    image_size: tuple[int, int],
    *,
    orthographic: bool = False,
) -> Camera:
    """A camera from PyTorch3D's parameters, without their batch axis.

    There x_view = x_world @ R + T with row vectors, x left, y up, z forward, and
    (x, y)_ndc = focal_length (X, Y) / Z + principal_point spans [-1, 1] on the picture's *shorter*
    side (`in_ndc=True`). For `FoVPerspectiveCameras` focal_length is 1 / tan(fov / 2).
    Source: PyTorch3D's documentation, "Cameras" (pytorch3d.org/docs/cameras).

    Args:
      R: rotation, for row vectors.
      T: translation in view axes, world units.
      focal_length: NDC units, one number or (x, y).
      principal_point: NDC units, x left, y up.
      image_size: (height, width) in pixels; only the aspect ratio matters.
      orthographic: `OrthographicCameras`: there is no division by Z, focal_length is a scale.

    Returns:
      The camera. Differentiable in R, T, focal_length and principal_point.

    Raises:
      ValueError: an argument has the wrong shape, or image_size is not positive.

    >>> camera = camera_from_pytorch3d(jnp.eye(3), jnp.ones(3), 2.0, jnp.array([0.5, 0]), (8, 16))
    >>> print(camera.translation, camera.focal, camera.center)
    [-1. -1.  1.] [2. 2.] [-0.5 -0. ]
    """
    height, width = check_image_size(image_size)
    R, T, focal, center = to_floats(R, T, focal_length, principal_point)
    focal = jnp.stack([focal, focal]) if focal.ndim == 0 else focal
    check_shape("R", R, (3, 3))
    check_shape("T", T, (3,))
    check_shape("focal_length", focal, (2,))
    check_shape("principal_point", center, (2,))
    rotation, translation = FLIP_PYTORCH3D[:, None] * R.T, FLIP_PYTORCH3D * T
    unit = min(height, width) / height
    return Camera(rotation, translation, focal * unit, -center * unit, orthographic)


def camera_from_colmap(
    qvec: Float[Array, "4"],
    tvec: Float[Array, "3"],
    model: str,
    params: Float[Array, "P"],
    image_size: tuple[int, int],
) -> Camera:
    """A camera from COLMAP's files; axes and pixel centres are ours there too.

    Source: COLMAP's documentation, "Output Format" and "Camera Models".

    Args:
      qvec: camera_from_world rotation as a quaternion (w, x, y, z), of any length.
      tvec: camera_from_world translation, world units.
      model: "PINHOLE" or "SIMPLE_PINHOLE"; undistort pictures of other models first.
      params: (fx, fy, cx, cy), or (f, cx, cy), pixels.
      image_size: (height, width) in pixels; COLMAP's files have the width first.

    Returns:
      The camera, in the world axes of the file. Differentiable in qvec, tvec and params.

    Raises:
      ValueError: another model, an argument of the wrong shape, or image_size is not positive.

    >>> camera = camera_from_colmap((1, 0, 0, 0), (0, 0, 2), "SIMPLE_PINHOLE", (8, 8, 4), (8, 16))
    >>> print(camera.translation, camera.focal, camera.center)
    [0. 0. 2.] [2. 2.] [0. 0.]
    """
    columns = {"PINHOLE": (0, 1, 2, 3), "SIMPLE_PINHOLE": (0, 0, 1, 2)}
    if model not in columns:
        raise ValueError(f"model must be PINHOLE or SIMPLE_PINHOLE, got {model!r}")
    qvec, tvec, params = to_floats(qvec, tvec, params)
    check_shape("qvec", qvec, (4,))
    check_shape("tvec", tvec, (3,))
    check_shape("params", params, (max(columns[model]) + 1,))
    matrix = _intrinsics_matrix(*(params[k] for k in columns[model]))
    return camera_from_intrinsics(matrix, _rotation_from_quaternion(qvec), tvec, image_size)


def _intrinsics_matrix(fx, fy, cx, cy) -> Float[Array, "3 3"]:
    zero, one = jnp.zeros_like(fx), jnp.ones_like(fx)
    return jnp.stack([fx, zero, cx, zero, fy, cy, zero, zero, one]).reshape(3, 3)


def _rotation_from_quaternion(quaternion: Float[Array, "4"]) -> Float[Array, "3 3"]:
    """Of a quaternion (w, x, y, z) of any length but zero."""
    w, x, y, z = quaternion / jnp.linalg.norm(quaternion)
    zero = jnp.zeros_like(w)
    cross = jnp.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    return jnp.eye(3, dtype=w.dtype) + 2 * w * cross + 2 * precise_product(cross, cross)


def _transforms_intrinsics(entries: dict, height: int, width: int) -> np.ndarray:
    """Intrinsics matrix in pixels of a picture that was resized to height x width."""
    model = entries.get("camera_model", "PINHOLE")
    distorted = [name for name in DISTORTIONS if entries.get(name)]
    if model not in TRANSFORMS_MODELS or distorted or entries.get("is_fisheye"):
        rule = "transforms must describe a lens without distortion (undistort the pictures first)"
        raise ValueError(f"{rule}, got camera_model {model!r} with parameters {distorted}")
    has_size = {"w", "h"} <= set(entries)
    if not has_size and {"fl_x", "fl_y", "cx", "cy"} & set(entries):
        raise ValueError(f"transforms must have w and h beside fl_x, got {sorted(entries)}")
    w, h = (entries["w"], entries["h"]) if has_size else (width, height)
    fl_x = _focal_pixels(entries, "fl_x", "camera_angle_x", w)
    fl_y = _focal_pixels(entries, "fl_y", "camera_angle_y", h)
    if fl_x is None and fl_y is None:
        raise ValueError(f"transforms must have fl_x or camera_angle_x, got {sorted(entries)}")
    fl_x, fl_y = fl_x or fl_y, fl_y or fl_x
    cx, cy = entries.get("cx", w / 2), entries.get("cy", h / 2)
    resize = np.diag([width / w, height / h, 1.0])
    return resize @ np.array([[fl_x, 0, cx], [0, fl_y, cy], [0, 0, 1.0]])


def _focal_pixels(entries: dict, focal: str, angle: str, size: float) -> float | None:
    from_angle = size / 2 / math.tan(entries[angle] / 2) if angle in entries else None
    return entries.get(focal, from_angle)


def _check_pose(pose: np.ndarray, index: int) -> None:
    """Scaled or mirrored axes are no camera."""
    rotation = pose[:3, :3] if pose.shape in ((3, 4), (4, 4)) else np.zeros((3, 3))
    orthonormal = np.allclose(rotation @ rotation.T, np.eye(3), rtol=0, atol=1e-2)
    if not orthonormal or np.linalg.det(rotation) < 0:
        rule = f"transforms: transform_matrix of frame {index} must be a rotation and a position"
        raise ValueError(f"{rule}, got {pose.tolist()}")
