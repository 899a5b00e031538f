"""The parts of an evaluation: shapes, pictures, viewpoints."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.evaluation_families import (
    BATCH,
    generated_scenes,
    mean_surface,
    photographer,
    picture_families,
    plain,
    true_heads,
    true_images,
)
from gan3d.data.heads import MAP_SIZE, HeadsSource, head_scene
from gan3d.evaluation import (
    CloudSampling,
    constant_pose_errors,
    geometry_report,
    image_scores,
    inception_features,
    measure,
    photographs_of,
    pose_errors,
    report_picture,
    train_pose_regressor,
)
from gan3d.evaluation.geometry import EVALUATION_RESOLUTION
from gan3d.scene import Scene, View, make_stage
from gan3d.training.run import Run, RunError

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from experiments.evaluate import Effort

Report = Callable[[str], None]
Scores = dict[str, dict[str, float | None]]
_POSE_STREAM = 1  # folded into the seed's key


def measure_run(
    run: Run, effort: Effort, seed: int, report: Report
) -> tuple[Scores, UInt8[np.ndarray, "H W 3"] | None]:
    """All scores by family and measure, and the picture of the mean shapes if there is a truth."""
    has_shapes = run.parts.config.data == "heads"
    scores, picture = _shapes(run, effort, seed, report) if has_shapes else ({"run": {}}, None)
    if effort.pictures or (effort.pose_steps and has_shapes):
        _pictures(run, effort, seed, report, scores)
    return {name: _json_values(measures) for name, measures in scores.items()}, picture


def _shapes(run: Run, effort: Effort, seed: int, report: Report):
    parts, num = run.parts, effort.samples
    report(f"shapes: {num} samples against {num} heads")
    head_stage = make_stage(MAP_SIZE, EVALUATION_RESOLUTION, parts.stage.fov)
    rng = np.random.default_rng(seed)
    sampling = CloudSampling(effort.clouds, effort.points, rng) if effort.clouds else None
    single = sampling and sampling._replace(shapes=1)
    measured = functools.partial(measure, start_radius=parts.config.start_radius, sampling=sampling)
    generated = generated_scenes(parts, run.ema_params, num, seed)
    others = true_heads(num, seed, first=num)
    start, mean_head = parts.start_surface, mean_surface(others)
    families = {
        "run": measured(generated, parts.stage),
        "untrained": measured([plain(start, generated[0])], parts.stage, sampling=single),
        "mean head": measured([plain(mean_head, others[0])], head_stage, sampling=single),
        "other heads": measured(others, head_stage),
    }
    truth = measured(true_heads(num, seed, first=0), head_stage)
    return geometry_report(families, truth, report), report_picture(families, truth)


def _pictures(run: Run, effort: Effort, seed: int, report: Report, scores: Scores) -> None:
    """Adds the scores of pictures and viewpoints."""
    is_heads = run.parts.config.data == "heads"
    other = "other heads" if is_heads else "other photographs"
    num = effort.pictures or effort.samples
    source = true_images(run.parts, 2 * num, seed)
    if len(source) < 2 * num:
        raise RunError(
            f"pictures must be at most {len(source) // 2}, half of what the data has, got {num}"
        )
    if effort.pictures:
        report(f"pictures: {num} of each family")
        families = picture_families(run.parts, run.ema_params, source, num, seed)
        truth = families.pop("truth")
        families[other] = families.pop("other")
        features = inception_features if effort.features == "inception" else None
        found = image_scores(families, truth, features, np.random.default_rng(seed), report)
        _merge(scores, found)
    if effort.pose_steps and is_heads:
        _merge(scores, _poses(run, source, num, effort.pose_steps, seed, report))


def _poses(
    run: Run, source: HeadsSource, num: int, steps: int, seed: int, report: Report
) -> dict[str, dict[str, float]]:
    """Errors on true pictures of networks that learned from generated, and from other heads."""
    report(f"viewpoints: {steps} steps on generated pictures, then as many on other heads")
    photograph = photographer(run.parts)
    draws = {
        "run": functools.partial(photograph, run.ema_params),
        "other heads": photographs_of(_random_heads(seed + 1), source.stage, source.prior, BATCH),
    }
    images = source.batch(np.arange(num))
    views = jax.device_get(jax.vmap(source.view)(np.arange(num)))
    key = jax.random.fold_in(jax.random.key(seed), _POSE_STREAM)
    errors = {"constant pose": constant_pose_errors(View(*views))}
    for name, draw in draws.items():
        regressor = train_pose_regressor(draw, key, steps=steps, report=report)
        errors[name] = pose_errors(regressor, images, View(*views))
    return errors


def _random_heads(seed: int) -> Callable[[Any], Scene]:
    """key -> `BATCH` heads of a family that no other part of the evaluation uses."""

    def sample(key: Any) -> Scene:
        indices = jax.random.randint(key, (BATCH,), 0, 2**31 - 1, jnp.int32)
        return jax.vmap(lambda index: head_scene(seed % 2**31, index))(indices)

    return sample


def _merge(scores: Scores, found: Mapping[str, Mapping[str, float]]) -> None:
    for name, measures in found.items():
        scores[name] = {**scores.get(name, {}), **measures}


def _json_values(measures: Mapping[str, float | None]) -> dict[str, float | None]:
    """None for what is undefined: JSON has no nan."""
    return {
        key: None if value is None or not math.isfinite(value) else float(value)
        for key, value in measures.items()
    }
