"""Ablation on the procedural heads: trains and evaluates one run per row and seed.

    python -m experiments.ablate                       # the paper's Figure 3, three seeds
    python -m experiments.ablate --rows=crisp          # one row
    python -m experiments.ablate --rows=all --seeds=0  # every row once
    python -m experiments.ablate --rows=full,prior_double,prior_half --seeds=0 --evaluations=8
    python -m experiments.curves --run=runs/ablation/full_seed0 --run=... # Theorem 1 in practice

Stopped at any point, the same command continues. A finished run is not repeated; runs of other
rows and seeds in the same folder appear in the table as well. Writes ablation.json, ablation.md and
ablation.png into the folder. All rows see as many images, with schedules in proportion.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from experiments import flags as experiment_flags
from experiments.ablation_rows import MAIN_ROWS, ROWS, row_config, scheduled
from experiments.effort import Effort, define_effort_flags, effort_from_flags
from experiments.evaluate import evaluate
from experiments.flags import UsageError
from experiments.train import train
from gan3d.config import Config, field_types, validate


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    rows = ", ".join(ROWS)
    flags.DEFINE_list("rows", list(MAIN_ROWS), f"rows to run, or all: {rows}", flag_values=values)
    flags.DEFINE_list("seeds", ["0", "1", "2"], "seeds of every row", flag_values=values)
    flags.DEFINE_string("out", "runs/ablation", "folder of the runs", flag_values=values)
    flags.DEFINE_integer(
        "evaluations",
        1,
        "evaluations of every run, at equal distances; the last is at its end",
        lower_bound=1,
        flag_values=values,
    )
    define_effort_flags(values)
    experiment_flags.define_config_flags(values)
    values["seed"].help += "; here --seeds decides"
    return values


def ablate(
    base: Config,
    rows: Sequence[str],
    seeds: Sequence[int],
    out: pathlib.Path,
    effort: Effort,
    evaluations: int = 1,
) -> int:
    """Runs what is missing, then writes the report; returns the exit code."""
    import jax  # slow imports, after the flags are known to be right

    from experiments import ablation_report

    # Runs that differ in the seed alone are the same programs.
    jax.config.update("jax_compilation_cache_dir", str(out.absolute() / "compiled"))
    plan = [(row, seed) for row in rows for seed in seeds]
    for number, (row, seed) in enumerate(plan, start=1):
        run_dir = out / f"{row}_seed{seed}"
        print(f"run {number} of {len(plan)}: {row} ({ROWS[row].about}), seed {seed}", flush=True)
        code = _run(row_config(base, row, seed), run_dir, effort, evaluations)
        if code:
            return code
    for path in ablation_report.write(out):
        print(path)
    return 0


def _run(config: Config, run_dir: pathlib.Path, effort: Effort, evaluations: int) -> int:
    """Trains in as many legs, each of which continues the one before and ends in an evaluation."""
    for leg in range(1, evaluations + 1):
        stop = max(1, config.images * leg // evaluations)
        reached = _evaluated_images(run_dir, effort)
        if reached >= stop:
            continue
        code = train(dataclasses.replace(config, images=stop), str(run_dir))
        if code:
            return code
        evaluate(run_dir, effort)
    return 0


def _evaluated_images(run_dir: pathlib.Path, effort: Effort) -> int:
    """Images seen at the last evaluation, if it took the same effort; otherwise 0."""
    try:
        result = json.loads((run_dir / "evaluation.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return 0
    same = all(result.get(name) == value for name, value in dataclasses.asdict(effort).items())
    return result["images_seen"] if same else 0


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    values = _define_flags()
    experiment_flags.parse(values, argv, __doc__)
    given = {name for name in field_types() if name != "preset" and values[name].present}
    base = scheduled(experiment_flags.config_from_flags(values), given)
    rows = list(ROWS) if values.rows == ["all"] else values.rows
    seeds = [_seed(text) for text in values.seeds]
    try:
        _check(base, rows, seeds)
    except ValueError as error:
        raise UsageError(str(error)) from error
    experiment_flags.check_output("out", values.out, folder=True)
    effort = effort_from_flags(values)
    return ablate(base, rows, seeds, pathlib.Path(values.out), effort, values.evaluations)


def _seed(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise UsageError(f"seeds must be whole numbers, got {text!r}") from error


def _check(base: Config, rows: Sequence[str], seeds: Sequence[int]) -> None:
    unknown = [row for row in rows if row not in ROWS]
    if unknown or not rows:
        raise ValueError(f"rows must be of {', '.join(ROWS)}, got {', '.join(unknown) or 'none'}")
    if not seeds:
        raise ValueError("seeds must be at least one whole number, got none")
    if base.data != "heads":
        raise ValueError(f"data must be 'heads', which has ground truth, got {base.data!r}")
    for row in rows:
        for seed in seeds:
            validate(row_config(base, row, seed))


if __name__ == "__main__":
    sys.exit(experiment_flags.run(main, sys.argv))
