"""Faces on the screen: corners, orientation, the near plane. Shared by search and shading.

A vertex behind the near plane needs no clipping: with screen coordinates x = X / Z also for Z < 0,
the edge functions times the signs of the two depths are the homogeneous ones (Olano & Greer 1997,
"Triangle scan conversion using 2D homogeneous coordinates"), negative outside the visible part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from gan3d.render.indexing import take_pairs

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

MIN_DOUBLE_AREA = 1e-10  # faces smaller than this on the screen are degenerate, pixels^2.


class Settings(NamedTuple):
    """What is static about a rasterization; see `rasterize`."""

    image_size: tuple[int, int]
    margin: float = 1.0
    num_margins: int = 1
    num_surfaces: int = 1
    orthographic: bool = False
    cull: bool = True
    near: float = 1e-3
    far: float = np.inf


class Connectivity(NamedTuple):
    """The parts of a topology that visibility needs."""

    faces: Int[Array, "F 3"]
    neighbors: Int[Array, "F 3"]
    component: Int[Array, "F"]


class Corners(NamedTuple):
    """Screen coordinates of the faces' corners, three columns [F] each: x, y in pixels, depth z."""

    x: tuple[Array, Array, Array]
    y: tuple[Array, Array, Array]
    z: tuple[Array, Array, Array]


def gather_corners(points: Float[Array, "V 3"], faces: Int[Array, "F 3"]) -> Corners:
    """Coordinates by corner; no gradient."""
    columns = tuple(points[:, i] for i in range(3))
    corners = take_pairs(columns, *(faces[:, k] for k in range(3)))
    return Corners(*zip(*corners, strict=True))


def which_way(corners: Corners, settings: Settings) -> Int[Array, "F"]:
    """1 for a drawn face that shows its front, -1 for one that shows its back, 0 for not drawn."""
    x, y, z = corners
    double_area = (x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0])
    if not settings.orthographic:
        # Seen through the eye, a corner behind it turns the face's orientation on the screen.
        double_area = double_area * jnp.sign(z[0]) * jnp.sign(z[1]) * jnp.sign(z[2])
    nearest, farthest = jnp.minimum(z[0], z[1]), jnp.maximum(z[0], z[1])
    nearest, farthest = jnp.minimum(nearest, z[2]), jnp.maximum(farthest, z[2])
    in_range = (farthest > settings.near) & (nearest < settings.far)
    front = in_range & (double_area < -MIN_DOUBLE_AREA)
    back = in_range & (double_area > MIN_DOUBLE_AREA) & (not settings.cull)
    return front.astype(jnp.int32) - back.astype(jnp.int32)


def face_and_corner(half_edge: Int[Array, "..."]) -> tuple[Int[Array, "..."], Int[Array, "..."]]:
    """face and k of half-edges 3 face + k; those of half-edge 0 for none."""
    half_edge = jnp.maximum(half_edge, 0)
    face = lax.div(half_edge, jnp.int32(3))
    return face, half_edge - 3 * face


def next_corner(corner: Int[Array, "..."]) -> Int[Array, "..."]:
    """The corner at which the half-edge from this one ends."""
    return jnp.where(corner == 2, 0, corner + 1)


def clip_to_near(a: tuple[Array, ...], b: tuple[Array, ...], near: float) -> tuple[Array, ...]:
    """The point in front of the near plane at which the edge from a towards b ends.

    b itself if it lies in front; all in screen coordinates of a perspective view, (x, y, z) or
    (x and y along a leading axis, z).
    """
    *screen_a, z_a = a
    *screen_b, z_b = b
    behind = (z_b <= near) & (z_a > near)
    fraction = in_front_of_near(z_a, z_b, near)

    def cut(p, q):
        # x Z and y Z are affine along the edge in space.
        z_p, z_q, share, is_cut = (
            jnp.broadcast_to(a, q.shape) for a in (z_a, z_b, fraction, behind)
        )
        return jnp.where(is_cut, (p * z_p + share * (q * z_q - p * z_p)) / near, q)

    return (*map(cut, screen_a, screen_b), jnp.where(behind, near, z_b))


def in_front_of_near(z_a: Array, z_b: Array, near: float) -> Array:
    """How much of the edge from a towards b lies in front of the near plane, in space: 1 for all
    of it."""
    behind = (z_b <= near) & (z_a > near)
    return jnp.where(behind, (z_a - near) / jnp.where(behind, z_a - z_b, 1), 1)


def turned(z_a, z_b, settings: Settings):
    """-1 where exactly one end lies behind the eye: there the screen shows the edge reversed."""
    return (
        1 if settings.orthographic else jnp.where((z_a < 0) != (z_b < 0), -1, 1).astype(z_a.dtype)
    )
