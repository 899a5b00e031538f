"""Table and sheet of the runs in an ablation's folder."""

from __future__ import annotations

import json
import pathlib
import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from experiments.ablation_rows import ROWS
from gan3d.sheets import Group, Sheet, draw_latents, samples_sheet
from gan3d.trained import load
from gan3d.visualize import cell_pixels, image_grid, save_png

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
    """`ablation_sheet` as one picture, each run at the resolution it was trained at."""
    drawn = ablation_sheet(out, seeds)
    titles = [""] * len(drawn.cells)
    for group in drawn.row_groups:
        titles[group.first] = group.title
    size = cell_pixels(max(row[0].shape[0] for row in drawn.cells))
    return image_grid(drawn.cells, size, drawn.column_titles, titles)


def ablation_sheet(
    out: pathlib.Path, seeds: Mapping[str, int], resolution: int | None = None
) -> Sheet:
    """Two samples of one seed per row, the same latents everywhere, with Figure 1's columns.

    Args:
      out: folder of the ablation.
      seeds: which run of every row.
      resolution: of the rendered pictures, pixels; None = that of each run's training.
    """
    sheets, groups, facts = [], [], []
    for number, (row, seed) in enumerate(seeds.items()):
        generator = load(out / f"{row}_seed{seed}")
        size = generator.parts.stage.resolution if resolution is None else resolution
        z, views = draw_latents(generator, 0, SHEET_SAMPLES)
        sheets.append(samples_sheet(generator, z, views, size))
        groups.append(Group(number * SHEET_SAMPLES, (number + 1) * SHEET_SAMPLES - 1, row))
        facts.append(f"{row} {seed} ({generator.images_seen:,})")
    about = "Two latents, the same in every row; row and seed (images seen): " + ", ".join(facts)
    cells = [cells for sheet in sheets for cells in sheet.cells]
    return sheets[0]._replace(cells=cells, row_groups=tuple(groups), about=about)
