"""Measures a trained run against the truth: shapes, pictures, and the sense of the viewpoint.

    python -m experiments.evaluate --run=runs/demo
    python -m experiments.evaluate --run=runs/demo --clouds=0 --pictures=0 --pose_steps=0   # quick
    python -m experiments.evaluate --run=runs/demo --features=inception   # FID and KID as well

Prints a table and writes evaluation.json and evaluation.png into the run, and adds a line of the
run's own scores to its evaluations.jsonl, whose curves `experiments.curves` draws.

The columns: the run's samples | what an untrained generator gives | the mean of other ground-truth
heads, as the best that a single shape can do | other heads, as the ceiling that so many samples
allow | a plane in the truth's outline, for the errors of depth | the truth itself | one viewpoint
for all pictures. Shapes are compared as mean pictures, by their radii (is it the mean, the variety
or something else that tells them from true ones?) and, --clouds of them, as point clouds;
--pictures by sliced Wasserstein distance, and FID and KID if asked for; and a network that learned
the viewpoint from generated pictures alone is asked for that of true ones. Of a run on photographs,
whose shapes are not known, the pictures alone are compared, with photographs of the training set.
Samples are counted as degenerate by the limits of `gan3d.evaluation.failures`.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags

from experiments import flags as experiment_flags
from experiments.effort import Effort, define_effort_flags, effort_from_flags
from experiments.flags import UsageError
from gan3d.training.metrics import HISTORY_NAME, read_metrics

SEED_OFFSET = 1_000_003  # keeps the evaluation's heads and latents apart from those of training


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("run", "runs/demo", "directory of the training run", flag_values=values)
    define_effort_flags(values)
    flags.DEFINE_integer(
        "seed",
        None,
        f"seed of everything; default the run's seed + {SEED_OFFSET}, so that no training head "
        "recurs",
        lower_bound=0,
        upper_bound=2**31 - 1,
        flag_values=values,
    )
    return values


def evaluate(
    run_dir: str | pathlib.Path,
    effort: Effort,
    seed: int | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Evaluates the newest checkpoint of a run, and writes the files that the module names.

    Args:
      run_dir: directory of the run.
      effort: how much is compared.
      seed: of everything random. None: the run's seed + `SEED_OFFSET`.
      report: called with one line of progress at a time.

    Returns:
      The content of evaluation.json.

    Raises:
      RunError: the run cannot be used.
      MissingFeaturesError: the network that FID and KID need is not at hand.
    """
    from experiments import evaluation_parts  # slow imports, after the flags are known to be right
    from gan3d.evaluation import format_table
    from gan3d.training.run import load_run
    from gan3d.visualize import save_png

    run_dir = pathlib.Path(run_dir)
    run = load_run(run_dir)
    config = run.parts.config
    seed = (config.seed + SEED_OFFSET) % 2**31 if seed is None else seed
    report(f"{run_dir}: {run.images_seen:,} images seen; seed {seed}")
    scores, picture = evaluation_parts.measure_run(run, effort, seed, report)
    report(format_table(scores))
    result = {"images_seen": run.images_seen, "seed": seed, **dataclasses.asdict(effort)}
    result |= {"scores": scores, "config": dataclasses.asdict(config)}
    paths = [run_dir / "evaluation.json"]
    paths[0].write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")
    _add_line(run_dir / HISTORY_NAME, run.images_seen, scores["run"])
    if picture is not None:
        paths.append(run_dir / "evaluation.png")
        save_png(paths[1], picture)
    report("\n".join(map(str, paths)))
    return result


def _add_line(path: pathlib.Path, images_seen: int, scores: Mapping[str, float | None]) -> None:
    """Adds a line as of metrics.jsonl; an older one about as many images seen is replaced."""
    rows = read_metrics(path) if path.exists() else []
    rows = [row for row in rows if row["images"] != images_seen]
    rows.append({"images": images_seen, **{f"evaluation/{key}": v for key, v in scores.items()}})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    values = _define_flags()
    experiment_flags.parse(values, argv, __doc__)

    from gan3d.evaluation import MissingFeaturesError
    from gan3d.training.run import RunError

    try:
        evaluate(values.run, effort_from_flags(values), values.seed)
    except (RunError, MissingFeaturesError) as error:
        raise UsageError(str(error)) from error
    return 0


if __name__ == "__main__":
    sys.exit(experiment_flags.run(main, sys.argv))
