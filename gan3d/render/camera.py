"""Cameras: where the eye is and how a 3-D point becomes a pixel."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, Float

DEFAULT_FOV = math.radians(20.0)
DEFAULT_DISTANCE = 1 / math.tan(DEFAULT_FOV / 2)

MIN_ABSOLUTE_DEPTH = 1e-6  # depths nearer to zero are not divided by; world units


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Camera:
    """A camera without lens distortion. x_camera = rotation @ x_world + translation.

    Camera axes: x right, y down, z forward. With (X, Y, Z) a point in the camera's frame,

        perspective   x = focal[0] X / Z + center[0]     y = focal[1] Y / Z + center[1]
        orthographic  x = focal[0] X + center[0]         y = focal[1] Y + center[1]

    are its coordinates from the middle of the picture in NDC units: half the picture's *height*,
    on both axes, so a camera serves pictures of any size with the same aspect ratio.

    A pytree: `jax.vmap` maps over a camera whose arrays have a leading axis.

    Attributes:
      rotation: camera_from_world rotation.
      translation: camera_from_world translation, world units.
      focal: focal lengths along x and y, NDC units; 1 / tan(fov / 2), with fov the vertical field
        of view. Orthographic: NDC units per world unit.
      center: where the optical axis meets the picture, from its middle, NDC units, x right, y down.
      orthographic: rays are parallel; known to the compiler.
    """

    rotation: Float[Array, "3 3"]
    translation: Float[Array, "3"]
    focal: Float[Array, "2"]
    center: Float[Array, "2"]
    orthographic: bool = dataclasses.field(default=False, metadata=dict(static=True))


def rotation_from_angles(
    yaw: Float[Array, ""], pitch: Float[Array, ""], roll: Float[Array, ""]
) -> Float[Array, "3 3"]:
    """camera_from_world rotation of an orbiting camera: roll after pitch after yaw (radians)."""
    cy, sy = jnp.cos(yaw), jnp.sin(yaw)
    cp, sp = jnp.cos(pitch), jnp.sin(pitch)
    cr, sr = jnp.cos(roll), jnp.sin(roll)
    one, zero = jnp.ones_like(cy), jnp.zeros_like(cy)
    about_y = jnp.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy]).reshape(3, 3)
    about_x = jnp.stack([one, zero, zero, zero, cp, -sp, zero, sp, cp]).reshape(3, 3)
    about_z = jnp.stack([cr, -sr, zero, sr, cr, zero, zero, zero, one]).reshape(3, 3)
    return precise_product(about_z, precise_product(about_x, about_y))


def orbit_camera(
    yaw: Float[Array, ""] | float,
    pitch: Float[Array, ""] | float = 0.0,
    roll: Float[Array, ""] | float = 0.0,
    *,
    fov: Float[Array, ""] | float = DEFAULT_FOV,
    distance: Float[Array, ""] | float | None = None,
) -> Camera:
    """A camera on a sphere about the world's origin, looking at the origin.

    At yaw = pitch = 0 it stands on the negative z axis and looks along +z.

    Args:
      yaw: angle about the vertical axis, radians; positive moves the camera towards +x.
      pitch: elevation, radians; positive moves the camera up (towards -y).
      roll: rotation about the viewing axis, radians; positive turns the picture clockwise.
      fov: vertical field of view, radians.
      distance: from the origin, world units. None: 1 / tan(fov / 2), where the unit disc just fits.

    Returns:
      The camera. Differentiable in every argument.

    Raises:
      ValueError: fov is a number not between 0 and pi, or distance one that is not positive.

    >>> camera = orbit_camera(0.0, fov=2 * math.atan(0.5))
    >>> print(camera.translation, camera.focal)
    [0. 0. 2.] [2. 2.]
    """
    _check_fov(fov)
    if distance is None:
        yaw, pitch, roll, fov = to_floats(yaw, pitch, roll, fov)
        distance = 1.0 / jnp.tan(fov / 2)
    else:
        _check_positive("distance", distance)
        yaw, pitch, roll, fov, distance = to_floats(yaw, pitch, roll, fov, distance)
    rotation = rotation_from_angles(yaw, pitch, roll)
    return _centered_camera(rotation, _forward(distance), 1.0 / jnp.tan(fov / 2))


def look_at_camera(
    eye: Float[Array, "3"],
    target: Float[Array, "3"] = (0.0, 0.0, 0.0),
    up: Float[Array, "3"] = (0.0, -1.0, 0.0),
    *,
    fov: Float[Array, ""] | float = DEFAULT_FOV,
) -> Camera:
    """A camera at a point of the world, looking at another.

    Args:
      eye: where the camera stands, world coordinates.
      target: what it sees in the middle of the picture, world coordinates; not the eye itself.
      up: world direction that points up in the picture; any length, not along the line of sight.
      fov: vertical field of view, radians.

    Returns:
      The camera. Differentiable in every argument.

    Raises:
      ValueError: a point has not three coordinates, or fov is a number not between 0 and pi.

    >>> camera = look_at_camera((2.0, 0.0, 0.0))
    >>> print(jnp.round(camera_from_world(jnp.array([[1.0, 0.0, 0.5]]), camera), 3) + 0.0)
    [[0.5 0.  1. ]]
    """
    _check_fov(fov)
    eye, target, up, fov = to_floats(eye, target, up, fov)
    for name, point in dict(eye=eye, target=target, up=up).items():
        check_shape(name, point, (3,))
    forward = (target - eye) / jnp.linalg.norm(target - eye)
    right = jnp.cross(forward, up)
    right = right / jnp.linalg.norm(right)
    rotation = jnp.stack([right, jnp.cross(forward, right), forward])
    return _centered_camera(rotation, -precise_product(rotation, eye), 1.0 / jnp.tan(fov / 2))


def orthographic_camera(
    yaw: Float[Array, ""] | float = 0.0,
    pitch: Float[Array, ""] | float = 0.0,
    roll: Float[Array, ""] | float = 0.0,
    *,
    scale: Float[Array, ""] | float = 1.0,
    distance: Float[Array, ""] | float = DEFAULT_DISTANCE,
) -> Camera:
    """A camera with parallel rays, looking at the world's origin; angles as in `orbit_camera`.

    Args:
      yaw: angle about the vertical axis, radians.
      pitch: elevation, radians.
      roll: rotation about the viewing axis, radians.
      scale: NDC units per world unit; with 1 the unit ball just fits the picture.
      distance: depth of the origin, world units; no matter while all of it lies before the camera.

    Returns:
      The camera. Differentiable in every argument.

    Raises:
      ValueError: scale or distance is a number that is not positive.

    >>> print(project(jnp.array([[0.5, -1.0, 3.0]]), orthographic_camera(distance=2.0), (16, 32)))
    [[20.  0.  5.]]
    """
    _check_positive("scale", scale)
    _check_positive("distance", distance)
    yaw, pitch, roll, scale, distance = to_floats(yaw, pitch, roll, scale, distance)
    rotation = rotation_from_angles(yaw, pitch, roll)
    return _centered_camera(rotation, _forward(distance), scale, orthographic=True)


def weak_perspective(camera: Camera, reference_depth: Float[Array, ""] | float) -> Camera:
    """The orthographic camera that agrees with a perspective one on a plane of constant depth.

    The better, the smaller an object's depth is beside its distance: X / Z becomes X / depth.

    Args:
      camera: a perspective camera.
      reference_depth: camera depth of that plane, world units.

    Returns:
      The camera. Differentiable in both arguments.

    Raises:
      ValueError: the camera is orthographic already, or reference_depth a number not positive.

    >>> print(weak_perspective(orbit_camera(0.0, fov=2 * math.atan(0.5)), 4.0).focal)
    [0.5 0.5]
    """
    if camera.orthographic:
        raise ValueError("camera must be a perspective one, got an orthographic camera")
    _check_positive("reference_depth", reference_depth)
    return dataclasses.replace(camera, focal=camera.focal / reference_depth, orthographic=True)


def camera_from_world(points: Float[Array, "V 3"], camera: Camera) -> Float[Array, "V 3"]:
    """Moves world points into the camera's frame: x right, y down, z forward, world units.

    >>> print(camera_from_world(jnp.array([[0.5, 0.0, 1.0]]), look_at_camera((0.0, 0.0, -2.0))))
    [[0.5 0.  3. ]]
    """
    # Sums of columns: on CPU a small matrix product starts a thread pool.
    x, y, z = points.T
    axes = zip(camera.rotation, camera.translation, strict=True)
    return jnp.stack([a[0] * x + a[1] * y + a[2] * z + shift for a, shift in axes], axis=-1)


def project(
    points: Float[Array, "V 3"], camera: Camera, image_size: tuple[int, int]
) -> Float[Array, "V 3"]:
    """Projects world points to the screen.

    NDC [-1, 1] spans the borders of the image height; pixel (row i, column j) has its centre at
    x = j + 0.5, y = i + 0.5.

    Args:
      points: world coordinates.
      camera: the camera.
      image_size: (height, width) in pixels.

    Returns:
      (x, y) in pixels and the camera-space depth z in world units. Behind a perspective camera
      too x and y come from the division by z, so that (x z, y z, z) are homogeneous coordinates of
      the point everywhere; only a depth within 1e-6 of zero is moved there before the division.
      Differentiable in points and camera.

    Raises:
      ValueError: points are not [V, 3], or image_size is not positive.

    >>> camera = orbit_camera(0.0, fov=2 * math.atan(0.5))
    >>> print(project(jnp.array([[0.0, 0.0, 0.0], [1.0, -1.0, 0.0]]), camera, (16, 32)))
    [[16.  8.  2.]
     [24.  0.  2.]]
    """
    check_shape("points", points, (None, 3))
    height, width = check_image_size(image_size)
    x, y, z = jnp.moveaxis(camera_from_world(points, camera), -1, 0)
    half = height / 2
    scale_x, scale_y = camera.focal[0] * half, camera.focal[1] * half
    if not camera.orthographic:
        on_plane = jnp.where(z < 0, -MIN_ABSOLUTE_DEPTH, MIN_ABSOLUTE_DEPTH)
        divisor = jnp.where(jnp.abs(z) < MIN_ABSOLUTE_DEPTH, on_plane, z)
        scale_x, scale_y = scale_x / divisor, scale_y / divisor
        z = divisor
    column = x * scale_x + (width / 2 + camera.center[0] * half)
    row = y * scale_y + (half + camera.center[1] * half)
    return jnp.stack([column, row, z], axis=-1)


def precise_product(a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    """Matrix product in full precision: accelerators would round float32 factors to fewer bits."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def to_floats(*values) -> list[Float[Array, "..."]]:
    """Arrays of one floating-point type: the widest among the arguments that have a type."""
    dtype = jnp.result_type(float, *(value for value in values if hasattr(value, "dtype")))
    return [jnp.asarray(value, dtype) for value in values]


def check_shape(name: str, value, shape: tuple[int | None, ...]) -> None:
    """Raises ValueError unless an array has this shape; None stands for any length."""
    actual = np.shape(value)
    agree = all(n in (None, m) for n, m in zip(shape, actual, strict=False))
    if len(actual) != len(shape) or not agree:
        expected = "[" + ", ".join("any" if n is None else str(n) for n in shape) + "]"
        raise ValueError(f"{name} must have the shape {expected}, got {list(actual)}")


def check_image_size(image_size: tuple[int, int]) -> tuple[int, int]:
    """(height, width); raises ValueError unless they are two positive whole numbers."""
    whole = [n for n in image_size if isinstance(n, numbers.Integral) and n > 0]
    if len(image_size) != 2 or len(whole) != 2:
        raise ValueError(f"image_size must be (height, width) > 0 in pixels, got {image_size}")
    return image_size


def _check_positive(name: str, value) -> None:
    if isinstance(value, numbers.Real) and not value > 0:
        raise ValueError(f"{name} must be positive, got {value}")


def _check_fov(fov) -> None:
    if isinstance(fov, numbers.Real) and not 0 < fov < math.pi:
        raise ValueError(f"fov must lie between 0 and pi (radians), got {fov}")


def _forward(distance: Float[Array, ""]) -> Float[Array, "3"]:
    return jnp.stack([jnp.zeros_like(distance), jnp.zeros_like(distance), distance])


def _centered_camera(rotation, translation, focal, orthographic: bool = False) -> Camera:
    """Square pixels, optical axis in the middle of the picture."""
    focal = jnp.stack([focal, focal])
    return Camera(rotation, translation, focal, jnp.zeros_like(focal), orthographic)
