"""The geometry report: samples, untrained start shape and ground truth measured with one ruler."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from gan3d.evaluation import geometry
from gan3d.scene import Scene, Stage, scene_vertices
from gan3d.visualize import image_grid

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

VIEWS = {"frontal": 0.0, "profile_left": -math.pi / 2, "profile_right": math.pi / 2}
PICTURE_CELL_PIXELS = 128
FULL_COLOR_DEPTH = 0.1

# Rows of the printed table: key and label.
TABLE_ROWS = (
    ("frontal_iou", "frontal silhouette IoU"),
    ("profile_iou", "profile silhouette IoU"),
    ("frontal_depth_correlation", "frontal depth correlation"),
    ("profile_depth_correlation", "profile depth correlation"),
    ("frontal_depth_rmse", "frontal depth RMSE"),
    ("profile_depth_rmse", "profile depth RMSE"),
    ("relief_correlation", "relief correlation (brow, nose)"),
    ("nose_height", "nose, height"),
    ("eye_depth", "eye sockets, depth"),
    ("width", "width"),
    ("height", "height"),
    ("length", "length (front to back)"),
    ("mean_radius", "mean radius"),
    ("depth_to_width", "depth range / width"),
    ("depth_diversity", "depth diversity (std)"),
    ("coverage_median", "coverage, median"),
    ("flipped_faces", "flipped faces"),
)


class Measurement(NamedTuple):
    """What is kept of one family of scenes.

    Attributes:
      maps: canonical maps by view name, see `VIEWS`.
      shape: mesh statistics by name.
    """

    maps: dict[str, geometry.CanonicalMaps]
    shape: dict[str, float]


def measure(scenes: Sequence[Scene], stage: Stage) -> Measurement:
    """Renders a family of scenes from the canonical views and measures its meshes.

    Args:
      scenes: batches of scenes, each with one leading axis.
      stage: of the family; the evaluation's resolution and margin replace its own.
    """
    stage = geometry.evaluation_stage(stage)
    maps = {name: geometry.canonical_maps(scenes, stage, yaw) for name, yaw in VIEWS.items()}
    to_vertices = jax.jit(jax.vmap(lambda surface: scene_vertices(surface, stage)))
    vertices = np.concatenate([np.asarray(to_vertices(batch.surface)) for batch in scenes])
    return Measurement(maps, geometry.shape_statistics(vertices, stage.topology))


def describe(measured: Measurement, truth: Measurement) -> dict[str, float]:
    """What one family looks like by itself; the truth only says where nose and eyes are."""
    frontal = measured.maps["frontal"]
    quantiles = np.quantile(frontal.covered_share, geometry.COVERAGE_QUANTILES)
    return {
        **measured.shape,
        "coverage_low": float(quantiles[0]),
        "coverage_median": float(quantiles[1]),
        "coverage_high": float(quantiles[2]),
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
    for score in ("iou", "iou_at_half", "depth_correlation", "depth_rmse"):
        both = (scores[f"profile_left_{score}"], scores[f"profile_right_{score}"])
        scores[f"profile_{score}"] = sum(both) / 2
    scores["relief_correlation"] = geometry.relief_correlation(
        measured.maps["frontal"], truth.maps["frontal"]
    )
    return scores


def geometry_report(
    families: Mapping[str, Measurement], truth: Measurement
) -> dict[str, dict[str, float | None]]:
    """Every family's description and scores, and the truth's description under "truth".

    Returns:
      By family and measure; None where a measure is undefined, so that the report is valid JSON.
    """
    report = {
        name: describe(family, truth) | compare(family, truth) for name, family in families.items()
    }
    report["truth"] = describe(truth, truth)
    return {
        name: {key: value if math.isfinite(value) else None for key, value in measures.items()}
        for name, measures in report.items()
    }


def format_table(report: Mapping[str, Mapping[str, float | None]]) -> str:
    """The report as aligned text, one column per family."""
    titles = list(report)
    width = max(10, *(len(title) + 2 for title in titles))
    lines = [" " * 32 + "".join(f"{title:>{width}}" for title in titles)]
    for key, label in TABLE_ROWS:
        values = (report[title].get(key) for title in titles)
        cells = ("-" if value is None else f"{value:.3f}" for value in values)
        lines.append(f"{label:<32}" + "".join(f"{cell:>{width}}" for cell in cells))
    return "\n".join(lines)


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
