"""Measures reconstructions from single pictures against the truth: heads that nobody trained on.

    python -m experiments.evaluate_inversion --run=runs/demo
    python -m experiments.evaluate_inversion --run=runs/demo --resolution=64 --heads=16

Prints a table and writes inversion.json, inversion.md and, of the first heads, inversion.png and
editing.png into RUN/inversion, or --out. Rows: the encoder's answers, if the run has one | the
descent from several viewpoints | the descent from the encoder's answers | the nearest of many
samples | the mean object, from the true viewpoint; its pose is the prior's middle | one depth for
all pixels, in the true outline. Depth (SIDE, MAD) and outline (IoU) are compared in the input view
at 64 x 64, the novel views are those 30 degrees to the left and to the right of it.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments import flags as experiment_flags
from experiments.evaluate import SEED_OFFSET
from experiments.field_flags import define_field_flags, fields_from_flags
from experiments.flags import UsageError
from experiments.reconstruct import MAX_RESOLUTION, find_encoder
from gan3d.data.heads import HeadsSource, head_scenes
from gan3d.evaluation import PosedScenes, constant_depth_errors, reconstruction_errors
from gan3d.inversion import Encoder, EncoderError, Inversion, InversionConfig, invert
from gan3d.inversion.nearest import nearest_samples
from gan3d.reconstruction_sheets import editing_sheet, reconstruction_sheet
from gan3d.scene import Stage, View
from gan3d.sheets import picture_of
from gan3d.trained import TrainedGenerator, load
from gan3d.training.directory import replace_text
from gan3d.training.run import RunError
from gan3d.visualize import save_png

COLUMNS = {
    "side": ("SIDE, %", 100.0, 2),
    "mad_degrees": ("MAD, deg", 1.0, 1),
    "iou": ("IoU", 1.0, 3),
    "pose_degrees": ("pose, deg", 1.0, 1),
    "pose_median_degrees": ("median", 1.0, 1),
    "psnr": ("PSNR, dB", 1.0, 1),
    "novel_psnr": ("novel PSNR", 1.0, 1),
    "seconds": ("s / image", 1.0, 3),
}
SHEET_ROWS = 6


class Heads(NamedTuple):
    """Pictures of true heads, and what they show."""

    images: np.ndarray
    truth: PosedScenes


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    define = lambda kind, *args: kind(*args, flag_values=values)  # noqa: E731
    define(flags.DEFINE_string, "run", "runs/demo", "directory of the training run")
    define(flags.DEFINE_string, "out", None, "output directory; default RUN/inversion")
    define(flags.DEFINE_string, "encoder", None, "its file; default RUN/encoder.npz; none = none")
    define(flags.DEFINE_integer, "heads", 64, "number of heads", 1)
    define(flags.DEFINE_integer, "samples", 10_000, "among which the nearest is looked for", 1)
    define(
        flags.DEFINE_integer, "resolution", None,
        "pixels of the pictures; default as in training", 8, MAX_RESOLUTION,
    )  # fmt: skip
    text = f"of the heads; default the run's seed + {SEED_OFFSET}, so that no training head recurs"
    define(flags.DEFINE_integer, "seed", None, text, 0, 2**31 - 1)
    define_field_flags(values, InversionConfig)
    return values


def draw_heads(generator: TrainedGenerator, num: int, resolution: int, seed: int) -> Heads:
    """Heads from viewpoints of the run's prior, through its lens, in 8 bits."""
    config = generator.parts.config
    source = HeadsSource(
        resolution, seed=seed, num_heads=num, prior=generator.parts.prior,
        fov_degrees=config.fov_degrees,
    )  # fmt: skip
    indices = np.arange(num, dtype=np.int32)
    views = View(*jax.device_get(jax.vmap(source.view)(indices)))
    scenes = jax.device_get(head_scenes(seed, indices))
    return Heads(source.batch(indices), PosedScenes(scenes, views, source.stage))


def evaluate_inversion(
    generator: TrainedGenerator,
    heads: Heads,
    encoder: Encoder | None,
    config: InversionConfig,
    samples: int,
    report: Callable[[str], None] = print,
) -> tuple[dict[str, dict[str, float]], Inversion]:
    """Mean errors by row of the table, and the reconstructions of the best way."""
    rows: dict[str, dict[str, float]] = {}
    stage = generator.parts.stage.at_resolution(heads.truth.stage.resolution)
    ways = {"descent from viewpoints": (None, config)}
    if encoder is not None:
        answers = InversionConfig(style_steps=0, detail_steps=0, batch=config.batch)
        ways = {"encoder": (encoder, answers), **ways, "encoder, then descent": (encoder, config)}
    for name, (start, how) in ways.items():
        report(f"{name}: {len(heads.images)} pictures")
        _compile(generator, heads.images, start, how)
        began = time.perf_counter()
        found = jax.device_get(invert(generator, heads.images, start, how, report))
        seconds = (time.perf_counter() - began) / len(heads.images)
        rows[name] = _means(stage, found.scene, found.view, heads) | {"seconds": seconds}
    report(f"nearest of {samples} samples")
    scenes, views = nearest_samples(generator, heads.images, samples)
    rows[f"nearest of {samples:,} samples"] = _means(stage, scenes, views, heads)
    rows["mean object, true viewpoint"] = _mean_object(generator, stage, heads)
    rows["constant depth"] = _averages(constant_depth_errors(heads.truth))
    return rows, found


def _compile(generator, images, encoder, config: InversionConfig) -> None:
    """What a descent runs, before the clock starts."""
    names = ("search_steps", "style_steps", "detail_steps")
    short = {name: min(getattr(config, name), 1) for name in names}
    descends = encoder is None or config.style_steps or config.detail_steps
    some = images[: config.batch] if descends else images
    invert(generator, some, encoder, dataclasses.replace(config, **short))


def _means(stage: Stage, scenes, views, heads: Heads) -> dict[str, float]:
    own = PosedScenes(scenes, views, stage)
    return _averages(reconstruction_errors(own, heads.truth))


def _mean_object(generator: TrainedGenerator, stage: Stage, heads: Heads) -> dict[str, float]:
    """From the true viewpoint, which favours it; its pose is what always the middle scores."""
    num, views = len(heads.images), heads.truth.views
    z = generator.sample(jax.random.key(0), 1)
    styles = generator.styles(z, truncation=0.0)
    styles = styles._replace(background=jnp.zeros_like(styles.background))
    scene = jax.device_get(generator.scene(styles))
    scenes = jax.tree.map(lambda a: np.repeat(a, num, axis=0), scene)
    middle = View(np.zeros_like(views.yaw), np.zeros_like(views.pitch))
    errors = _means(stage, scenes, views, heads)
    guessed = _means(stage, scenes, middle, heads)
    return errors | {name: guessed[name] for name in ("pose_degrees", "pose_median_degrees")}


def _averages(errors: dict[str, np.ndarray]) -> dict[str, float]:
    """Means; of poses, whose errors have a long tail, the median too."""
    means = {name: float(np.nanmean(values)) for name, values in errors.items()}
    if "pose_degrees" in errors:
        means["pose_median_degrees"] = float(np.median(errors["pose_degrees"]))
    return means


def table(rows: dict[str, dict[str, float]]) -> str:
    """The rows as a Markdown table."""
    lines = [["", *(title for title, _, _ in COLUMNS.values())], ["---"] * (len(COLUMNS) + 1)]
    for name, scores in rows.items():
        cells = [
            f"{scale * scores[key]:.{digits}f}" if key in scores else ""
            for key, (_, scale, digits) in COLUMNS.items()
        ]
        lines.append([name, *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def run(
    run_dir: str | pathlib.Path,
    encoder_name: str | None,
    num: int,
    resolution: int | None,
    seed: int | None,
    samples: int,
    config: InversionConfig,
    out: pathlib.Path,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Evaluates, and writes the files that the module names; returns what inversion.json holds.

    Raises:
      RunError: the run cannot be used, or is not of heads.
      EncoderError: the encoder cannot be used.
    """
    generator = load(run_dir)
    if generator.parts.config.data != "heads":
        raise RunError(f"{run_dir} is not of heads, whose truth is known: it has no ground truth")
    encoder = find_encoder(generator, run_dir, encoder_name)
    resolution = resolution or generator.parts.stage.resolution
    seed = (generator.parts.config.seed + SEED_OFFSET) % 2**31 if seed is None else seed
    heads = draw_heads(generator, num, resolution, seed)
    rows, found = evaluate_inversion(generator, heads, encoder, config, samples, report)
    report(table(rows))
    result = {"heads": num, "resolution": resolution, "seed": seed, "samples": samples}
    result |= {"config": dataclasses.asdict(config), "scores": rows}
    out.mkdir(parents=True, exist_ok=True)
    replace_text(out / "inversion.json", json.dumps(result, indent=2, allow_nan=False) + "\n")
    replace_text(out / "inversion.md", table(rows) + "\n")
    shown = jax.tree.map(lambda a: a[:SHEET_ROWS], found)
    sheet = reconstruction_sheet(generator, heads.images[:SHEET_ROWS], shown)
    save_png(out / "inversion.png", picture_of(sheet))
    if num > 1:
        edits = editing_sheet(generator, shown.scene, shown.view)
        save_png(out / "editing.png", picture_of(edits))
    report(str(out / "inversion.png"))
    return result


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    values = _define_flags()
    experiment_flags.parse(values, argv, __doc__)
    experiment_flags.check_output("out", values.out, folder=True)
    config = fields_from_flags(values, InversionConfig)
    out = pathlib.Path(values.out or pathlib.Path(values.run) / "inversion")
    try:
        run(
            values.run, values.encoder, values.heads, values.resolution, values.seed,
            values.samples, config, out,
        )  # fmt: skip
    except (RunError, EncoderError, ValueError) as error:
        raise UsageError(str(error)) from error
    return 0


if __name__ == "__main__":
    sys.exit(experiment_flags.run(main, sys.argv))
