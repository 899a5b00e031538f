"""Draws the figures of a paper from a trained run: vector text, pictures of any resolution.

    python -m experiments.figures --run=runs/demo                        # all of them, as PDF
    python -m experiments.figures --run=runs/demo --figure=mixing --seed=3 --format=png
    python -m experiments.figures --ablation=runs/ablation               # a sheet of the rows

samples: picture, normals, texture, background, the textured shape from five sides. shapes: normals
from the same sides, no colours. interpolation: from one latent to another (linear in w; the
background's latent on the great circle) from three viewpoints. truncation: objects drawn towards
the mean. mixing: coarse, middle or fine levels of the style from a second latent. setup: how it was
trained, as a drawing of the run's own pictures; photographs of the training set stay grey unless
--show_photographs is given. ablation: two samples of every row of a folder of experiments.ablate.

The mesh has no resolution: runs trained at 32 pixels are drawn at 256. Textures show their texels.
Needs matplotlib: pip install 'gan3d[figures]'.
"""

from __future__ import annotations

import functools
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from absl import flags

from experiments import ablation_report
from experiments import flags as experiment_flags
from experiments.curves import DOTS_PER_INCH, SUFFIXES, import_matplotlib, save
from experiments.figure_layout import draw_sheet
from experiments.flags import UsageError
from experiments.setup_figure import draw_setup, setup_content
from gan3d.sheets import (
    RESOLUTION,
    draw_latents,
    interpolation_sheet,
    mixing_sheet,
    samples_sheet,
    shapes_sheet,
    truncation_sheet,
)
from gan3d.trained import TrainedGenerator, load
from gan3d.training.run import RunError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Figures of a run, and how many of what they show unless --num says otherwise.
NUMBERS = {"samples": 6, "shapes": 6, "interpolation": 8, "truncation": 4, "mixing": 5, "setup": 1}
LEAST = {"interpolation": 2}
SOURCES_A = 2  # of the mixing figure; --num are those of the other kind
PSI = r"$\psi$"


def draw_figure(
    name: str,
    generator: TrainedGenerator,
    *,
    seed: int = 0,
    num: int | None = None,
    resolution: int = RESOLUTION,
    truncation: float = 1.0,
    show_photographs: bool = False,
    caption: bool = True,
) -> Figure:
    """One figure of a trained run.

    Args:
      name: samples, shapes, interpolation, truncation, mixing or setup.
      generator: what to draw.
      seed: of latents and viewpoints.
      num: rows of samples, shapes and truncation, steps of the interpolation, columns of mixing.
        None = what fits a page.
      resolution: side of the rendered pictures, pixels.
      truncation: psi of all latents; the truncation figure has its own.
      show_photographs: in the setup, see `setup_content`.
      caption: whether run, images seen and seed stand below.

    Raises:
      UsageError: matplotlib is not installed.
      ValueError: num is too small for the figure, or the training set is not there.
    """
    num = NUMBERS[name] if num is None else num
    if num < LEAST.get(name, 1):
        raise ValueError(f"num must be at least {LEAST[name]} for {name}, got {num}")
    drawn_from = f"{generator.name}, {generator.images_seen:,} images seen, seed {seed}"
    if name == "setup":
        content = setup_content(generator, seed, resolution, truncation, show_photographs)
        text = drawn_from + (f", {PSI} = {truncation:g}" if truncation != 1 else "")
        prior_yaw = generator.parts.prior.yaw_range
        return draw_setup(content, prior_yaw, f"{text}." if caption else "")
    z, views = draw_latents(generator, seed, _latents(name, num))
    if name == "samples":
        sheet = samples_sheet(generator, z, views, resolution, truncation)
    elif name == "shapes":
        sheet = shapes_sheet(generator, z, resolution, truncation)
    elif name == "interpolation":
        sheet = interpolation_sheet(generator, z, num, resolution, truncation)
    elif name == "truncation":
        sheet = truncation_sheet(generator, z, resolution=resolution)
    else:
        sheet = mixing_sheet(generator, z[:SOURCES_A], z[SOURCES_A:], resolution, truncation)
    return draw_sheet(sheet, f"{sheet.about}. {drawn_from}." if caption else "")


def _latents(name: str, num: int) -> int:
    return {"interpolation": 2, "mixing": SOURCES_A + num}.get(name, num)


def draw_ablation(folder: pathlib.Path, resolution: int, caption: bool = True) -> Figure:
    """Two samples of every evaluated row of an ablation, the same latents in all of them.

    Raises:
      UsageError: there is no evaluated run in the folder, or matplotlib is not installed.
      RunError: a run of it cannot be used.
    """
    runs = ablation_report.evaluated_runs(folder)
    if not runs:
        raise UsageError(f"there is no evaluated run in {folder}: run python -m experiments.ablate")
    sheet = ablation_report.ablation_sheet(
        folder, {row: min(runs[row]) for row in runs}, resolution
    )
    return draw_sheet(sheet, f"{folder.resolve().name}: {sheet.about}." if caption else "")


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    define = functools.partial(flags.DEFINE_string, flag_values=values)
    define("run", None, "directory of the training run; default runs/demo without --ablation")
    define("ablation", None, "folder of an ablation: adds its figure, or draws it alone")
    flags.DEFINE_enum(
        "figure", "all", [*NUMBERS, "ablation", "all"], "which figure", flag_values=values
    )
    define("out", None, "folder to write to; default RUN/figures, or the ablation's")
    whole = functools.partial(flags.DEFINE_integer, flag_values=values)
    whole("seed", 0, "seed of latents and viewpoints", lower_bound=0)
    text = "rows; steps of interpolation, columns of mixing; default: {}"
    numbers = ", ".join(f"{name} {num}" for name, num in NUMBERS.items() if name != "setup")
    whole("num", None, text.format(numbers), lower_bound=1, upper_bound=64)
    whole("resolution", RESOLUTION, "pixels of a rendered picture", lower_bound=8, upper_bound=2048)
    text = "pixels per inch of a PNG, and of the pictures in a PDF or SVG"
    whole("dpi", DOTS_PER_INCH, text, lower_bound=50, upper_bound=1200)
    flags.DEFINE_float(
        "truncation",
        1.0,
        "psi: how far objects lie from the mean one, 1 = as drawn, 0 = the mean",
        lower_bound=0.0,
        upper_bound=2.0,
        flag_values=values,
    )
    formats = [suffix[1:] for suffix in SUFFIXES]
    flags.DEFINE_enum("format", "pdf", formats, "file format", flag_values=values)
    flags.DEFINE_boolean("caption", True, "run, images seen and seed below", flag_values=values)
    text = "setup: show pictures of the training set though they may show people"
    flags.DEFINE_boolean("show_photographs", False, text, flag_values=values)
    return values


def _plan(values: flags.FlagValues) -> dict[str, Callable[[], Figure]]:
    """What to draw, by file name without suffix, in order."""
    if values.figure == "ablation" and values.ablation is None:
        raise UsageError("--figure=ablation needs --ablation=DIR, a folder of experiments.ablate")
    plan: dict[str, Callable[[], Figure]] = {}
    alone = values.ablation is not None and values.run is None and values.figure == "all"
    if values.figure != "ablation" and not alone:
        generator = load(values.run or "runs/demo")
        for name in NUMBERS if values.figure == "all" else [values.figure]:
            plan[name] = functools.partial(
                draw_figure,
                name,
                generator,
                seed=values.seed,
                num=values.num,
                resolution=values.resolution,
                truncation=values.truncation,
                show_photographs=values.show_photographs,
                caption=values.caption,
            )
    if values.ablation is not None and values.figure in ("ablation", "all"):
        folder = pathlib.Path(values.ablation)
        plan["ablation"] = lambda: draw_ablation(folder, values.resolution, values.caption)
    return plan


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    values = _define_flags()
    experiment_flags.parse(values, argv, __doc__)
    experiment_flags.require_finite(values, "truncation")
    experiment_flags.check_output("out", values.out, folder=True)
    import_matplotlib()  # before anything slow
    try:
        for name, draw in _plan(values).items():
            home = values.ablation if name == "ablation" else values.run or "runs/demo"
            folder = pathlib.Path(values.out or pathlib.Path(home) / "figures")
            path = folder / f"{name}.{values.format}"
            save(draw(), path, values.dpi)
            print(path, flush=True)
    except (RunError, ValueError) as error:
        raise UsageError(str(error)) from error
    return 0


if __name__ == "__main__":
    sys.exit(experiment_flags.run(main, sys.argv))
