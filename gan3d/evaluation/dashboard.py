"""Is a batch of generated scenes degenerate? One number per known way in which training goes wrong.

| failure                            | measure                                                   |
|------------------------------------|-----------------------------------------------------------|
| object vanishes, or fills the view | coverage_low, coverage_median, coverage_high              |
| billboard                          | front_depth_to_width near 0 (hemisphere: 1/2)             |
| hollow face                        | convexity near -1, hollow_share above 0                   |
| fold, mesh turned inside out       | flipped_faces                                             |
| collapsed faces                    | degenerate_faces                                          |
| fins, spikes                       | edge_ratio                                                |
| object painted on the background   | background_distance, object_contrast near 0               |
| size drift                         | size_against_start far from 1                             |

Unlike the averages of `geometry`, all of these look at each scene by itself: a dented and a bulging
face do not cancel out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gan3d.evaluation.geometry import (
    COVERED,
    correlation,
    depth_range_to_width,
    shape_statistics,
)

if TYPE_CHECKING:
    from jaxtyping import Float

    from gan3d.evaluation.views import SceneViews
    from gan3d.render import Topology

COVERAGE_QUANTILES = (0.05, 0.5, 0.95)
EDGE_QUANTILE = 0.99
DEGENERATE_QUALITY = 0.05  # of a triangle: 1 if equilateral, 0 if flat


def degeneracy(
    views: SceneViews,
    vertices: Float[np.ndarray, "N V 3"],
    topology: Topology,
    start_radius: float | None = None,
) -> dict[str, float]:
    """The measures of the table above.

    Args:
      views: of N scenes from the front, from `scene_views`.
      vertices: of their meshes, world coordinates.
      topology: of the meshes.
      start_radius: mean distance of the vertices from the origin when training began, world units;
        None leaves `size_against_start` nan.

    Returns:
      By name, each a mean over the scenes that have it unless said otherwise, nan if none has:

      coverage_low, coverage_median, coverage_high: 5, 50 and 95% quantiles of the mean alpha.
      front_depth_to_width: range of the visible depth over the object's width.
      convexity: correlation, in [-1, 1], of the visible depth with that of the half ellipsoid that
        bulges towards the camera over the same bounding box.
      hollow_share: share of the scenes whose convexity is negative.
      flipped_faces, and the sizes: as in `shape_statistics`.
      degenerate_faces: share of faces of quality 4 sqrt(3) area / (sum of squared sides) < 0.05.
      edge_ratio: 99% quantile of the edges' lengths over their median, per mesh.
      background_distance: root mean square difference of colour, over all pixels and channels,
        between the full picture and the picture of the background alone. Zero if the background
        already shows everything, whatever the mesh does.
      object_contrast: the same over the object's pixels, weighted by alpha: tells an object that
        looks like what lies behind it from one that is only small.
      size_against_start: mean distance of the vertices from the origin over `start_radius`.
    """
    vertices = np.asarray(vertices, np.float64)
    if vertices.ndim != 3 or vertices.shape[2] != 3 or len(vertices) != len(views.alpha):
        raise ValueError(
            f"vertices must be [N, V, 3] with the views' N = {len(views.alpha)}, "
            f"got shape {vertices.shape}"
        )
    if start_radius is not None and not start_radius > 0:
        raise ValueError(f"start_radius must be positive, got {start_radius}")
    low, median, high = np.quantile(views.alpha.mean(axis=(1, 2)), COVERAGE_QUANTILES)
    objects = list(zip(views.depth, views.alpha >= COVERED, strict=True))
    convexity = np.array([_convexity(*each) for each in objects])
    convex = convexity[~np.isnan(convexity)]
    radius = np.linalg.norm(vertices, axis=-1).mean()
    return {
        **shape_statistics(vertices, topology),
        "coverage_low": float(low),
        "coverage_median": float(median),
        "coverage_high": float(high),
        "front_depth_to_width": _known_mean([depth_range_to_width(*each) for each in objects]),
        "convexity": _known_mean(convex),
        "hollow_share": _known_mean(convex < 0),
        "degenerate_faces": degenerate_share(vertices, topology),
        "edge_ratio": edge_ratio(vertices, topology),
        **_contrast(views),
        "size_against_start": math.nan if start_radius is None else float(radius / start_radius),
    }


def degenerate_share(vertices: Float[np.ndarray, "N V 3"], topology: Topology) -> float:
    """Share of faces that are nearly flat: slivers, needles, points."""
    a, b, c = (vertices[:, topology.faces[:, k]] for k in range(3))
    double_area = np.linalg.norm(np.cross(b - a, c - a), axis=-1)
    squares = sum(((p - q) ** 2).sum(axis=-1) for p, q in ((a, b), (b, c), (c, a)))
    return float(np.mean(2 * math.sqrt(3) * double_area <= DEGENERATE_QUALITY * squares))


def edge_ratio(vertices: Float[np.ndarray, "N V 3"], topology: Topology) -> float:
    """Mean over the meshes of the 99% quantile of the edges' lengths over their median."""
    starts, ends = topology.edges.T
    ratios = []
    for mesh in vertices:
        lengths = np.linalg.norm(mesh[starts] - mesh[ends], axis=-1)
        median, long = np.quantile(lengths, (0.5, EDGE_QUANTILE))
        ratios.append(long / median if median > 0 else math.nan)
    return _known_mean(ratios)


def _convexity(depth: np.ndarray, mask: np.ndarray) -> float:
    if not mask.any():
        return math.nan
    squared = sum(
        ((2 * at - np.ptp(extent) - 2 * extent.min()) / (np.ptp(extent) + 1)) ** 2
        for at, extent in zip(np.indices(mask.shape), np.nonzero(mask), strict=True)
    )
    return correlation(depth, -np.sqrt(np.maximum(1 - squared, 0)), mask)


def _contrast(views: SceneViews) -> dict[str, float]:
    """nan where a scene's picture is blank, as those of an untextured mesh are."""
    squared = ((views.image - views.background) ** 2).mean(axis=-1)
    blank = np.ptp(views.image, axis=(1, 2, 3)) == 0
    covered = views.alpha.sum(axis=(1, 2))
    inside = (squared * views.alpha).sum(axis=(1, 2)) / np.where(covered > 0, covered, np.nan)
    return {
        "background_distance": _known_mean(
            np.where(blank, np.nan, np.sqrt(squared.mean(axis=(1, 2))))
        ),
        "object_contrast": _known_mean(np.where(blank, np.nan, np.sqrt(inside))),
    }


def _known_mean(values) -> float:
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else math.nan
