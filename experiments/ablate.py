"""Ablation on the procedural heads: trains and evaluates one run per row and seed.

    python -m experiments.ablate                       # the paper's Figure 3, three seeds
    python -m experiments.ablate --rows=crisp          # one row
    python -m experiments.ablate --rows=all --seeds=0  # every row once

Stopped at any point, the same command continues. A finished run is not repeated; runs of other
rows and seeds in the same folder appear in the table as well. Writes ablation.json, ablation.md and
ablation.png into the folder. All rows see as many images, with schedules in proportion.
"""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from experiments import flags as experiment_flags
from experiments.ablation_rows import MAIN_ROWS, ROWS, row_config, scheduled
from experiments.flags import UsageError
from gan3d.config import Config, field_types, validate

SAMPLES = 256


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    rows = ", ".join(ROWS)
    flags.DEFINE_list("rows", list(MAIN_ROWS), f"rows to run, or all: {rows}", flag_values=values)
    flags.DEFINE_list("seeds", ["0", "1", "2"], "seeds of every row", flag_values=values)
    flags.DEFINE_string("out", "runs/ablation", "folder of the runs", flag_values=values)
    flags.DEFINE_integer(
        "samples", SAMPLES, "shapes per evaluation", lower_bound=1, flag_values=values
    )
    flags.DEFINE_integer(
        "clouds", 64, "of them as point clouds; 0 = none", lower_bound=0, flag_values=values
    )
    experiment_flags.define_config_flags(values)
    values["seed"].help += "; here --seeds decides"
    return values


def ablate(
    base: Config,
    rows: Sequence[str],
    seeds: Sequence[int],
    out: pathlib.Path,
    samples: int,
    clouds: int,
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
        code = _run(row_config(base, row, seed), run_dir, samples, clouds)
        if code:
            return code
    for path in ablation_report.write(out):
        print(path)
    return 0


def _run(config: Config, run_dir: pathlib.Path, samples: int, clouds: int) -> int:
    from experiments.evaluate import evaluate
    from experiments.train import train

    code = train(config, str(run_dir))
    if code or _is_evaluated(run_dir, config.images, samples, clouds):
        return code
    evaluate(run_dir, samples, clouds=clouds)
    return 0


def _is_evaluated(run_dir: pathlib.Path, images: int, samples: int, clouds: int) -> bool:
    try:
        result = json.loads((run_dir / "evaluation.json").read_text())
        return (result["images_seen"], result["samples"], result["clouds"]) == (
            images, samples, min(clouds, samples),
        )  # fmt: skip
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return False


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
    return ablate(base, rows, seeds, pathlib.Path(values.out), values.samples, values.clouds)


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
