"""The report's curves and tables, without a run."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as xml

import numpy as np
import pytest
from PIL import Image

from experiments import report_plots, report_sections
from experiments.curve_panels import PANELS
from experiments.report_plots import Curve, Scale
from gan3d.config import Config, preset

HISTOGRAM = "dashboard/coverage_histogram"


def rows_of(values, name="loss_g", step=640):
    return [{"images": step * i, name: value} for i, value in enumerate(values)]


def points(svg, style):
    (path,) = re.findall(f'class="curve {style}" d="([^"]*)"', svg)
    return path


def test_panels_without_values_are_left_out():
    figures, data = report_plots.panel_figures(rows_of([1.0, 2.0, None]))
    assert len(figures) == len(data) == 1
    assert "losses" in figures[0]
    assert data[0]["curves"][0] == {"images": [0, 640, 1280], "values": [1.0, 2.0, None]}
    assert report_plots.panel_figures([]) == ([], [])
    assert report_plots.panel_figures(rows_of([None])) == ([], [])


def test_curves_go_through_their_values_and_stop_at_gaps():
    (figure,), _ = report_plots.panel_figures(rows_of([1.0, 3.0, None, 2.0]))
    number = r"([\d.]+) ([\d.]+)"
    match = re.fullmatch(f"M{number}h0L{number}M{number}h0", points(figure, "first"))
    x0, y0, x1, y1, x3, y3 = map(float, match.groups())
    assert (x0, x3) == (report_plots.LEFT, report_plots.RIGHT)
    assert x1 - x0 == pytest.approx((x3 - x0) / 3, abs=0.1)
    assert y3 == pytest.approx((y0 + y1) / 2, abs=0.1) and y1 < y0


@pytest.mark.parametrize("values", [[0.0], [-5.0, -5.0], [1e-9, 2e-9], [1e12, 3e12]])
@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_any_values_give_a_plot_inside_its_frame(panel, values):
    rows = [row for name in panel.curves + (panel.band or ()) for row in rows_of(values, name)]
    figures, _ = report_plots.panel_figures(rows)
    if panel.log and min(values) <= 0:
        assert figures == []
        return
    root = xml.fromstring(figures[0])
    assert "nan" not in figures[0]
    heights = [float(y) for y in re.findall(r"[ML][\d.-]+ ([\d.-]+)", figures[0])]
    assert all(report_plots.TOP - 0.1 <= y <= report_plots.BOTTOM + 0.1 for y in heights)
    assert 1 <= sum(text.get("text-anchor") == "end" for text in root.iter("text")) <= 9


def test_long_curves_are_thinned_out_and_keep_their_peaks():
    values = np.zeros(10_000)
    values[[1234, 9999]] = 7.0, -3.0
    values[5000:5200] = math.nan
    thin = report_plots.thin_out(Curve(np.arange(10_000.0), values))
    assert len(thin.images) <= report_plots.MAX_POINTS
    assert set(thin.images) >= {1234.0, 9999.0} and np.isnan(thin.values).any()
    assert np.nanmax(thin.values) == 7 and np.nanmin(thin.values) == -3
    assert (np.diff(thin.images) > 0).all()


@pytest.mark.parametrize(
    "low, high, expected",
    [(0, 1, "0 0.25 0.5 0.75 1"), (0, 24_000, "0 10k 20k"), (-0.21, 0.4, "-0.2 0 0.2 0.4")],
)
def test_ticks_are_round(low, high, expected):
    assert " ".join(name for _, name in report_plots._ticks(Scale(low, high, 0, 1), 4)) == expected


def test_histograms_over_time():
    histogram = {"edges": [0.0, 0.5, 1.0], "shares": [1.0, 0.0]}
    later = histogram | {"shares": [0.25, 0.75]}
    figure = report_plots.histogram_figure(rows_of([histogram, later], HISTOGRAM), HISTOGRAM)
    cells = [e for e in xml.fromstring(figure).iter("rect")]
    assert [float(cell.get("fill-opacity")) for cell in cells] == [1.0, 0.5, 0.87]
    assert float(cells[2].get("y")) < float(cells[1].get("y"))
    one = report_plots.histogram_figure(rows_of([histogram], HISTOGRAM), HISTOGRAM)
    assert one.count("<rect") == 1
    assert report_plots.histogram_figure([], HISTOGRAM) == ""


def test_every_field_of_the_configuration_is_in_a_group():
    assert set(report_sections.GROUPS) <= set(Config.__dataclass_fields__)
    page = report_sections.configuration(preset("heads64", mirror=True, data="folder:<i>"))
    assert all(f">{name}</th>" in page for name in Config.__dataclass_fields__)
    assert page.count('class="differs"') == 2
    assert "<code>mirror</code> yes instead of no" in page and "<i>" not in page
    assert "unchanged" in report_sections.configuration(preset("ffhq128"))


def test_many_sheets_become_a_few_from_first_to_last(tmp_path):
    for number in range(60):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{100 * number:08d}.png")
    (tmp_path / "other.png").touch()
    page = report_sections.sheets(tmp_path)
    assert page.count("<img") == report_sections.MAX_SHEETS
    assert 'data-caption="0"' in page and 'data-caption="5,900">' in page
    assert "24 of 60 sheets" in page


def test_unknown_measures_are_no_alarm():
    row = {"images": 640, "dashboard/convexity": None, "dashboard/edge_ratio": 9.0}
    assert "spikes" in report_sections.warnings([row])
    page = report_sections.soundness([row])
    assert page.count('class="beyond"') == 1 and "&ndash;" in page
    assert report_sections.warnings([row | {"images": 0}]) == ""
