"""Draws the curves of one or several training runs, also while they train.

    python -m experiments.curves --run=runs/demo --run=runs/other --out=curves.png

Small multiples over images seen, one colour per run: what training logs; the dashboard of
`gan3d.training.dashboard`; and the scores of all evaluations, against the truth. Where a panel has
two curves the second one is dashed; bands go from the 5 to the 95% quantile of the samples. The
suffix of --out decides between PNG, PDF and SVG. Needs matplotlib: pip install 'gan3d[figures]'.
"""

from __future__ import annotations

import math
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from experiments import flags as experiment_flags
from experiments.curve_panels import PANELS, Panel
from experiments.flags import UsageError
from gan3d.training.metrics import HISTORY_NAME, METRICS_NAME, read_metrics

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".pdf", ".svg")
KINDS = ("all", "training", "dashboard", "evaluation")
# Okabe and Ito (2008): told apart with any colour vision, and in print.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A8A00")
INK, FAINT = "#333333", "#bbbbbb"
PANEL_INCHES = (2.9, 1.95)
LEGEND_INCHES = 0.42
DOTS_PER_INCH = 300
DASHES = ((None, None), (3, 1.5))  # of a panel's first and second curve
LEAST_PERCENT_TOP = 0.01  # so that nothing at all is not drawn in the middle of the panel
FEW_POINTS = 24  # so few points of a curve are marked
FEW_DECADES = 30  # a logarithmic scale below this ratio is marked at 3, 30, ... too
TICK_STEPS = (1, 2, 2.5, 5, 10)
SPACING = {"w_pad": 0.08, "h_pad": 0.06}  # inches
STYLE = {
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "grid.color": "#eeeeee",
    "grid.linewidth": 0.7,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.3,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # TrueType: publishers refuse type 3
}


Rows = Sequence[Mapping[str, Any]]


def load_curves(run_dirs: Sequence[str]) -> dict[str, Rows]:
    """The metrics of every run, by a name that tells the runs apart.

    Raises:
      UsageError: a directory is no run, or has logged nothing yet.
    """
    paths = [pathlib.Path(run_dir) for run_dir in dict.fromkeys(run_dirs)]
    names = [path.resolve().name for path in paths]
    unique = len(set(names)) == len(names)
    return {
        name if unique else str(path): _load(path) for name, path in zip(names, paths, strict=True)
    }


def _load(run_dir: pathlib.Path) -> Rows:
    if not run_dir.is_dir():
        raise UsageError(f"there is no run {run_dir}: train one with python -m experiments.train")
    paths = [run_dir / name for name in (METRICS_NAME, HISTORY_NAME)]
    try:
        rows = [row for path in paths if path.is_file() for row in read_metrics(path)]
    except ValueError as error:
        raise UsageError(str(error)) from error
    if not rows:
        raise UsageError(f"run {run_dir} has no metrics yet: let it train until its first line")
    return rows


def series(rows: Rows, name: str) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Images seen and values of one metric, in order; what was not finite is nan."""
    points = [(row["images"], row[name]) for row in rows if name in row]
    # Lines of different kinds may be out of order, see `MetricsWriter`.
    images, values = (
        np.array(sorted(points, key=lambda point: point[0]), np.float64).reshape(-1, 2).T
    )
    return images, values


def draw(runs: Mapping[str, Rows], kind: str = "all") -> Figure:
    """The figure; panels of which no run has a value are left out.

    Args:
      runs: lines of metrics.jsonl by name of the run.
      kind: of the panels, one of `KINDS`.

    Raises:
      UsageError: matplotlib is not installed, there is nothing to draw, or there are too many runs.
    """
    if len(runs) > len(COLORS):
        raise UsageError(f"--run must name at most {len(COLORS)} runs, got {len(runs)}")
    matplotlib = import_matplotlib()
    asked = [panel for panel in PANELS if kind in ("all", _kind(panel))]
    panels = [panel for panel in asked if any(_has_values(panel, rows) for rows in runs.values())]
    if not panels:
        raise UsageError(f"there is nothing to draw: {', '.join(runs)} logged no finite value")
    num_columns = min(len(panels), 4 if len(panels) > 6 else 3)
    num_rows = math.ceil(len(panels) / num_columns)
    width, height = num_columns * PANEL_INCHES[0], num_rows * PANEL_INCHES[1]
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure((width, height + LEGEND_INCHES), layout="constrained")
        figure.get_layout_engine().set(**SPACING)
        axes = figure.subplots(num_rows, num_columns, sharex=True, squeeze=False).ravel()
        for axis, panel in zip(axes, panels, strict=False):
            _draw_panel(axis, panel, runs)
        for axis in axes[len(panels) :]:
            axis.remove()
        lines = [
            matplotlib.lines.Line2D([], [], color=COLORS[i], linewidth=2.5)
            for i in range(len(runs))
        ]
        figure.legend(lines, list(runs), loc="outside upper left", ncols=8, fontsize=9)
        figure.supxlabel("images seen", fontsize=8)
    return figure


def save(figure: Figure, path: pathlib.Path, dots_per_inch: int = DOTS_PER_INCH) -> None:
    """Writes PNG, PDF or SVG, by the suffix; the resolution is that of a PNG and of pictures.

    Raises:
      UsageError: the file cannot be written.
    """
    # Texts are laid out only now, in the style of the figure.
    with import_matplotlib().rc_context(STYLE):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=dots_per_inch)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error}") from error


def import_matplotlib() -> Any:
    """matplotlib with the modules that figures need.

    Raises:
      UsageError: it is not installed.
    """
    try:
        import matplotlib
        import matplotlib.figure  # no pyplot: nothing global, no window
        import matplotlib.lines
        import matplotlib.patches
        import matplotlib.ticker
    except ImportError as error:
        raise UsageError("needs matplotlib: pip install 'gan3d[figures]'") from error
    return matplotlib


def _kind(panel: Panel) -> str:
    """One of `KINDS`: the first part of a metric's name, if it has several."""
    first, slash, _ = panel.curves[0].partition("/")
    return first if slash else "training"


def _has_values(panel: Panel, rows: Rows) -> bool:
    return any(np.isfinite(series(rows, name)[1]).any() for name in panel.curves)


def _draw_panel(axis: Axes, panel: Panel, runs: Mapping[str, Rows]) -> None:
    axis.set_title(panel.title, pad=14)
    if panel.reference is not None:
        axis.axhline(panel.reference, color=FAINT, linewidth=0.9, zorder=1)
    for number, rows in enumerate(runs.values()):
        color = COLORS[number]
        if panel.band is not None:
            images, low = series(rows, panel.band[0])
            _, high = series(rows, panel.band[1])
            axis.fill_between(images, low, high, color=color, alpha=0.15, linewidth=0)
        for name, dashes in zip(panel.curves, DASHES, strict=False):
            images, values = series(rows, name)
            marker = "." if len(images) <= FEW_POINTS else None
            axis.plot(images, values, color=color, dashes=dashes, marker=marker, markersize=3.5)
    _label_curves(axis, panel.labels)
    _scale(axis, panel)


def _label_curves(axis: Axes, labels: Sequence[str]) -> None:
    """Between title and frame: which curve is solid and which is dashed, or the remark."""
    if len(labels) == 1:
        axis.annotate(
            labels[0], (0, 1), xytext=(0, 3), xycoords="axes fraction",
            textcoords="offset points", fontsize=7,
        )  # fmt: skip
    else:
        lines = import_matplotlib().lines
        samples = [lines.Line2D([], [], color=INK, linewidth=1, dashes=d) for d in DASHES]
        axis.legend(
            samples, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=7,
            handlelength=2.2, borderpad=0, borderaxespad=0.3, columnspacing=1.2,
        )  # fmt: skip


def _scale(axis: Axes, panel: Panel) -> None:
    ticker = import_matplotlib().ticker
    axis.margins(x=0.02)
    axis.xaxis.set_major_locator(ticker.MaxNLocator(5, steps=TICK_STEPS))
    axis.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
    axis.tick_params(labelbottom=True)
    if panel.log:
        axis.set_yscale("log")
        axis.yaxis.set_minor_locator(ticker.NullLocator())
        low, high = axis.get_ylim()
        if high < FEW_DECADES * low:
            axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 3), numticks=8))
            axis.yaxis.set_major_formatter("{x:g}")
        return
    axis.yaxis.set_major_locator(ticker.MaxNLocator(4, steps=TICK_STEPS))
    if panel.percent:
        axis.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.3g}%")
        axis.set_ylim(0, max(axis.get_ylim()[1], LEAST_PERCENT_TOP))


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_multi_string(
        "run", ["runs/demo"], "directory of a run; may be given again", flag_values=values
    )
    flags.DEFINE_enum("panels", "all", KINDS, "which panels to draw", flag_values=values)
    flags.DEFINE_string("out", "curves.png", "figure: .png, .pdf or .svg", flag_values=values)
    return values


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    flag_values = _define_flags()
    experiment_flags.parse(flag_values, argv, __doc__)
    out = pathlib.Path(flag_values.out)
    if out.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--out must end with {', '.join(SUFFIXES)}, got {flag_values.out!r}")
    experiment_flags.check_output("out", flag_values.out)
    runs = load_curves(flag_values.run)
    save(draw(runs, flag_values.panels), out)
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(experiment_flags.run(main, sys.argv))
