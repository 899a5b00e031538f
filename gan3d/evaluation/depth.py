"""Errors of depth maps that do not depend on scale, as the literature on faces reports them.

Source of both measures as used here: Wu, Rupprecht & Vedaldi 2020, "Unsupervised learning of
probably symmetric deformable 3D objects from images in the wild", section 4.1 (SIDE and MAD).

Depth is camera-space z, world units, positive. Differences of log depth are relative to the
distance of the camera: numbers compare only between cameras at the same distance.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def scale_invariant_depth_error(
    depth_a: Float[np.ndarray, "H W"],
    depth_b: Float[np.ndarray, "H W"],
    mask: Bool[np.ndarray, "H W"],
) -> float:
    """SIDE: standard deviation over the mask of the difference of log depths.

        sqrt(mean Δ² - (mean Δ)²)        Δ = log a - log b

    Zero if one depth is a multiple of the other. Source: Eigen, Puhrsch & Fergus 2014, "Depth map
    prediction from a single image using a multi-scale deep network", eq. 1; the root as in Wu et
    al. 2020.

    Args:
      depth_a: positive on the mask.
      depth_b: positive on the mask.
      mask: the pixels that both depths are known on.

    Returns:
      At least 0, a share of depth; nan if the mask is empty.

    >>> depth, mask = np.array([[2.0, 2.0], [3.0, 4.0]]), np.ones((2, 2), bool)
    >>> print(round(scale_invariant_depth_error(depth, 1.5 * depth, mask), 6))
    0.0
    """
    mask = _mask(mask, depth_a=depth_a, depth_b=depth_b)
    if not mask.any():
        return math.nan
    return float(np.std(np.log(np.asarray(depth_a)[mask]) - np.log(np.asarray(depth_b)[mask])))


def mean_angle_deviation(
    depth_a: Float[np.ndarray, "H W"],
    depth_b: Float[np.ndarray, "H W"],
    mask: Bool[np.ndarray, "H W"],
    distance: float,
) -> float:
    """MAD: mean angle, in degrees, between the normals of two depth maps.

    Only pixels count whose four neighbours are on the mask too: no normal reaches over its edge.

    Args:
      depth_a: positive on the mask.
      depth_b: positive on the mask.
      mask: the pixels that both depths are known on.
      distance: 1 / tan(fov / 2), see `depth_normals`.

    Returns:
      In [0, 180]; nan if no pixel counts.

    >>> plane, mask = np.full((5, 5), 2.0), np.ones((5, 5), bool)
    >>> tilted = plane + 0.4 * np.linspace(-0.8, 0.8, 5)  # nearer on the left
    >>> print(round(mean_angle_deviation(plane, tilted, mask, distance=2.0)))
    22
    """
    inner = _inner(_mask(mask, depth_a=depth_a, depth_b=depth_b))
    if not inner.any():
        return math.nan
    a, b = (depth_normals(depth, distance)[inner] for depth in (depth_a, depth_b))
    # By the two legs: the arc cosine is inexact where the angle is small.
    angle = np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(axis=-1))
    return float(np.degrees(angle).mean())


def depth_normals(depth: Float[np.ndarray, "H W"], distance: float) -> Float[np.ndarray, "H W 3"]:
    """Unit normals of the surface that a depth map shows, in camera axes, towards the camera.

    Every pixel is put back at its point (x d, y d, D d) / D, with d the depth, D the distance and
    NDC x, y; the normal is the cross product of the central differences along columns and rows.

    Args:
      depth: positive; square pixels.
      distance: D = 1 / tan(fov / 2), the orbit camera's distance, `Stage.distance`.

    >>> normals = depth_normals(np.full((3, 3), 2.0), distance=2.0)  # a wall
    >>> print(normals[1, 1] + 0.0)
    [ 0.  0. -1.]
    """
    depth = np.asarray(depth, np.float64)
    if depth.ndim != 2 or min(depth.shape) < 2:
        raise ValueError(f"depth must be [H, W] with H, W >= 2, got shape {depth.shape}")
    if not distance > 0:
        raise ValueError(f"distance must be positive, got {distance}")
    height, width = depth.shape
    rows, columns = np.indices(depth.shape)
    x, y = (2 * columns + 1 - width) / height, (2 * rows + 1 - height) / height
    points = np.stack([x * depth / distance, y * depth / distance, depth], axis=-1)
    down, right = np.gradient(points, axis=(0, 1))
    normals = np.cross(down, right)
    return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-300)


def _inner(mask: np.ndarray) -> np.ndarray:
    """Pixels of a mask whose four neighbours are on it; none along the border of the picture."""
    padded = np.pad(mask, 1)
    above, below, left, right = (
        padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:],
    )  # fmt: skip
    return mask & above & below & left & right


def _mask(mask, **depths) -> np.ndarray:
    mask = np.asarray(mask, bool)
    for name, depth in depths.items():
        if np.shape(depth) != mask.shape:
            raise ValueError(f"{name} must be {mask.shape} as the mask, got {np.shape(depth)}")
        on_mask = np.asarray(depth)[mask]
        if not np.all(on_mask > 0):
            raise ValueError(f"{name} must be positive on the mask, got {on_mask.min()}")
    return mask
