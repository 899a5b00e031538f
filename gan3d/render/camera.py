"""Cameras: where the eye is and how a 3-D point becomes a pixel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float

DEFAULT_FOV = math.radians(20.0)


class Camera(NamedTuple):
    """A pinhole camera. x_camera = rotation @ x_world + translation; x right, y down, z forward.

    Attributes:
      rotation: camera_from_world rotation.
      translation: camera_from_world translation, world units.
      focal: focal length in NDC units, 1 / tan(fov / 2), with fov the vertical field of view.
    """

    rotation: Float[Array, "3 3"]
    translation: Float[Array, "3"]
    focal: Float[Array, ""]


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
    # Full precision: a TPU would otherwise round the products to bfloat16.
    product = lambda a, b: jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)  # noqa: E731
    return product(about_z, product(about_x, about_y))


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
      distance: from the origin, world units. None: 1 / tan(fov / 2), so that a disc of radius 1
        through the origin just fits the picture.

    Returns:
      The camera. Differentiable in every argument.

    >>> camera = orbit_camera(0.0, fov=2 * math.atan(0.5))
    >>> print(camera.translation, camera.focal)
    [0. 0. 2.] 2.0
    """
    dtype = jnp.result_type(float, *(jnp.result_type(a) for a in (yaw, pitch, roll, fov)))
    yaw, pitch, roll, fov = (jnp.asarray(a, dtype) for a in (yaw, pitch, roll, fov))
    focal = 1.0 / jnp.tan(fov / 2)
    distance = focal if distance is None else jnp.asarray(distance, dtype)
    translation = jnp.stack([jnp.zeros_like(distance), jnp.zeros_like(distance), distance])
    return Camera(rotation_from_angles(yaw, pitch, roll), translation, focal)


def camera_from_world(points: Float[Array, "V 3"], camera: Camera) -> Float[Array, "V 3"]:
    """Moves world points into the camera's frame."""
    rotated = jnp.matmul(points, camera.rotation.T, precision=jax.lax.Precision.HIGHEST)
    return rotated + camera.translation[None, :]


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
      (x, y) in pixels and the camera-space depth z in world units. A point on or behind the
      camera's plane gets finite, meaningless x and y; `rasterize` drops faces that use it.
    """
    height, width = image_size
    x, y, z = jnp.moveaxis(camera_from_world(points, camera), -1, 0)
    in_front = z > 1e-6
    scale = camera.focal * (height / 2) / jnp.where(in_front, z, 1.0)
    return jnp.stack([x * scale + width / 2, y * scale + height / 2, z], axis=-1)
