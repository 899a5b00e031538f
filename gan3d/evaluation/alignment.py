"""One similarity that carries a whole family of shapes onto another.

A run that is right up to its size, its direction or its place is told from one that is wrong by
aligning it first. The alignment has few numbers and is estimated *once, for all shapes of a run*:
aligned one by one, shapes would lose the very differences that a distance between families is
about.

How much is left open? With a known viewpoint prior and camera nothing is, in theory. In practice a
yaw offset is only held by the ends of the prior's range, and size and place by the lens, while the
vertical is seen in every picture: `rotation="vertical"` allows a turn about the vertical axis only,
with scale and translation; `"full"` is the similarity of the literature.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation as SpatialRotation

if TYPE_CHECKING:
    from jaxtyping import Float

Rotation = Literal["full", "vertical"]
_ROTATIONS = ("full", "vertical")
PLANE_POINTS = 24  # neighbours that give a point's tangent plane


class Similarity(NamedTuple):
    """x -> scale * rotation @ x + translation, in world units.

    Attributes:
      scale: positive, unless the point sets have nothing in common.
      rotation: orthogonal, determinant 1.
      translation: of the scaled and rotated point.
    """

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]

    def apply(self, points: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        """The points moved."""
        return self.scale * np.asarray(points) @ self.rotation.T + self.translation

    @property
    def angle(self) -> float:
        """Of the rotation about its axis, radians in [0, pi]."""
        # |R - I| = 2 sqrt(2) sin(angle / 2): exact for small angles, where the trace is not.
        return 2 * math.asin(min(np.linalg.norm(self.rotation - np.eye(3)) / math.sqrt(8), 1.0))


def umeyama(
    source: Float[np.ndarray, "N 3"],
    target: Float[np.ndarray, "N 3"],
    rotation: Rotation = "full",
) -> Similarity:
    """The similarity that carries corresponding points onto each other with least squared error.

    With the covariance C = E[(t - t̄)(s - s̄)ᵀ] = U D Vᵀ,

        R = U diag(1, 1, det U det V) Vᵀ      c = tr(Rᵀ C) / E|s - s̄|²      t̄ - c R s̄.

    About the vertical axis y, tr(Rᵀ C) is greatest at the angle atan2(C_xz - C_zx, C_xx + C_zz).
    Source: Umeyama 1991, "Least-squares estimation of transformation parameters between two point
    patterns", eq. 39 to 43.

    Args:
      source: the points to be moved.
      target: where they should go, in the same order.
      rotation: "full", or "vertical" for turns about the y axis only.

    Raises:
      ValueError: shapes that do not fit, an unknown rotation, or a source that is one point.

    >>> points = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> turned = points @ np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).T
    >>> found: Similarity = umeyama(points, 2 * turned + 5)
    >>> print(round(found.scale, 3), round(found.angle, 3), found.translation.round(3))
    2.0 1.571 [5. 5. 5.]
    >>> print(np.allclose(found.apply(points), 2 * turned + 5))
    True
    """
    source, target = _pair(source, target, rotation)
    if source.shape != target.shape:
        raise ValueError(f"target must have the source's shape {source.shape}, got {target.shape}")
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    centred = source - source_mean
    variance = (centred**2).sum(axis=1).mean()
    if not variance > 0:
        raise ValueError(f"source must not be a single point, got variance {variance}")
    covariance = (target - target_mean).T @ centred / len(source)
    best = _full_rotation if rotation == "full" else _vertical_rotation
    matrix = best(covariance)
    scale = float((matrix * covariance).sum() / variance)
    return Similarity(scale, matrix, target_mean - scale * matrix @ source_mean)


def align_by_icp(
    source: Float[np.ndarray, "N 3"],
    target: Float[np.ndarray, "M 3"],
    rotation: Rotation = "full",
    iterations: int = 60,
    tolerance: float = 1e-6,
) -> Similarity:
    """The similarity that carries one surface onto another, without correspondence.

    Starts with equal centres and equal root mean square radii, unrotated; then, in turn, matches
    nearest points and takes the small similarity that is best for the distances from the planes
    that touch the target. Distances between points would hold a nearly round shape fast: between
    heads, half of a turn was still there after a hundred iterations. Matches go both ways: with
    those of the source alone a free scale would let it shrink into a corner of the target. Source:
    Chen & Medioni 1992, "Object modelling by registration of multiple range images".

    Finds the nearest minimum: directions have to agree roughly. What the shapes leave open, such as
    the turn of a sphere, comes out arbitrary.

    Args:
      source: points of the family to be moved, of many shapes together.
      target: points of the other, likewise; at least `PLANE_POINTS`.
      rotation: as for `umeyama`.
      iterations: at most.
      tolerance: stops when turn, log scale and shift all change by no more.

    >>> from gan3d.render import icosphere
    >>> points = icosphere(1)[0] * [1.0, 1.2, 1.5]
    >>> found = align_by_icp(points, 2 * points + 1)
    >>> print(round(found.scale, 3), found.translation.round(3))
    2.0 [1. 1. 1.]
    """
    source, target = _pair(source, target, rotation)
    if len(target) < PLANE_POINTS:
        raise ValueError(f"target must have at least {PLANE_POINTS} points, got {len(target)}")
    spread = [np.sqrt(((x - x.mean(axis=0)) ** 2).sum(axis=1).mean()) for x in (source, target)]
    if not spread[0] > 0:
        raise ValueError(f"source must not be a single point, got spread {spread[0]}")
    scale = float(spread[1] / spread[0])
    found = Similarity(scale, np.eye(3), target.mean(axis=0) - scale * source.mean(axis=0))
    normals, tree = _plane_normals(target), cKDTree(target)
    for _ in range(iterations):
        moved = found.apply(source)
        there = tree.query(moved, workers=-1)[1]
        back = cKDTree(moved).query(target, workers=-1)[1]
        step, size = _plane_step(
            np.concatenate([moved, moved[back]]),
            np.concatenate([target[there], target]),
            np.concatenate([normals[there], normals]),
            rotation,
        )
        found = Similarity(
            step.scale * found.scale, step.rotation @ found.rotation, step.apply(found.translation)
        )
        if size <= tolerance:
            break
    return found


def _plane_normals(points: np.ndarray) -> np.ndarray:
    """Direction of least spread of every point's neighbours; either sign."""
    neighbours = points[cKDTree(points).query(points, PLANE_POINTS, workers=-1)[1]]
    centred = neighbours - neighbours.mean(axis=1, keepdims=True)
    return np.linalg.eigh(np.swapaxes(centred, 1, 2) @ centred)[1][..., 0]


def _plane_step(
    points: np.ndarray, targets: np.ndarray, normals: np.ndarray, rotation: Rotation
) -> tuple[Similarity, float]:
    """Gauss-Newton for sum (n . (e^s R(w) p + t - q))² at w = s = t = 0, and its largest entry."""
    turns = np.cross(points, normals)  # n . (w x p) = w . (p x n)
    turns *= [1, 1, 1] if rotation == "full" else [0, 1, 0]
    growth = (points * normals).sum(axis=1, keepdims=True)
    rows = np.concatenate([turns, growth, normals], axis=1)
    residuals = ((targets - points) * normals).sum(axis=1)
    # Least squares of least norm: what the shapes leave open does not move.
    change = np.linalg.lstsq(rows.T @ rows, rows.T @ residuals, rcond=1e-9)[0]
    turn, growth, shift = change[:3], change[3], change[4:]
    matrix = SpatialRotation.from_rotvec(turn).as_matrix()
    return Similarity(math.exp(growth), matrix, shift), float(np.abs(change).max())


def _full_rotation(covariance: np.ndarray) -> np.ndarray:
    u, _, vt = np.linalg.svd(covariance)
    return u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))]) @ vt


def _vertical_rotation(covariance: np.ndarray) -> np.ndarray:
    angle = math.atan2(covariance[0, 2] - covariance[2, 0], covariance[0, 0] + covariance[2, 2])
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])


def _pair(source, target, rotation) -> tuple[np.ndarray, np.ndarray]:
    if rotation not in _ROTATIONS:
        raise ValueError(f"rotation must be one of {_ROTATIONS}, got {rotation!r}")
    arrays = {"source": np.asarray(source, np.float64), "target": np.asarray(target, np.float64)}
    for name, array in arrays.items():
        if array.ndim != 2 or array.shape[1] != 3 or not len(array):
            raise ValueError(f"{name} must be [N, 3] with N >= 1, got shape {array.shape}")
    return arrays["source"], arrays["target"]
