"""Measures the shapes of a trained run against the ground truth of the procedural heads.

    python -m experiments.evaluate --run=runs/demo

Prints a table and writes evaluation.json and evaluation.png into the run. The columns: the run's
samples | what an untrained generator gives, the start shape | the mean of other ground-truth heads,
as the best that a single shape can do | other heads, as the ceiling that so many samples allow | a
plane in the truth's outline, for the errors of depth | the truth itself. Comparing point clouds
takes most of the time: --clouds=0 leaves it out.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments import flags as experiment_flags
from experiments.flags import UsageError
from gan3d.data.heads import MAP_SIZE, head_scenes
from gan3d.evaluation import (
    CloudSampling,
    format_table,
    geometry_report,
    measure,
    report_picture,
)
from gan3d.evaluation.alignment import PLANE_POINTS
from gan3d.evaluation.geometry import EVALUATION_RESOLUTION
from gan3d.scene import Scene, make_stage
from gan3d.training.assemble import Parts, sample_scenes
from gan3d.training.run import RunError, load_run
from gan3d.visualize import save_png

SEED_OFFSET = 1_000_003  # keeps the evaluation's heads and latents apart from those of training
BATCH = 32
CLOUDS = 128
POINTS = 1024


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("run", "runs/demo", "directory of the training run", flag_values=values)
    flags.DEFINE_integer(
        "samples",
        256,
        "number of generated and of ground-truth shapes",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "clouds",
        CLOUDS,
        "number of these shapes that are compared as point clouds too; 0 = none",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "points", POINTS, "points per cloud", lower_bound=PLANE_POINTS, flag_values=values
    )
    flags.DEFINE_integer(
        "seed",
        None,
        f"seed of both; default the run's seed + {SEED_OFFSET}, so that no training head recurs",
        lower_bound=0,
        upper_bound=2**31 - 1,
        flag_values=values,
    )
    return values


def evaluate(
    run_dir: str | pathlib.Path,
    samples: int,
    seed: int | None = None,
    report: Callable[[str], None] = print,
    clouds: int = CLOUDS,
    points: int = POINTS,
) -> dict[str, Any]:
    """Evaluates the newest checkpoint of a run; writes evaluation.json and evaluation.png into it.

    Args:
      run_dir: directory of the run.
      samples: number of generated and of ground-truth shapes.
      seed: of both. None: the run's seed + `SEED_OFFSET`.
      report: called with one line of progress at a time.
      clouds: number of shapes that are compared as point clouds, at most `samples`; 0 = none.
      points: per cloud, at least `PLANE_POINTS`.

    Returns:
      The content of evaluation.json.

    Raises:
      RunError: the run cannot be used, or its data has no ground truth.
    """
    run_dir = pathlib.Path(run_dir)
    run = load_run(run_dir)
    config = run.parts.config
    if config.data != "heads":
        raise RunError(
            f"run {run_dir} was trained on {config.data!r}, which has no ground truth: "
            "only runs on 'heads' can be evaluated"
        )
    seed = (config.seed + SEED_OFFSET) % 2**31 if seed is None else seed
    report(f"{run_dir}: {run.images_seen:,} images seen; {samples} samples, seed {seed}")
    head_stage = make_stage(MAP_SIZE, EVALUATION_RESOLUTION, run.parts.stage.fov)
    sampling = CloudSampling(clouds, points, np.random.default_rng(seed)) if clouds else None
    measured = functools.partial(measure, start_radius=config.start_radius, sampling=sampling)
    generated = _generated(run.parts, run.ema_params, samples, seed)
    other_heads = _heads(samples, seed, first=samples)
    start, mean_head = run.parts.start_surface, _mean_surface(other_heads)
    single = sampling and sampling._replace(shapes=1)
    families = {
        "run": measured(generated, run.parts.stage),
        "untrained": measured([_plain(start, generated[0])], run.parts.stage, sampling=single),
        "mean head": measured([_plain(mean_head, other_heads[0])], head_stage, sampling=single),
        "other heads": measured(other_heads, head_stage),
    }
    truth = measured(_heads(samples, seed, first=0), head_stage)

    scores = geometry_report(families, truth, report)
    report(format_table(scores))
    result = {"images_seen": run.images_seen, "samples": samples, "seed": seed, "scores": scores}
    result |= {"clouds": min(clouds, samples), "points": points}
    result["config"] = dataclasses.asdict(config)
    json_path, png_path = run_dir / "evaluation.json", run_dir / "evaluation.png"
    json_path.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")
    save_png(png_path, report_picture(families, truth))
    report(f"{json_path}\n{png_path}")
    return result


def _generated(parts: Parts, params: Any, num: int, seed: int) -> list[Scene]:
    draw = jax.jit(lambda params, key: sample_scenes(parts, params, key, BATCH))
    keys = jax.random.split(jax.random.key(seed), math.ceil(num / BATCH))
    return _trim([draw(params, key) for key in keys], num)


def _heads(num: int, seed: int, first: int) -> list[Scene]:
    indices = np.arange(first, first + num)
    return [head_scenes(seed, indices[i : i + BATCH]) for i in range(0, num, BATCH)]


def _mean_surface(batches: list[Scene]) -> np.ndarray:
    """Heads share a chart: equal pixels of their surface maps are equal places of the face."""
    return np.concatenate([np.asarray(batch.surface) for batch in batches]).mean(axis=0)


def _plain(surface: np.ndarray, like: Scene) -> Scene:
    """Copies of one shape without colours, as a batch for which no program has to be compiled."""
    blank = jax.tree.map(jnp.zeros_like, like)
    return blank._replace(surface=jnp.broadcast_to(surface, like.surface.shape))


def _trim(batches: list[Scene], num: int) -> list[Scene]:
    """Shortens the last batch, so that the batches hold `num` scenes in all."""
    last = num - BATCH * (len(batches) - 1)
    return [*batches[:-1], jax.tree.map(lambda leaf: leaf[:last], batches[-1])]


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    flag_values = _define_flags()
    experiment_flags.parse(flag_values, argv, __doc__)
    try:
        evaluate(
            flag_values.run,
            flag_values.samples,
            flag_values.seed,
            clouds=flag_values.clouds,
            points=flag_values.points,
        )
    except RunError as error:
        raise UsageError(str(error)) from error
    return 0


if __name__ == "__main__":
    sys.exit(experiment_flags.run(main, sys.argv))
