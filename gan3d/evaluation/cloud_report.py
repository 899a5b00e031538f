"""Families of shapes as sets of point clouds: scores against the truth, as they are and aligned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gan3d.evaluation.alignment import align_by_icp
from gan3d.evaluation.points import (
    coverage,
    f_score,
    minimum_matching_distance,
    one_nearest_neighbour_accuracy,
    pairwise_chamfer,
    sample_surface,
)
from gan3d.evaluation.progress import Report, paced

if TYPE_CHECKING:
    from jaxtyping import Float

    from gan3d.render import Topology

F_SCORE_THRESHOLD = 0.05  # world units, 2.5% of the picture's width
ALIGNMENT_POINTS = 8192  # of all shapes together


class CloudSampling(NamedTuple):
    """How meshes become clouds.

    Attributes:
      shapes: at most so many of a family's shapes.
      points: of each.
      rng: consumed. Families need different points: at equal places of equal charts, their
        sampling errors would cancel out.
    """

    shapes: int
    points: int
    rng: np.random.Generator


def sample_clouds(
    vertices: Float[np.ndarray, "N V 3"], topology: Topology, sampling: CloudSampling
) -> Float[np.ndarray, "A P 3"]:
    """Clouds of the first A = min(N, sampling.shapes) meshes."""
    meshes = vertices[: sampling.shapes]
    clouds = [sample_surface(v, topology.faces, sampling.points, sampling.rng) for v in meshes]
    return np.stack(clouds)


def compare_clouds(
    families: Mapping[str, Float[np.ndarray, "A P 3"]],
    truth: Float[np.ndarray, "B P 3"],
    report: Report | None = None,
) -> dict[str, dict[str, float]]:
    """Scores of every family against the truth.

    Args:
      families: clouds by name, world units. A family of one cloud counts as that shape B times.
      truth: clouds, as many as the families have, for 1-NNA to be 1/2 at best.
      report: called with a line of progress now and then.

    Returns:
      By family:

      mmd, cov, one_nna, f_score: minimum matching distance, coverage and 1-nearest-neighbour
        accuracy under the Chamfer distance; mean over the true shapes of the F-score, at
        `F_SCORE_THRESHOLD`, of the nearest shape.
      aligned_mmd and so on: the same after one similarity for the whole family, see `alignment`;
        not there if the family is a single point.
      alignment_scale, alignment_degrees, alignment_shift: of that similarity; how far it moves the
        family's centre, world units.

    >>> from gan3d.render import icosphere
    >>> points = icosphere(1)[0]
    >>> truth = np.stack([points * size for size in ([1.0, 1.2, 1.5], [1.0, 1.5, 1.2])])
    >>> scores = compare_clouds({"copies": truth, "one": 0.5 * truth[:1]}, truth)
    >>> print(scores["copies"]["mmd"], scores["copies"]["cov"], scores["one"]["cov"])
    0.0 1.0 0.5
    >>> print(round(scores["one"]["alignment_scale"], 1))
    2.0
    """
    part = paced(report, "point clouds")
    within_truth = pairwise_chamfer(truth, progress=part("truth"))
    return {
        name: _family_scores(clouds, truth, within_truth, name, part)
        for name, clouds in families.items()
    }


def _family_scores(clouds, truth, within_truth, name, part) -> dict[str, float]:
    within = pairwise_chamfer(clouds, progress=part(name))
    cross = pairwise_chamfer(clouds, truth, part(f"{name} against truth"))
    scores = _scores(clouds, truth, within, within_truth, cross)
    if not np.ptp(clouds, axis=(0, 1)).any():
        return scores
    similarity = align_by_icp(_pooled(clouds), _pooled(truth))
    aligned = similarity.apply(clouds)
    cross = pairwise_chamfer(aligned, truth, part(f"{name} aligned"))
    # Distances within a family grow with it.
    aligned_scores = _scores(aligned, truth, similarity.scale * within, within_truth, cross)
    centre = clouds.mean(axis=(0, 1))
    return {
        **scores,
        **{f"aligned_{key}": value for key, value in aligned_scores.items()},
        "alignment_scale": similarity.scale,
        "alignment_degrees": math.degrees(similarity.angle),
        "alignment_shift": float(np.linalg.norm(similarity.apply(centre) - centre)),
    }


def _scores(clouds, truth, within, within_truth, cross) -> dict[str, float]:
    nearest = [clouds[index] for index in cross.argmin(axis=0)]
    pairs = zip(nearest, truth, strict=True)
    matches = [f_score(cloud, true, F_SCORE_THRESHOLD) for cloud, true in pairs]
    if len(clouds) == 1:
        cross = np.repeat(cross, len(truth), axis=0)
        within = np.zeros_like(within_truth)
    return {
        "mmd": minimum_matching_distance(cross),
        "cov": coverage(cross),
        "one_nna": one_nearest_neighbour_accuracy(within, within_truth, cross),
        "f_score": float(np.mean(matches)),
    }


def _pooled(clouds: Float[np.ndarray, "A P 3"]) -> Float[np.ndarray, "M 3"]:
    """At most `ALIGNMENT_POINTS` of all clouds' points; those of a cloud have no order."""
    points = clouds.reshape(-1, 3)
    return points[:: max(1, math.ceil(len(points) / ALIGNMENT_POINTS))]
