"""Writes a run's report: one HTML file that shows everything and needs nothing else.

    python -m experiments.report --run=runs/demo --out=demo.html --num=8

Samples that the reader turns with the mouse, with touch or with the keyboard; the curves; the
sheets of samples over time; how sound the shapes are, in plain words; the evaluation, if there has
been one; and the configuration, with what differs from the preset. The file opens from anywhere,
offline, in any browser of the last years; it loads nothing and sends nothing. The run may still be
training. The samples of a seed are those of experiments.sample.
"""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.resources
import json
import math
import os
import pathlib
import string
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags

import gan3d
from experiments import flags as experiment_flags
from experiments.flags import UsageError

DEFAULT_NAME = "report.html"
SUFFIXES = (".html", ".htm")
MOST_SAMPLES = 64
MOST_TRUNCATION = 2
SCRIPTS = ("geometry.js", "painter.js", "viewer.js", "page.js")


def write_report(
    run_dir: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    num: int = 8,
    seed: int = 0,
    truncation: float = 1.0,
    report: Callable[[str], None] = print,
) -> pathlib.Path:
    """Writes the report of a run that has a checkpoint; parts that are missing are named in it.

    Args:
      run_dir: directory of the run; only read, but for the report itself.
      out: the file, .html. None: `report.html` in the run.
      num: samples to turn, 1 to 64.
      seed: of their latents, at least 0.
      truncation: 1 = none, 0 = the mean object, up to 2.
      report: called with one line of progress at a time.

    Returns:
      The path of the file.

    Raises:
      UsageError: an argument is out of range, a file of the run is damaged, or the report cannot be
        written.
      RunError: the run cannot be used.
    """
    check_arguments(out, num, seed, truncation)
    run_dir = pathlib.Path(run_dir)
    out = pathlib.Path(out) if out is not None else run_dir / DEFAULT_NAME
    from experiments import report_samples  # slow imports, after the flags are known to be right

    generator = gan3d.load(run_dir)
    _prepare(out)
    rows, result = read_rows(run_dir), read_evaluation(run_dir)
    report(f"{run_dir}: {generator.images_seen:,} images seen; drawing {num} samples")
    samples = report_samples.encode_samples(generator, num, seed, truncation)
    command = f"python -m experiments.report --num={num} --seed={seed} --truncation={truncation:g}"
    page = render_page(run_dir, generator, samples, rows, result, command)
    try:
        temporary = out.with_name(out.name + ".tmp")
        temporary.write_text(page, encoding="utf-8")
        os.replace(temporary, out)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error}") from error
    report(f"{out} ({len(page.encode()) / 1e6:.2f} MB)")
    return out


def check_arguments(
    out: str | os.PathLike[str] | None, num: int, seed: int, truncation: float
) -> None:
    """Refuses what `write_report` cannot do, before anything slow.

    Raises:
      UsageError: names the argument, the rule and the value.
    """
    if out is not None and pathlib.Path(out).suffix.lower() not in SUFFIXES:
        raise UsageError(f"out must end with {' or '.join(SUFFIXES)}, got {str(out)!r}")
    for name, value, most in (
        ("num", num, MOST_SAMPLES),
        ("seed", seed, 2**31 - 1),
        ("truncation", truncation, MOST_TRUNCATION),
    ):
        least = 1 if name == "num" else 0
        if not (math.isfinite(value) and least <= value <= most):
            raise UsageError(f"{name} must be between {least} and {most}, got {value}")


def _prepare(out: pathlib.Path) -> None:
    """Finds out whether the file can be written, before the samples are drawn."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error}") from error
    if out.is_dir():
        raise UsageError(f"out must be a file, {out} is a directory")
    if not os.access(out.parent, os.W_OK):
        raise UsageError(f"cannot write {out}: {out.parent} is read-only")


def read_rows(run_dir: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of the run's metrics and evaluations; none if it has logged nothing yet.

    Raises:
      UsageError: a file is damaged.
    """
    from gan3d.training.metrics import HISTORY_NAME, METRICS_NAME, read_metrics

    paths = [run_dir / name for name in (METRICS_NAME, HISTORY_NAME)]
    rows = []
    for path in (path for path in paths if path.is_file()):
        try:
            rows += read_metrics(path)
        except ValueError as error:
            raise UsageError(str(error)) from error
        if not all(isinstance(row, dict) and "images" in row for row in rows):
            raise UsageError(f"{path} is not a record of metrics: a line has no images")
    return rows


def read_evaluation(run_dir: pathlib.Path) -> dict[str, Any] | None:
    """The content of evaluation.json, None if there is none.

    Raises:
      UsageError: the file is damaged.
    """
    path = run_dir / "evaluation.json"
    if not path.is_file():
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        int(result["images_seen"]), [family.items() for family in result["scores"].values()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is not an evaluation: {error}") from error
    return result


def render_page(
    run_dir: pathlib.Path,
    generator: gan3d.TrainedGenerator,
    samples: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    result: Mapping[str, Any] | None,
    command: str,
) -> str:
    """The whole file."""
    from experiments import report_samples
    from experiments import report_sections as sections
    from experiments.report_plots import panel_figures

    files = importlib.resources.files("experiments") / "report_page"
    read = lambda name: (files / name).read_text(encoding="utf-8")  # noqa: E731
    script = '"use strict";\n(() => {\n' + "\n".join(map(read, SCRIPTS)) + "})();\n"
    figures, curves = panel_figures(rows)
    config = generator.parts.config
    return string.Template(read("page.html")).substitute(
        title=html.escape(generator.name),
        facts=sections.facts(generator),
        warnings=sections.warnings(rows),
        style=read("style.css"),
        script=script,
        script_hash=_source_hash(script),
        samples_data=json_in_script(samples),
        curves_data=json_in_script(curves),
        thumbnails=report_samples.thumbnails(samples),
        views=report_samples.view_buttons(samples),
        stills=report_samples.stills(samples),
        curves="".join(figures) or sections.missing("The run has no metrics yet."),
        soundness=sections.soundness(rows),
        sheets=sections.sheets(run_dir / "sheets"),
        evaluation=sections.evaluation(result, run_dir / "evaluation.png", generator.images_seen),
        configuration=sections.configuration(config),
        command=html.escape(command),
        version=html.escape(gan3d.__version__),
    )


def json_in_script(data: Any) -> str:
    """JSON that can neither end the element that holds it nor open a comment in it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _source_hash(script: str) -> str:
    """Of the one script that the page's content security policy lets run."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    define = lambda kind, *args: kind(*args, flag_values=values)  # noqa: E731
    define(flags.DEFINE_string, "run", "runs/demo", "directory of the training run")
    define(flags.DEFINE_string, "out", None, f"the file, .html; default RUN/{DEFAULT_NAME}")
    define(flags.DEFINE_integer, "num", 8, f"samples to turn, 1 to {MOST_SAMPLES}")
    define(flags.DEFINE_integer, "seed", 0, "seed of their latents")
    text = f"0 = the mean object, 1 = no truncation, up to {MOST_TRUNCATION}"
    define(flags.DEFINE_float, "truncation", 1.0, text)
    return values


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    values = _define_flags()
    experiment_flags.parse(values, argv, __doc__)
    experiment_flags.check_output("out", values.out)
    check_arguments(values.out, values.num, values.seed, values.truncation)

    from gan3d.training.run import RunError

    try:
        write_report(values.run, values.out, values.num, values.seed, values.truncation)
    except RunError as error:
        raise UsageError(str(error)) from error
    return 0


if __name__ == "__main__":
    sys.exit(experiment_flags.run(main, sys.argv))
