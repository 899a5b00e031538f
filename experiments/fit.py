"""Reconstructs shape and texture from posed pictures by gradient descent through the renderer.

    python -m experiments.fit                          # a procedural head, 24 views of 64 x 64
    python -m experiments.fit --margin_pixels=0        # the same with the crisp renderer
    python -m experiments.fit --data=FOLDER --size=128 # photographs with NeRF's transforms.json

Starts from a sphere; see gan3d/fitting.py for the method. Writes into --out: fit.json, fit.png
(held-out views: target | fit | normals) and fit.glb. Judged on held-out views, drawn by the same
supersampling renderer whatever the margin of the fit, and, if the truth is known, by the Chamfer
distance to it. World units of the head: the picture's height at the origin is 2.

Expect, in about half a minute on one busy core, for --seed=0 and --seed=1 (the start sphere scores
14.3 and 14.9 dB, 0.084 and 0.063):

    soft                   PSNR 35.7, 36.2 dB   IoU 0.979, 0.978   Chamfer 0.0076, 0.0075
    crisp                       21.8, 24.7          0.748, 0.699           0.0777, 0.0977
    crisp, --stiffness=20       23.8, 27.0          0.911, 0.938           0.0311, 0.0206
    crisp, --stiffness=60       21.2, 28.5          0.852, 0.951           0.0525, 0.0194
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments import flags as experiment_flags
from experiments.field_flags import define_field_flags, fields_from_flags
from experiments.fit_data import DataError, Problem, folder_problem, procedural_problem
from experiments.flags import UsageError
from gan3d.evaluation.points import surface_chamfer_distance
from gan3d.export import MissingTrimeshError, save_glb
from gan3d.fitting import (
    Fit,
    FitConfig,
    PosedViews,
    fit_views,
    photograph,
    psnr,
)
from gan3d.render import (
    Topology,
    composite,
    interpolate,
    project,
    rasterize,
    sphere_mesh,
    vertex_normals,
)
from gan3d.visualize import image_grid, save_png, to_uint8

SHEET_ROWS = 4
MIN_CELL_PIXELS = 96


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    define = lambda kind, *args: kind(*args, flag_values=values)  # noqa: E731
    define(flags.DEFINE_string, "data", None, "folder with transforms.json; default a head")
    define(flags.DEFINE_string, "out", "runs/fit", "folder to write to")
    define(flags.DEFINE_integer, "size", None, "height of the pictures in pixels; head: 64", 1)
    define(flags.DEFINE_integer, "grid", 33, "vertices along a side of the mesh's chart, odd", 3)
    define(flags.DEFINE_integer, "seed", 0, "number of the head, and seed of the views' order", 0)
    define_field_flags(values, FitConfig, skip=("seed",), least=1)
    return values


def run(
    problem: Problem,
    config: FitConfig,
    grid: int,
    out: pathlib.Path,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Fits, judges, and writes fit.json, fit.png and fit.glb; returns the content of fit.json."""
    sphere, topology = sphere_mesh(grid)
    start = (problem.center + problem.radius * sphere).astype(np.float32)
    began = time.perf_counter()

    def progress(step: int, loss: float) -> None:
        seconds = time.perf_counter() - began
        report(f"step {step:5d} of {config.steps}  loss {loss:.5f}  {seconds:6.1f} s")

    fit = jax.block_until_ready(fit_views(problem.training, start, topology, config, progress))
    seconds = time.perf_counter() - began
    grey = Fit(jnp.asarray(start), jnp.zeros_like(fit.texture))
    result = {
        "fit": judge(fit, topology, problem),
        "start": judge(grey, topology, problem),
        "seconds": seconds,
        "config": dataclasses.asdict(config),
        "views": len(problem.training.images),
        "held_out_views": len(problem.held_out.images),
        "image_size": problem.training.image_size,
        "faces": topology.num_faces,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "fit.json").write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")
    save_png(out / "fit.png", sheet(fit, topology, problem.held_out))
    try:
        save_glb(out / "fit.glb", fit.vertices, topology, fit.texture)
    except MissingTrimeshError as error:
        report(f"no GLB: {error}")
    report(result_line(result))
    return result


def judge(fit: Fit, topology: Topology, problem: Problem) -> dict[str, float]:
    """PSNR (dB) and silhouette IoU on the held-out views, Chamfer distance to the truth."""
    views = problem.held_out
    images, alphas = photograph(fit, topology, views.cameras, views.image_size, views.background)
    scores = {"psnr": psnr(images, views.images)}
    if views.alphas is not None:
        least, most = jnp.minimum(alphas, views.alphas), jnp.maximum(alphas, views.alphas)
        scores["silhouette_iou"] = float(least.sum() / most.sum())
    if problem.truth is not None:
        surfaces = [
            (shape.vertices, mesh.faces) for shape, mesh in (problem.truth, (fit, topology))
        ]
        scores["chamfer"] = surface_chamfer_distance(*surfaces)
    return scores


def result_line(result: dict[str, Any]) -> str:
    """The outcome in one line."""
    names = {"psnr": "PSNR {:.2f} dB", "silhouette_iou": "IoU {:.4f}", "chamfer": "Chamfer {:.4f}"}
    scores = [names[key].format(value) for key, value in result["fit"].items()]
    margin = result["config"]["margin_pixels"]
    kind = f"soft, margin {margin:g} pixels" if margin else "crisp"
    return f"{kind}: {', '.join(scores)}, {result['seconds']:.0f} s"


def sheet(fit: Fit, topology: Topology, views: PosedViews) -> np.ndarray:
    """Target | fit | normals (red right, green up, blue towards the camera) of held-out views."""
    views = views.select(np.arange(min(SHEET_ROWS, len(views.images))))
    images, _ = photograph(fit, topology, views.cameras, views.image_size, views.background)
    normals = jax.jit(jax.vmap(lambda camera: _draw_normals(fit, topology, camera, views)))(
        views.cameras
    )
    cell = max(views.image_size)
    cell *= -(-MIN_CELL_PIXELS // cell)
    rows = [
        [to_uint8(column) for column in row]
        for row in zip(*map(np.asarray, (views.images, images, normals)), strict=True)
    ]
    return image_grid(rows, cell, ("target", "fit", "normals"))


def _draw_normals(fit, topology, camera, views):
    fragments = rasterize(
        project(fit.vertices, camera, views.image_size), topology, views.image_size
    )
    normals = vertex_normals(fit.vertices, topology) @ camera.rotation.T
    values = interpolate(normals * jnp.array([[1.0, -1.0, -1.0]]), fragments, topology)
    return composite(values, fragments.alpha, jnp.zeros((*views.image_size, 3)))[0]


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    values = _define_flags()
    experiment_flags.parse(values, argv, __doc__)
    experiment_flags.check_output("out", values.out, folder=True)
    if values.grid % 2 == 0:
        raise UsageError(f"--grid must be odd, got {values.grid}")
    config = fields_from_flags(values, FitConfig)
    try:
        if values.data:
            problem = folder_problem(values.data, values.size)
        else:
            problem = procedural_problem(values.seed, size=values.size or 64)
        run(problem, config, values.grid, pathlib.Path(values.out))
    except (DataError, ValueError) as error:
        raise UsageError(str(error)) from error
    return 0


if __name__ == "__main__":
    sys.exit(experiment_flags.run(main, sys.argv))
