"""The parts of an evaluation: shapes, pictures, viewpoints."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import jax
import numpy as np

from experiments.evaluation_families import (
    generated_pictures,
    generated_scenes,
    mean_surface,
    picture_families,
    plain,
    true_heads,
    true_images,
)
from gan3d.data.heads import MAP_SIZE, HeadsSource
from gan3d.evaluation import (
    CloudSampling,
    compare_radii,
    constant_pose_errors,
    geometry_report,
    image_scores,
    inception_features,
    measure,
    mesh_vertices,
    pose_errors,
    report_picture,
    sphere_directions,
    surface_radii,
    train_pose_regressor,
)
from gan3d.evaluation.geometry import EVALUATION_RESOLUTION
from gan3d.evaluation.pose_network import BATCH as POSE_BATCH
from gan3d.scene import Scene, Stage, View, make_stage
from gan3d.training.run import Run, RunError

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from experiments.effort import Effort
    from gan3d.data.sources import ImageSource

Report = Callable[[str], None]
Scores = dict[str, dict[str, float | None]]
_POSE_STREAM = 1  # folded into the seed's key
_RADIAL_DIRECTIONS = 500
_REFERENCE_FACTOR = 4  # heads that say what the true mean and modes are, over samples
_MAX_POSE_PICTURES = 4096  # that a network learns from


def measure_run(
    run: Run, effort: Effort, seed: int, report: Report
) -> tuple[Scores, UInt8[np.ndarray, "H W 3"] | None]:
    """All scores by family and measure, and the picture of the mean shapes if there is a truth."""
    has_shapes = run.parts.config.data == "heads"
    asks_pose = effort.pose_steps > 0 and has_shapes
    source = None
    if effort.pictures or asks_pose:  # before the long work, so that a mistake shows at once
        source = _open_truth(run, effort, seed)
    scores, picture = (_shapes if has_shapes else _shapes_alone)(run, effort, seed, report)
    if effort.pictures:
        _merge(scores, _pictures(run, source, effort, seed, report))
    if asks_pose:
        _merge(scores, _poses(run, source, effort, seed, report))
    return {name: _json_values(measures) for name, measures in scores.items()}, picture


def _open_truth(run: Run, effort: Effort, seed: int) -> ImageSource:
    num = effort.pictures or effort.samples
    source = true_images(run.parts, 2 * num + _MAX_POSE_PICTURES, seed)
    if len(source) < 2 * num:
        raise RunError(
            f"pictures must be at most {len(source) // 2}, half of what the data has, got {num}"
        )
    return source


def _shapes(run: Run, effort: Effort, seed: int, report: Report):
    parts, num = run.parts, effort.samples
    report(f"shapes: {num} samples against {num} heads")
    head_stage = make_stage(MAP_SIZE, EVALUATION_RESOLUTION, parts.stage.fov)
    rng = np.random.default_rng(seed)
    sampling = CloudSampling(effort.clouds, effort.points, rng) if effort.clouds else None
    single = sampling and sampling._replace(shapes=1)
    measured = functools.partial(measure, start_radius=parts.config.start_radius)
    generated = generated_scenes(parts, run.ema_params, num, seed)
    heads, others = true_heads(num, seed, first=0), true_heads(num, seed, first=num)
    alone = {
        "untrained": ([plain(parts.start_surface, generated[0])], parts.stage),
        "mean head": ([plain(mean_surface(others), others[0])], head_stage),
    }
    shapes = {"run": (generated, parts.stage), **alone, "other heads": (others, head_stage)}
    families = {
        name: measured(*family, sampling=single if name in alone else sampling)
        for name, family in shapes.items()
    }
    truth = measured(heads, head_stage, sampling=sampling)
    scores = geometry_report(families, truth, report)
    _merge(scores, _radii(shapes, heads, head_stage, seed, report))
    return scores, report_picture(families, truth)


def _radii(
    families: Mapping[str, tuple[list[Scene], Stage]],
    heads: list[Scene],
    head_stage: Stage,
    seed: int,
    report: Report,
) -> dict[str, dict[str, float]]:
    """How the families' shapes differ from the heads', by mean, variety and wandering."""
    num = sum(len(batch.surface) for batch in heads)
    report(f"radii: against {_REFERENCE_FACTOR * num} more heads")
    directions = sphere_directions(_RADIAL_DIRECTIONS)

    def radii(scenes: list[Scene], stage: Stage) -> np.ndarray:
        return surface_radii(mesh_vertices(scenes, stage), stage.topology.faces, directions)

    reference = true_heads(_REFERENCE_FACTOR * num, seed, first=2 * num)
    measured = {name: radii(*family) for name, family in families.items()}
    return compare_radii(measured, radii(heads, head_stage), radii(reference, head_stage))


def _shapes_alone(run: Run, effort: Effort, seed: int, report: Report):
    """Without a truth: are the run's shapes degenerate?"""
    report(f"shapes: {effort.samples} samples")
    generated = generated_scenes(run.parts, run.ema_params, effort.samples, seed)
    measured = measure(generated, run.parts.stage, run.parts.config.start_radius)
    return {"run": measured.shape}, None


def _pictures(
    run: Run, source: ImageSource, effort: Effort, seed: int, report: Report
) -> dict[str, dict[str, float]]:
    num = effort.pictures
    report(f"pictures: {num} of each family")
    families = picture_families(run.parts, run.ema_params, source, num, seed)
    truth = families.pop("truth")
    is_heads = run.parts.config.data == "heads"
    families["other heads" if is_heads else "other photographs"] = families.pop("other")
    features = inception_features if effort.features == "inception" else None
    return image_scores(families, truth, features, np.random.default_rng(seed), report)


def _poses(
    run: Run, source: HeadsSource, effort: Effort, seed: int, report: Report
) -> dict[str, dict[str, float]]:
    """Errors on true pictures of networks that learned from generated, and from other heads."""
    num, steps = effort.pictures or effort.samples, effort.pose_steps
    report(f"viewpoints: {steps} steps on generated pictures, then as many on other heads")
    key = jax.random.fold_in(jax.random.key(seed), _POSE_STREAM)
    lessons = min(_MAX_POSE_PICTURES, steps * POSE_BATCH)
    families = {
        "run": generated_pictures(run.parts, run.ema_params, lessons, seed),
        "other heads": _true_pictures(source, 2 * num + np.arange(lessons)),
    }
    images, views = _true_pictures(source, np.arange(num))
    errors = {"constant pose": constant_pose_errors(views)}
    for name, pictures in families.items():
        regressor = train_pose_regressor(*pictures, key, steps=steps, report=report)
        errors[name] = pose_errors(regressor, images, views)
    return errors


def _true_pictures(source: HeadsSource, indices: np.ndarray) -> tuple[np.ndarray, View]:
    views = jax.device_get(jax.vmap(source.view)(indices.astype(np.int32)))
    return source.batch(indices), View(*views)


def _merge(scores: Scores, found: Mapping[str, Mapping[str, float]]) -> None:
    for name, measures in found.items():
        scores[name] = {**scores.get(name, {}), **measures}


def _json_values(measures: Mapping[str, float | None]) -> dict[str, float | None]:
    """None for what is undefined: JSON has no nan."""
    return {
        key: None if value is None or not math.isfinite(value) else float(value)
        for key, value in measures.items()
    }
