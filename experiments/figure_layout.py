"""Lays a sheet of pictures out for print: aligned cells, titles and a caption as text."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from experiments.curves import FAINT, INK, STYLE, import_matplotlib
from gan3d.sheets import Group, Sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_INCHES = 6.9  # of a page of two columns
MOST_CELL_INCHES = 0.85
GAP_INCHES, GROUP_GAP_INCHES = 0.025, 0.1
TITLE_INCHES, LINE_INCHES = 0.17, 0.135
EDGE_INCHES = 0.04
TITLE_POINTS, CAPTION_POINTS = 8, 7
POINTS_PER_INCH = 72
LETTER = 0.5  # width of a letter relative to its size, about


def draw_sheet(sheet: Sheet, caption: str = "", width_inches: float = WIDTH_INCHES) -> Figure:
    """The figure of a sheet; cells are square, and as large as the width permits.

    Args:
      sheet: pictures and titles.
      caption: below; wrapped. Empty = none.
      width_inches: of the figure at most.

    Raises:
      UsageError: matplotlib is not installed.
    """
    matplotlib = import_matplotlib()
    num_rows, num_columns = len(sheet.cells), max(map(len, sheet.cells))
    left = EDGE_INCHES + _titles_width(sheet)
    gaps_x, gaps_y = _gaps(num_columns, sheet.column_groups), _gaps(num_rows, sheet.row_groups)
    cell = min(MOST_CELL_INCHES, (width_inches - left - EDGE_INCHES - gaps_x[-1]) / num_columns)
    top = EDGE_INCHES + TITLE_INCHES * (bool(sheet.column_titles) + bool(sheet.column_groups))
    right = left + num_columns * cell + gaps_x[-1]
    lines = wrapped(caption, right - 2 * EDGE_INCHES)
    bottom = top + num_rows * cell + gaps_y[-1]
    height = bottom + EDGE_INCHES + len(lines) * LINE_INCHES + (LINE_INCHES / 2 if lines else 0)
    size = (right + EDGE_INCHES, height)
    xs = [left + j * cell + gaps_x[j] for j in range(num_columns)]
    ys = [top + i * cell + gaps_y[i] for i in range(num_rows)]
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure(size)
        for i, row in enumerate(sheet.cells):
            for j, picture in enumerate(row):
                if picture is not None:
                    place_picture(figure, picture, (xs[j], ys[i]), cell)
        _write_titles(figure, sheet, xs, ys, cell)
        write_caption(figure, lines, EDGE_INCHES, bottom + EDGE_INCHES)
    return figure


def place_picture(
    figure: Figure, picture, corner: tuple[float, float], side: float, order: float = 0
) -> None:
    """A square picture; its top left corner and its side in inches from the figure's top left."""
    width, height = figure.get_size_inches()
    x, y = corner
    box = (x / width, 1 - (y + side) / height, side / width, side / height)
    axis = figure.add_axes(box, zorder=order)
    axis.imshow(picture)  # few texels stay squares, fine pictures are averaged
    axis.set_axis_off()


def write(figure: Figure, x: float, y: float, text: str, **style) -> None:
    """A text, centred unless the style says otherwise, inches from the figure's top left."""
    width, height = figure.get_size_inches()
    defaults = {"ha": "center", "va": "center", "fontsize": TITLE_POINTS, "color": INK}
    figure.text(x / width, 1 - y / height, text, **{**defaults, **style})


def wrapped(caption: str, width_inches: float) -> list[str]:
    """Lines of the caption's type size that fit the width."""
    letters = int(width_inches * POINTS_PER_INCH / (CAPTION_POINTS * LETTER))
    return textwrap.wrap(caption, max(letters, 20))


def write_caption(figure: Figure, lines: list[str], x: float, y: float) -> None:
    """The lines one below the other from this point, inches from the figure's top left."""
    for i, line in enumerate(lines):
        at = y + (i + 0.75) * LINE_INCHES
        write(figure, x, at, line, ha="left", fontsize=CAPTION_POINTS)


def _write_titles(figure, sheet, xs, ys, cell) -> None:
    right, line = xs[0] - GROUP_GAP_INCHES, ys[0] - TITLE_INCHES / 2
    for x, title in zip(xs, sheet.column_titles, strict=False):
        write(figure, x + cell / 2, line, _minus(title))
    for y, title in zip(ys, sheet.row_titles, strict=False):
        write(figure, right, y + cell / 2, _minus(title), ha="right")
    if sheet.column_titles:
        line -= TITLE_INCHES
    for group in sheet.column_groups:
        start, end = xs[group.first], xs[group.last] + cell
        write(figure, (start + end) / 2, line, group.title)
        _rule(figure, (start, end), line + TITLE_INCHES / 2)
    for group in sheet.row_groups:
        middle = (ys[group.first] + ys[group.last] + cell) / 2
        write(figure, right, middle, group.title, ha="right", linespacing=1.4)
        if group.first:
            _rule(figure, (EDGE_INCHES, xs[-1] + cell), ys[group.first] - GROUP_GAP_INCHES / 2)


def _rule(figure: Figure, ends: tuple[float, float], y: float) -> None:
    """A thin horizontal line, inches from the figure's top left."""
    width, height = figure.get_size_inches()
    line = import_matplotlib().lines.Line2D(
        [end / width for end in ends], [1 - y / height] * 2, color=FAINT, linewidth=0.6
    )
    figure.add_artist(line)


def _titles_width(sheet: Sheet) -> float:
    titles = [*sheet.row_titles, *(group.title for group in sheet.row_groups)]
    longest = max((len(line) for title in titles for line in title.split("\n")), default=0)
    inches = longest * TITLE_POINTS * 1.3 * LETTER / POINTS_PER_INCH
    return inches + GROUP_GAP_INCHES if longest else 0.0


def _gaps(num: int, groups: tuple[Group, ...]) -> list[float]:
    """Sum of the gaps before each of `num` cells."""
    starts = {edge for group in groups for edge in (group.first, group.last + 1)}
    gaps = [0.0]
    for i in range(1, num):
        gaps.append(gaps[-1] + (GROUP_GAP_INCHES if i in starts else GAP_INCHES))
    return gaps


def _minus(title: str) -> str:
    return title.replace("-", "\N{MINUS SIGN}") if title[1:2].isdigit() else title
