"""How well do generated shapes agree with ground-truth shapes, without any correspondence?

Both families are rendered from the same canonical views, always at the same resolution and with the
same soft margin whatever they were trained with, and averaged: the *mean coverage* is the
silhouette of the average object and the *mean depth* its relief. The averages are compared by
silhouette overlap and by depth correlation. Because a sphere already scores well on the mean depth
of a head, `relief` removes what any convex blob has and leaves brow, nose and cheeks.

World units throughout: the orbiting camera's picture spans [-1, 1] in the plane of the origin.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gan3d.evaluation.views import scene_views
from gan3d.render import Topology
from gan3d.scene import Scene, Stage

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

EVALUATION_RESOLUTION = 64
EVALUATION_MARGIN_PIXELS = 1.0
COVERED = 0.5  # mean coverage from which on a pixel counts as part of the average object
CENTRAL_FRACTION = 0.6  # part of the silhouette's half-extents in which relief is measured
FEATURE_FRACTION = 0.2  # the same for the neighbourhood of the tip of the nose, or of an eye


class CanonicalMaps(NamedTuple):
    """Averages over many scenes seen from one view.

    Attributes:
      coverage: mean alpha, in [0, 1].
      depth: coverage-weighted mean of camera depth minus orbit distance (negative = towards the
        camera); 0 where nothing was ever covered.
      depth_std: coverage-weighted standard deviation of the same: the diversity of the shapes.
      covered_share: mean alpha of every single scene's picture.
    """

    coverage: Float[np.ndarray, "H W"]
    depth: Float[np.ndarray, "H W"]
    depth_std: Float[np.ndarray, "H W"]
    covered_share: Float[np.ndarray, " N"]

    @property
    def mask(self) -> Bool[np.ndarray, "H W"]:
        """Pixels of the average object: mean coverage at least 1/2."""
        return self.coverage >= COVERED


@functools.lru_cache(maxsize=8)
def evaluation_stage(stage: Stage) -> Stage:
    """The stage with the fixed resolution and margin of every evaluation; cached.

    >>> shown = evaluation_stage(stage)
    >>> print(stage.resolution, shown.resolution, shown.margin_pixels)
    8 64 1.0
    """
    return dataclasses.replace(
        stage, resolution=EVALUATION_RESOLUTION, margin_pixels=EVALUATION_MARGIN_PIXELS
    )


def canonical_maps(
    scenes: Iterable[Scene], stage: Stage, yaw: float, pitch: float = 0.0
) -> CanonicalMaps:
    """Mean coverage and mean depth of many scenes from one view.

        coverage = sum_n a_n / N         depth = sum_n a_n (z_n - D) / sum_n a_n

    with alpha a, camera depth z and orbit distance D = 1 / tan(fov / 2), per pixel.

    Args:
      scenes: batches of scenes, each with one leading axis; equal sizes avoid recompilation.
      stage: how they are shown, see `evaluation_stage`. Reuse one object: compiled per stage.
      yaw: of the camera, radians.
      pitch: of the camera, radians.

    Returns:
      The averages, in float64.

    Raises:
      ValueError: if there is no scene.

    >>> maps: CanonicalMaps = canonical_maps([scenes], evaluation_stage(stage), yaw=0.0)
    >>> print(maps.coverage.shape, maps.covered_share.shape, bool(maps.depth.min() < 0))
    (64, 64) (2,) True
    """
    views = scene_views(scenes, stage, yaw, pitch)
    alpha, depth = views.alpha.astype(np.float64), views.depth.astype(np.float64)
    weight = alpha.sum(axis=0)
    seen = np.where(weight > 0, weight, 1.0)
    mean = (alpha * depth).sum(axis=0) / seen
    variance = (alpha * (depth - mean) ** 2).sum(axis=0) / seen
    return CanonicalMaps(alpha.mean(axis=0), mean, np.sqrt(variance), alpha.mean(axis=(1, 2)))


def silhouette_iou(
    coverage_a: Float[np.ndarray, "H W"],
    coverage_b: Float[np.ndarray, "H W"],
    threshold: float | None = None,
) -> float:
    """Overlap of two coverages: sum min(a, b) / sum max(a, b), the soft Jaccard index (Ruzicka).

    Args:
      coverage_a: in [0, 1].
      coverage_b: in [0, 1].
      threshold: if given, both are first made binary, 1 from the threshold on.

    Returns:
      In [0, 1]; nan if both are empty.

    >>> print(silhouette_iou([[1.0, 1.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]))
    0.5
    """
    a, b = np.asarray(coverage_a, np.float64), np.asarray(coverage_b, np.float64)
    if threshold is not None:
        a, b = np.float64(a >= threshold), np.float64(b >= threshold)
    union = np.maximum(a, b).sum()
    return float(np.minimum(a, b).sum() / union) if union > 0 else math.nan


def correlation(
    a: Float[np.ndarray, "H W"], b: Float[np.ndarray, "H W"], mask: Bool[np.ndarray, "H W"]
) -> float:
    """Pearson correlation over the pixels of a mask; nan if it is empty or one side constant."""
    if not mask.any():
        return math.nan
    x, y = a[mask] - a[mask].mean(), b[mask] - b[mask].mean()
    norm = math.sqrt((x @ x) * (y @ y))
    return float(x @ y / norm) if norm > 0 else math.nan


def depth_correlation(a: CanonicalMaps, b: CanonicalMaps) -> float:
    """Pearson correlation of mean depth where both mean coverages are at least 1/2.

    >>> depth, zero, one = np.array([[0.0, 0.1], [0.2, 0.3]]), np.zeros((2, 2)), np.ones((2, 2))
    >>> front = CanonicalMaps(coverage=one, depth=depth, depth_std=zero, covered_share=one[0])
    >>> print(round(depth_correlation(front, front._replace(depth=5 - 2 * depth)), 3))
    -1.0
    """
    return correlation(a.depth, b.depth, a.mask & b.mask)


def depth_rmse(a: CanonicalMaps, b: CanonicalMaps) -> float:
    """Root mean square difference of mean depth where both mean coverages are at least 1/2.

    >>> depth, zero, one = np.array([[0.0, 0.1], [0.2, 0.3]]), np.zeros((2, 2)), np.ones((2, 2))
    >>> front = CanonicalMaps(coverage=one, depth=depth, depth_std=zero, covered_share=one[0])
    >>> print(round(depth_rmse(front, front._replace(depth=depth + 0.5)), 3))
    0.5
    """
    mask = a.mask & b.mask
    return float(np.sqrt(np.mean((a.depth - b.depth)[mask] ** 2))) if mask.any() else math.nan


def depth_to_width(maps: CanonicalMaps) -> float:
    """Depth range over width of the average object: 1/2 for a sphere, 0 for a billboard."""
    return depth_range_to_width(maps.depth, maps.mask)


def depth_range_to_width(depth: Float[np.ndarray, "H W"], mask: Bool[np.ndarray, "H W"]) -> float:
    """Range of the depth on a mask over the mask's width, both in world units; nan if empty."""
    if not mask.any():
        return math.nan
    columns = np.flatnonzero(mask.any(axis=0))
    width = (columns[-1] - columns[0] + 1) * 2.0 / mask.shape[1]
    return float(np.ptp(depth[mask]) / width)


def diversity(maps: CanonicalMaps) -> float:
    """Mean over the average object's pixels of the standard deviation of depth across scenes."""
    return float(maps.depth_std[maps.mask].mean()) if maps.mask.any() else math.nan


def central_region(
    mask: Bool[np.ndarray, "H W"], fraction: float = CENTRAL_FRACTION
) -> Bool[np.ndarray, "H W"]:
    """The ellipse about the middle of a mask's bounding box, with this part of its half-extents."""
    if not mask.any():
        return np.zeros_like(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    y, x = np.indices(mask.shape)

    def normalised(positions: np.ndarray, extent: np.ndarray) -> np.ndarray:
        return (2 * positions - extent[0] - extent[-1]) / (extent[-1] - extent[0] + 1)

    return mask & (np.hypot(normalised(y, rows), normalised(x, columns)) <= fraction)


def relief(
    depth: Float[np.ndarray, "H W"],
    region: Bool[np.ndarray, "H W"],
    without: Bool[np.ndarray, "H W"] | None = None,
) -> Float[np.ndarray, "H W"]:
    """Height of a surface above the best-fitting quadratic: what a smooth blob does not have.

    Args:
      depth: mean depth; smaller is nearer.
      region: pixels on which the quadratic a + bx + cy + dx² + exy + fy² is fitted.
      without: pixels to leave out of the fit, so that a feature does not lift its own reference.

    Returns:
      Quadratic minus depth (positive = towards the camera), 0 outside the region.
    """
    fitted = region if without is None else region & ~without
    if fitted.sum() < 6:
        return np.zeros_like(depth)
    y, x = np.indices(depth.shape) / depth.shape[0] - 0.5
    basis = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    coefficients, *_ = np.linalg.lstsq(basis[fitted], depth[fitted], rcond=None)
    return np.where(region, basis @ coefficients - depth, 0.0)


def relief_correlation(a: CanonicalMaps, b: CanonicalMaps) -> float:
    """Pearson correlation of `relief` in the central region: do brow, nose and cheeks agree?"""
    region = central_region(a.mask & b.mask)
    return correlation(relief(a.depth, region), relief(b.depth, region), region)


def nose_region(truth: CanonicalMaps) -> Bool[np.ndarray, "H W"]:
    """Neighbourhood of the pixel where the true mean front stands out most."""
    region = central_region(truth.mask)
    height = np.where(region, relief(truth.depth, region), -np.inf)
    return region & _around(np.argmax(height), truth.mask)


def eye_region(truth: CanonicalMaps) -> Bool[np.ndarray, "H W"]:
    """Neighbourhoods of the pixels, one on either side, where the true mean front lies deepest."""
    region = central_region(truth.mask)
    height = np.where(region, relief(truth.depth, region), np.inf)
    left = np.arange(height.shape[1]) < height.shape[1] / 2
    eyes = [np.argmin(np.where(side, height, np.inf)) for side in (left, ~left)]
    return region & (_around(eyes[0], truth.mask) | _around(eyes[1], truth.mask))


def _around(pixel: int, mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """The disc about a pixel (flat index) with a fraction of the average object's radius."""
    centre = np.unravel_index(pixel, mask.shape)
    distance = np.hypot(*(np.indices(mask.shape) - np.reshape(centre, (2, 1, 1))))
    return distance <= FEATURE_FRACTION * np.sqrt(mask.sum() / np.pi)


def protrusion(maps: CanonicalMaps, feature: Bool[np.ndarray, "H W"]) -> float:
    """Mean height of a feature's pixels above the quadratic fitted to the front around them."""
    height = relief(maps.depth, central_region(maps.mask), without=feature)
    inside = feature & central_region(maps.mask)
    return float(height[inside].mean()) if inside.any() else math.nan


def shape_statistics(vertices: Float[np.ndarray, "N V 3"], topology: Topology) -> dict[str, float]:
    """Size and soundness of meshes, averaged over N.

    Returns:
      width, height, length: mean extents along x, y and z. mean_radius: area-weighted mean distance
      of the surface from the origin. flipped_faces: share of faces whose outward normal points
      towards the origin, dot(normal, centroid) < 0: folds, and overhangs such as a nostril's.
    """
    vertices = np.asarray(vertices, np.float64)
    a, b, c = (vertices[:, topology.faces[:, k]] for k in range(3))
    normals, centroids = np.cross(b - a, c - a), (a + b + c) / 3
    areas = np.linalg.norm(normals, axis=-1) + np.finfo(np.float64).tiny  # all may be degenerate
    extents = np.ptp(vertices, axis=1).mean(axis=0)
    radius = np.average(np.linalg.norm(centroids, axis=-1), weights=areas)
    flipped = np.mean((normals * centroids).sum(axis=-1) < 0)
    return {
        "width": float(extents[0]),
        "height": float(extents[1]),
        "length": float(extents[2]),
        "mean_radius": float(radius),
        "flipped_faces": float(flipped),
    }
