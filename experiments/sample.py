"""Draws samples from a trained run: a sheet of pictures, and textured meshes.

    python -m experiments.sample --run=runs/demo --num=8 --mesh=glb

Writes sheet.png and the meshes into RUN/samples, or --out.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable, Sequence

import jax
from absl import flags

from experiments import flags as experiment_flags
from experiments.flags import UsageError
from gan3d.export import MissingTrimeshError
from gan3d.scene import Scene
from gan3d.trained import load
from gan3d.training.run import RunError
from gan3d.visualize import sample_sheet, save_png

MESH_FORMATS = ("glb", "obj")


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("run", "runs/demo", "directory of the training run", flag_values=values)
    flags.DEFINE_integer("num", 8, "number of samples", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("seed", 0, "seed of latents and views", lower_bound=0, flag_values=values)
    flags.DEFINE_string("out", None, "output directory; default RUN/samples", flag_values=values)
    flags.DEFINE_enum(
        "mesh", "glb", [*MESH_FORMATS, "none"], "file format of the meshes", flag_values=values
    )
    flags.DEFINE_integer(
        "resolution",
        None,
        "pixels of the sheet's pictures; default as in training",
        lower_bound=8,
        upper_bound=1024,
        flag_values=values,
    )
    return values


def sample(
    run_dir: str | pathlib.Path,
    num: int,
    seed: int,
    out: str | pathlib.Path | None = None,
    mesh: str = "glb",
    resolution: int | None = None,
    report: Callable[[str], None] = print,
) -> list[pathlib.Path]:
    """Writes sheet.png and, unless mesh is "none", one mesh per sample.

    Args:
      run_dir: directory of the run.
      num: number of samples, one row of the sheet each.
      seed: of latents and views; the same seed draws the same samples.
      out: output directory. None: `samples` in the run.
      mesh: "glb", "obj" or "none".
      resolution: of the sheet's pictures, pixels. None: the run's own.
      report: called with one line of progress at a time.

    Returns:
      The paths of the sheet and of the meshes.

    Raises:
      RunError: the run cannot be used.
    """
    out = pathlib.Path(out) if out is not None else pathlib.Path(run_dir) / "samples"
    generator = load(run_dir)
    report(f"{run_dir}: {generator.images_seen:,} images seen; drawing {num} samples")
    scene_key, view_key = jax.random.split(jax.random.key(seed))
    scenes = generator.scene(generator.sample(scene_key, num))
    views = generator.views(view_key, num)

    stage = generator.parts.stage
    if resolution is not None:
        stage = stage.at_resolution(resolution)
    written = [out / "sheet.png"]
    save_png(written[0], sample_sheet(scenes, views, stage))
    report(str(written[0]))
    for i in range(num if mesh != "none" else 0):
        written.append(out / f"mesh_{i:03d}.{mesh}")
        generator.save_mesh(written[-1], Scene(*(maps[i] for maps in scenes)))
        report(f"{written[-1]} ({i + 1}/{num})")
    return written


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    flag_values = _define_flags()
    experiment_flags.parse(flag_values, argv, __doc__)
    experiment_flags.check_output("out", flag_values.out, folder=True)
    try:
        sample(
            flag_values.run,
            flag_values.num,
            flag_values.seed,
            flag_values.out,
            flag_values.mesh,
            flag_values.resolution,
        )
    except (RunError, MissingTrimeshError) as error:
        raise UsageError(str(error)) from error
    return 0


if __name__ == "__main__":
    sys.exit(experiment_flags.run(main, sys.argv))
