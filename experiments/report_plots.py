"""Curves and histograms of a run as SVG in the page, in the page's own colours.

Drawn here and not by matplotlib, so that they follow the reader's light or dark colours, get larger
with the window, and can be read off; `experiments.curves` draws the same panels for print.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from experiments.curve_panels import PANELS, Panel
from experiments.curves import series

if TYPE_CHECKING:
    from jaxtyping import Float

WIDTH, HEIGHT = 320, 170
LEFT, RIGHT, TOP, BOTTOM = 40, 312, 8, 150  # frame of a plot, in its own units
MAX_POINTS = 400  # of a curve
MAX_COLUMNS = 120  # of a histogram over time
STEPS = (1, 2, 2.5, 5, 10)
FEW_DECADES = 30  # a logarithmic scale below this ratio is marked at 3, 30, ... too


class Scale(NamedTuple):
    """From values to places between two borders of the frame."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: Any) -> Any:
        low, high = (math.log10(v) if self.log else v for v in (self.low, self.high))
        value = np.log10(value) if self.log else value
        return self.start + (self.end - self.start) * (value - low) / ((high - low) or 1)


class Curve(NamedTuple):
    """Values over images seen; nan where there is none."""

    images: Float[np.ndarray, " N"]
    values: Float[np.ndarray, " N"]


def panel_figures(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """The panels of `curve_panels` that have values, as HTML, and what the page reads off them."""
    last = max((row["images"] for row in rows), default=0)
    figures, data = [], []
    for panel in PANELS:
        curves = [_curve(rows, name, panel) for name in panel.curves]
        if any(np.isfinite(curve.values).any() for curve in curves):
            band = [_curve(rows, name, panel) for name in panel.band or ()]
            figures.append(_panel_figure(panel, curves, band, last))
            data.append(_readings(panel, curves, last))
    return figures, data


def histogram_figure(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    """How a histogram of the samples went over time: SVG, empty if nothing was logged."""
    logged = sorted(((r["images"], r[name]) for r in rows if name in r), key=lambda pair: pair[0])
    if not logged:
        return ""
    logged = [logged[i] for i in evenly(len(logged), MAX_COLUMNS)]
    times = [images for images, _ in logged]
    edges = logged[-1][1]["edges"]
    # A reading stands for the time up to the next one.
    ends = [*times[1:], times[-1] + (times[-1] - times[-2] if len(times) > 1 else 1)]
    x = Scale(times[0], ends[-1], LEFT, RIGHT)
    y = Scale(edges[0], edges[-1], BOTTOM, TOP)
    cells = []
    for start, end, (_, histogram) in zip(times, ends, logged, strict=True):
        bins = zip(edges, edges[1:], histogram["shares"], strict=False)
        for low, high, share in bins:
            if share > 0:
                width, height = x(end) - x(start), y(low) - y(high)
                cells.append(
                    f'<rect x="{x(start):.1f}" y="{y(high):.1f}" width="{width:.1f}"'
                    f' height="{height:.1f}" fill-opacity="{share**0.5:.2f}"/>'
                )
    axes = _grid(x, _ticks(x, 5), y, [(v, f"{100 * v:g}%") for v in (0, 0.25, 0.5, 0.75, 1)])
    label = "share of the samples by coverage, over images seen"
    return _svg(label, axes + f'<g class="cells">{"".join(cells)}</g>')


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of the indices below `count`, the first and the last among them."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))


def thin_out(curve: Curve, most: int = MAX_POINTS) -> Curve:
    """At most `most` points, the least and the greatest of each stretch, so that peaks stay."""
    if len(curve.images) <= most:
        return curve
    kept = set()
    for stretch in np.array_split(np.arange(len(curve.images)), most // 2):
        values = curve.values[stretch]
        if np.isfinite(values).any():
            kept |= {int(stretch[np.nanargmin(values)]), int(stretch[np.nanargmax(values)])}
        else:
            kept.add(int(stretch[0]))  # stays a gap
    order = sorted(kept)
    return Curve(curve.images[order], curve.values[order])


def _curve(rows: Sequence[Mapping[str, Any]], name: str, panel: Panel) -> Curve:
    images, values = series(rows, name)
    if panel.log:
        values = np.where(values > 0, values, math.nan)
    return thin_out(Curve(images, values))


def _panel_figure(panel: Panel, curves: list[Curve], band: list[Curve], last: float) -> str:
    x = Scale(0, last, LEFT, RIGHT)
    y, marks = _vertical_scale(panel, [*curves, *band])
    parts = [_grid(x, _ticks(x, 5), y, marks)]
    if panel.reference is not None:
        at = f"{y(panel.reference):.1f}"
        parts.append(f'<path class="reference" d="M{LEFT} {at}H{RIGHT}"/>')
    if band:
        parts.append(f'<path class="band" d="{_band_path(x, y, *band)}"/>')
    for curve, style in zip(curves, ("first", "second"), strict=False):
        parts.append(f'<path class="curve {style}" d="{_path(x, y, curve)}"/>')
    parts.append(f'<path class="cursor" d="M0 {TOP}V{BOTTOM}"/>')
    names = "first", "second"
    keys = panel.labels if len(panel.labels) > 1 else ()
    legend = "".join(
        f'<span class="key {style}">{html.escape(label)}</span>'
        for style, label in zip(names, keys, strict=False)
    ) or html.escape(panel.labels[0])
    title = html.escape(panel.title)
    return (
        f'<figure class="panel"><figcaption><strong>{title}</strong>'
        f'<span class="legend">{legend}</span><span class="readout"></span></figcaption>'
        f"{_svg(f'{panel.title} over images seen', ''.join(parts))}</figure>"
    )


def _readings(panel: Panel, curves: list[Curve], last: float) -> dict[str, Any]:
    finite = lambda v: float(f"{v:.4g}") if math.isfinite(v) else None  # noqa: E731
    return {
        "left": LEFT,
        "right": RIGHT,
        "last": last,
        "percent": panel.percent,
        "curves": [
            {"images": c.images.astype(int).tolist(), "values": [finite(v) for v in c.values]}
            for c in curves
        ],
    }


def _vertical_scale(panel: Panel, curves: list[Curve]) -> tuple[Scale, list[tuple[float, str]]]:
    values = np.concatenate([curve.values for curve in curves])
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    if panel.reference is not None:
        low, high = min(low, panel.reference), max(high, panel.reference)
    if panel.log:
        low, high = low / 1.15, high * 1.15
        y = Scale(low, high, BOTTOM, TOP, log=True)
        subs = (1, 3) if high < FEW_DECADES * low else (1,)
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        marks = [s * 10.0**d for d in decades for s in subs if low <= s * 10.0**d <= high]
        return y, [(mark, f"{mark:g}") for mark in marks]
    if panel.percent:
        low, high = min(low, 0.0), max(high, 0.01)
    slack = 0.06 * ((high - low) or abs(high) or 1)
    y = Scale(low if panel.percent and low == 0 else low - slack, high + slack, BOTTOM, TOP)
    return y, _ticks(y, 4, percent=panel.percent)


def _ticks(scale: Scale, count: int, percent: bool = False) -> list[tuple[float, str]]:
    """Round values within a scale, with their names."""
    rough = ((scale.high - scale.low) or 1) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(s * unit for s in STEPS if s * unit >= 0.999 * rough)
    first, last = math.ceil(scale.low / step - 1e-9), math.floor(scale.high / step + 1e-9)
    values = [round(step * i, 12) for i in range(first, last + 1)]
    return [(v, f"{100 * v:.4g}%" if percent else short(v)) for v in values]


def short(value: float) -> str:
    """12000 as 12k.

    >>> [short(v) for v in (0, 0.25, -3, 6400, 2_500_000)]
    ['0', '0.25', '-3', '6.4k', '2.5M']
    """
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{suffix}"
    return f"{value:.4g}"


def _grid(x: Scale, x_marks: Iterable, y: Scale, y_marks: Iterable) -> str:
    minus = lambda name: name.replace("-", "&#8722;")  # noqa: E731
    lines = [f'<path class="grid" d="M{LEFT} {y(v):.1f}H{RIGHT}"/>' for v, _ in y_marks]
    names = [
        f'<text x="{LEFT - 5}" y="{y(v) + 3.2:.1f}" text-anchor="end">{minus(name)}</text>'
        for v, name in y_marks
    ]
    names += [
        f'<text x="{x(v):.1f}" y="{BOTTOM + 14}" text-anchor="middle">{minus(name)}</text>'
        for v, name in x_marks
    ]
    return "".join([*lines, *names])


def _path(x: Scale, y: Scale, curve: Curve) -> str:
    """Points joined by lines; after a gap the pen is put down anew, a lone point is a dot."""
    words, drawing = [], False
    for images, value in zip(x(curve.images), y(curve.values), strict=True):
        if math.isfinite(value):
            words.append(f"{'L' if drawing else 'M'}{images:.1f} {value:.1f}")
            words += [] if drawing else ["h0"]
        drawing = math.isfinite(value)
    return "".join(words)


def _band_path(x: Scale, y: Scale, low: Curve, high: Curve) -> str:
    there = [*zip(low.images, low.values, strict=True)]
    back = [*zip(high.images, high.values, strict=True)][::-1]
    corners = [f"{x(a):.1f} {y(v):.1f}" for a, v in there + back if math.isfinite(v)]
    return f"M{'L'.join(corners)}Z" if corners else ""


def _svg(label: str, content: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(label)}">'
        f"{content}</svg>"
    )
