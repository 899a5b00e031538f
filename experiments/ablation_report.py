"""Table and sheet of the runs in an ablation's folder."""

from __future__ import annotations

import functools
import json
import pathlib
import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax

from experiments.ablation_rows import ROWS
from gan3d.training.assemble import draw_views, sample_scenes
from gan3d.training.run import load_run
from gan3d.visualize import SHEET_COLUMNS, cell_pixels, image_grid, sample_rows, save_png

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

# Columns of the table: key in evaluation.json, title, digits.
COLUMNS = (
    ("frontal_iou", "frontal IoU", 3),
    ("profile_iou", "profile IoU", 3),
    ("frontal_depth_correlation", "frontal depth corr.", 3),
    ("profile_depth_correlation", "profile depth corr.", 3),
    ("frontal_mad_degrees", "frontal MAD, deg", 1),
    ("nose_height", "nose", 3),
    ("flipped_faces", "flipped faces", 3),
    ("failed", "degenerate", 2),
    ("width", "width", 2),
    ("one_nna", "1-NNA", 2),
)
SHEET_SAMPLES = 2

Scores = Mapping[str, Mapping[str, Any]]


def write(out: pathlib.Path) -> list[pathlib.Path]:
    """Writes ablation.json, ablation.md and ablation.png about all evaluated runs in a folder.

    Returns:
      Their paths.
    """
    runs = evaluated_runs(out)
    json_path, table_path, sheet_path = (out / f"ablation.{end}" for end in ("json", "md", "png"))
    content = {
        row: {str(seed): run["scores"] for seed, run in of.items()} for row, of in runs.items()
    }
    json_path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    table = format_table({row: [run["scores"] for run in of.values()] for row, of in runs.items()})
    table_path.write_text(table + "\n")
    print(table, flush=True)
    save_png(sheet_path, sheet(out, {row: min(of) for row, of in runs.items()}))
    return [json_path, table_path, sheet_path]


def evaluated_runs(out: pathlib.Path) -> dict[str, dict[int, dict[str, Any]]]:
    """evaluation.json by row and seed, rows in their usual order."""
    runs: dict[str, dict[int, dict[str, Any]]] = {}
    for row in ROWS:
        for path in sorted(out.glob(f"{row}_seed*/evaluation.json")):
            seed = path.parent.name.removeprefix(f"{row}_seed")
            if seed.isdigit():  # another row's name may begin with this one's
                runs.setdefault(row, {})[int(seed)] = json.loads(path.read_text())
    return runs


def format_table(rows: Mapping[str, list[Scores]]) -> str:
    """Markdown: mean over a row's seeds, and the standard deviation where there are several.

    The untrained sphere and the ceiling, other heads, are those of the first run.
    """
    header = ["row", "", "seeds", *(title for _, title, _ in COLUMNS)]
    lines = [header, ["---"] * len(header)]
    for row, runs in rows.items():
        cells = [_mean([scores["run"].get(key) for scores in runs], n) for key, _, n in COLUMNS]
        lines.append([row, ROWS[row].about, str(len(runs)), *cells])
    first = next(iter(rows.values()))[0] if rows else {}
    for name in ("untrained", "other heads"):
        if name in first:
            cells = [_mean([first[name].get(key)], digits) for key, _, digits in COLUMNS]
            lines.append([name, "", "", *cells])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _mean(values: list[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{statistics.mean(known):.{digits}f}"
    return f"{mean} ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else mean


def sheet(out: pathlib.Path, seeds: Mapping[str, int]) -> UInt8[np.ndarray, "H W 3"]:
    """Two samples of one seed per row, the same latents everywhere, with Figure 1's columns."""
    cells, titles, size = [], [], 0
    for row, seed in seeds.items():
        run = load_run(out / f"{row}_seed{seed}")
        scene_key, view_key = jax.random.split(jax.random.key(0))
        # Compiled: op by op it takes several times as long.
        sample = jax.jit(functools.partial(sample_scenes, run.parts, num=SHEET_SAMPLES))
        scenes = sample(run.ema_params, scene_key)
        views = draw_views(run.parts, run.ema_params, view_key, SHEET_SAMPLES)
        cells += sample_rows(scenes, views, run.parts.stage)
        titles += [row, *[""] * (SHEET_SAMPLES - 1)]
        size = max(size, cell_pixels(run.parts.stage.resolution))
    return image_grid(cells, size, SHEET_COLUMNS, titles)
