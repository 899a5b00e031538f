"""The geometry report: samples, untrained start shape and ground truth measured with one ruler."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gan3d.evaluation import geometry
from gan3d.evaluation.cloud_report import CloudSampling, compare_clouds, sample_clouds
from gan3d.evaluation.dashboard import degeneracy
from gan3d.evaluation.depth import mean_angle_deviation, scale_invariant_depth_error
from gan3d.evaluation.failures import failure_rates
from gan3d.evaluation.views import mesh_vertices, scene_views
from gan3d.scene import Scene, Stage
from gan3d.visualize import image_grid

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

VIEWS = {"frontal": 0.0, "profile_left": -math.pi / 2, "profile_right": math.pi / 2}
PICTURE_CELL_PIXELS = 128
FULL_COLOR_DEPTH = 0.1

CONSTANT_DEPTH = "constant depth"


class Measurement(NamedTuple):
    """What is kept of one family of scenes.

    Attributes:
      maps: canonical maps by view name, see `VIEWS`.
      shape: mesh statistics, measures of degeneracy and rates of failure by name, see
        `dashboard.degeneracy` and `failures.failure_rates`.
      distance: of the camera from the origin, world units; all families share it.
      clouds: points on the first meshes, or None.
    """

    maps: dict[str, geometry.CanonicalMaps]
    shape: dict[str, float]
    distance: float
    clouds: Float[np.ndarray, "A P 3"] | None = None


def measure(
    scenes: Sequence[Scene],
    stage: Stage,
    start_radius: float | None = None,
    sampling: CloudSampling | None = None,
) -> Measurement:
    """Renders a family of scenes from the canonical views and measures its meshes.

    Args:
      scenes: batches of scenes, each with one leading axis.
      stage: of the family; the evaluation's resolution and margin replace its own.
      start_radius: mean radius when training began, world units; None = no size drift.
      sampling: how many points to keep of how many meshes; None = no scores of point clouds.

    >>> sampling = CloudSampling(shapes=2, points=32, rng=np.random.default_rng(0))
    >>> heads: Measurement = measure([scenes], stage, sampling=sampling)
    >>> print(list(heads.maps), heads.clouds.shape)
    ['frontal', 'profile_left', 'profile_right'] (2, 32, 3)
    >>> report = geometry_report({"copies": heads}, truth=heads)
    >>> print(round(report["copies"]["frontal_iou"], 3), report["copies"]["frontal_depth_rmse"])
    1.0 0.0
    >>> print(report_picture({"copies": heads}, truth=heads).dtype)
    uint8
    """
    stage = geometry.evaluation_stage(stage)
    maps = {name: geometry.canonical_maps(scenes, stage, yaw) for name, yaw in VIEWS.items()}
    vertices = mesh_vertices(scenes, stage)
    views = scene_views(scenes, stage)
    shape = degeneracy(views, vertices, stage.topology, start_radius)
    shape |= failure_rates(views, vertices, stage.topology)
    clouds = sample_clouds(vertices, stage.topology, sampling) if sampling else None
    return Measurement(maps, shape, stage.distance, clouds)


def describe(measured: Measurement, truth: Measurement) -> dict[str, float]:
    """What one family looks like by itself; the truth only says where nose and eyes are."""
    frontal = measured.maps["frontal"]
    return {
        **measured.shape,
        "depth_to_width": geometry.depth_to_width(frontal),
        "depth_diversity": geometry.diversity(frontal),
        "nose_height": geometry.protrusion(frontal, geometry.nose_region(truth.maps["frontal"])),
        "eye_depth": -geometry.protrusion(frontal, geometry.eye_region(truth.maps["frontal"])),
    }


def compare(measured: Measurement, truth: Measurement) -> dict[str, float]:
    """Scores of one family against the truth; `profile_*` is the mean of both profiles."""
    scores = {}
    for view in VIEWS:
        a, b = measured.maps[view], truth.maps[view]
        scores[f"{view}_iou"] = geometry.silhouette_iou(a.coverage, b.coverage)
        scores[f"{view}_iou_at_half"] = geometry.silhouette_iou(
            a.coverage, b.coverage, threshold=geometry.COVERED
        )
        scores[f"{view}_depth_correlation"] = geometry.depth_correlation(a, b)
        scores[f"{view}_depth_rmse"] = geometry.depth_rmse(a, b)
        scores |= _scale_free_scores(view, a, b, truth.distance)
    scores |= _profile_means(scores)
    scores["relief_correlation"] = geometry.relief_correlation(
        measured.maps["frontal"], truth.maps["frontal"]
    )
    return scores


def _scale_free_scores(
    view: str, a: geometry.CanonicalMaps, b: geometry.CanonicalMaps, distance: float
) -> dict[str, float]:
    """SIDE, times 100, and MAD of mean depth where both mean coverages are at least 1/2."""
    mask = a.mask & b.mask
    depths = (a.depth + distance, b.depth + distance)
    return {
        f"{view}_side_percent": 100 * scale_invariant_depth_error(*depths, mask),
        f"{view}_mad_degrees": mean_angle_deviation(*depths, mask, distance),
    }


def _profile_means(scores: Mapping[str, float]) -> dict[str, float]:
    """Means of both profiles' scores."""
    left = "profile_left_"
    names = [key.removeprefix(left) for key in scores if key.startswith(left)]
    both = ((name, scores[left + name], scores[f"profile_right_{name}"]) for name in names)
    return {f"profile_{name}": (left + right) / 2 for name, left, right in both}


def _constant_depth_scores(truth: Measurement) -> dict[str, float]:
    """What a flat picture of the truth's own outline scores; SIDE does not care how far it is."""
    scores = {}
    for view, maps in truth.maps.items():
        flat = maps._replace(depth=np.zeros_like(maps.depth))
        scores |= _scale_free_scores(view, flat, maps, truth.distance)
    return scores | _profile_means(scores)


def geometry_report(
    families: Mapping[str, Measurement],
    truth: Measurement,
    progress: Callable[[str], None] | None = None,
) -> dict[str, dict[str, float | None]]:
    """Every family's description and scores, and the truth's description under "truth".

    A further entry, "constant depth", has the depth scores of a plane. If all measurements hold
    point clouds, their scores are included.

    Args:
      families: measurements by name.
      truth: what they are compared with.
      progress: called with a line now and then while point clouds are compared.

    Returns:
      By family and measure; None where a measure is undefined, so that the report is valid JSON.
    """
    report = {
        name: describe(family, truth) | compare(family, truth) for name, family in families.items()
    }
    clouds = {name: family.clouds for name, family in families.items()}
    if truth.clouds is not None and all(cloud is not None for cloud in clouds.values()):
        for name, scores in compare_clouds(clouds, truth.clouds, progress).items():
            report[name] |= scores
    report[CONSTANT_DEPTH] = _constant_depth_scores(truth)
    report["truth"] = describe(truth, truth)
    return {
        name: {key: value if math.isfinite(value) else None for key, value in measures.items()}
        for name, measures in report.items()
    }


def report_picture(
    families: Mapping[str, Measurement], truth: Measurement
) -> UInt8[np.ndarray, "H W 3"]:
    """Mean coverage and mean depth of every family and the truth, and what separates them.

    One row per family, the truth first. Per view: coverage (white = always covered) and depth
    (bright = near, all rows on the truth's scale, black outside the average object); last, frontal
    depth minus the truth's (red = too near, blue = too far, full colour from 0.1 on).
    """
    titles = [
        f"{label} {what}" for label in ("front", "-90°", "+90°") for what in ("coverage", "depth")
    ]
    rows = {"truth": truth, **families}
    cells = [
        [_picture(image) for view in VIEWS for image in _view_images(family, truth, view)]
        + [_picture(_difference_image(family.maps["frontal"], truth.maps["frontal"]))]
        for family in rows.values()
    ]
    return image_grid(cells, PICTURE_CELL_PIXELS, [*titles, "front difference"], list(rows))


def _view_images(
    family: Measurement, truth: Measurement, view: str
) -> tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W"]]:
    maps, true_maps = family.maps[view], truth.maps[view]
    inside = true_maps.depth[true_maps.mask] if true_maps.mask.any() else np.zeros(1)
    near, far = inside.min(), inside.max()
    # From 0.2 up, so that the farthest covered pixel still stands out from the outside.
    brightness = 0.2 + 0.8 * (far - maps.depth) / max(far - near, 1e-6)
    return maps.coverage, np.where(maps.mask, np.clip(brightness, 0.2, 1.0), 0.0)


def _difference_image(
    maps: geometry.CanonicalMaps, truth: geometry.CanonicalMaps
) -> Float[np.ndarray, "H W 3"]:
    nearer = np.where(maps.mask & truth.mask, truth.depth - maps.depth, 0.0) / FULL_COLOR_DEPTH
    red, blue = np.clip(nearer, 0, 1), np.clip(-nearer, 0, 1)
    return np.stack([1 - blue, 1 - red - blue, 1 - red], axis=-1)


def _picture(image: Float[np.ndarray, "H W *C"]) -> UInt8[np.ndarray, "H W 3"]:
    """Brightness or colours in [0, 1] as uint8 RGB."""
    colors = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1)
    return np.rint(np.clip(colors, 0, 1) * 255).astype(np.uint8)
