from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from experiments import curves
from experiments import flags as experiment_flags
from experiments.flags import UsageError

STEPS = range(640, 6401, 640)


def training_row(images, offset=0.0):
    names = ("loss_g", "loss_d", "score_real", "score_fake", "r1", "r2", "laplacian", "crease")
    values = {name: 0.1 * (i + 1) + offset for i, name in enumerate(names)}
    return {"images": images, **values, "radius": 0.6, "coverage": 0.4}


def dashboard_row(images, convexity=0.9):
    names = {name for panel in curves.PANELS for name in (*panel.curves, *(panel.band or ()))}
    ours = sorted(name for name in names if name.startswith("dashboard/"))
    row = dict.fromkeys(ours, 0.2) | {"dashboard/convexity": convexity}
    return {"images": images, **row, "dashboard/coverage_histogram": {"edges": [0, 1]}}


def evaluation_row(images, accuracy):
    names = {name for panel in curves.PANELS for name in panel.curves}
    row = {name: 0.9 for name in names if name.startswith("evaluation/")}
    return {"images": images, **row, "evaluation/one_nna": accuracy}


def save(run_dir, rows):
    run_dir.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (run_dir / "metrics.jsonl").write_text(lines)
    return run_dir


@pytest.fixture
def plain(tmp_path):
    return save(tmp_path / "plain", [training_row(images, offset=0.5) for images in STEPS])


@pytest.fixture
def looked_at(tmp_path):
    rows = [training_row(images) for images in STEPS]
    return save(tmp_path / "looked_at", [dashboard_row(0), *rows, dashboard_row(6400, 0.7)])


def command(*arguments: object) -> int:
    return experiment_flags.run(curves.main, ["curves", *map(str, arguments)])


def figure_of(*run_dirs):
    return curves.draw(curves.load_curves([str(run_dir) for run_dir in run_dirs]))


def panel(figure, title):
    (axis,) = (axis for axis in figure.axes if axis.get_title(loc="left") == title)
    return axis


def test_series_is_in_order_with_gaps_where_a_value_is_unknown():
    rows = [{"images": 2, "a": 1.0}, {"images": 0, "a": 3.0}, {"images": 1, "a": None}]
    images, values = curves.series([*rows, {"images": 3, "b": 1.0}], "a")
    np.testing.assert_array_equal(images, [0, 1, 2])
    np.testing.assert_array_equal(values, [3, math.nan, 1])
    assert [len(column) for column in curves.series(rows, "c")] == [0, 0]


def test_each_run_has_one_colour_and_its_own_values(plain, looked_at):
    figure = figure_of(looked_at, plain)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["looked_at", "plain"]
    colors = [to_hex(line.get_color()) for line in legend.get_lines()]
    assert len(set(colors)) == 2

    lines = panel(figure, "losses").get_lines()
    assert [to_hex(line.get_color()) for line in lines] == [colors[0]] * 2 + [colors[1]] * 2
    assert [line.is_dashed() for line in lines] == [False, True] * 2
    for line, value in zip(lines, (0.1, 0.2, 0.6, 0.7), strict=True):
        np.testing.assert_allclose(line.get_ydata(), value)
        np.testing.assert_array_equal(line.get_xdata(), STEPS)


@pytest.fixture
def evaluated(looked_at):
    rows = [evaluation_row(6400, 0.7), evaluation_row(3200, 1.0)]
    (looked_at / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return looked_at


def test_every_panel_is_drawn_of_a_run_with_dashboard_and_evaluations(evaluated):
    figure = figure_of(evaluated)
    assert [axis.get_title(loc="left") for axis in figure.axes] == [p.title for p in curves.PANELS]
    convexity = panel(figure, "fronts").get_lines()[1]  # behind the line at zero
    np.testing.assert_array_equal(convexity.get_xydata(), [[0, 0.9], [6400, 0.7]])
    accuracy = panel(figure, "nearest neighbours: shapes against truth").get_lines()[1]
    np.testing.assert_array_equal(accuracy.get_xydata(), [[3200, 1.0], [6400, 0.7]])
    (band,) = panel(figure, "coverage from the front").collections
    assert band.get_datalim(band.axes.transData).bounds[::2] == (0, 6400)


@pytest.mark.parametrize("kind", curves.KINDS[1:])
def test_one_kind_of_panels(evaluated, kind):
    figure = curves.draw(curves.load_curves([str(evaluated)]), kind)
    drawn = {axis.get_title(loc="left") for axis in figure.axes}
    prefix = "" if kind == "training" else kind
    assert drawn == {p.title for p in curves.PANELS if p.curves[0].rpartition("/")[0] == prefix}


def test_panels_without_values_are_left_out(plain):
    titles = [axis.get_title(loc="left") for axis in figure_of(plain).axes]
    assert titles == [panel.title for panel in curves.PANELS if "/" not in panel.curves[0]]


def test_names_tell_the_runs_apart(plain, tmp_path):
    other = save(tmp_path / "elsewhere" / "plain", [training_row(640)])
    assert list(curves.load_curves([str(plain), str(plain)])) == ["plain"]
    assert list(curves.load_curves([str(plain), str(other)])) == [str(plain), str(other)]


@pytest.mark.parametrize(("suffix", "start"), [("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_the_suffix_decides(plain, tmp_path, suffix, start):
    path = tmp_path / "new folder" / f"curves.{suffix}"
    assert command(f"--run={plain}", f"--out={path}") == 0
    assert path.read_bytes().startswith(start)


def test_png_of_two_runs_in_print_quality(plain, looked_at, tmp_path, capsys):
    path = tmp_path / "curves.png"
    assert command(f"--run={plain}", f"--run={looked_at}", f"--out={path}") == 0
    assert capsys.readouterr().out == f"{path}\n"
    picture = Image.open(path)
    assert round(picture.info["dpi"][0]) == 300
    pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    for color in curves.COLORS[:2]:
        assert (pixels == list(bytes.fromhex(color[1:]))).all(axis=1).sum() > 1000


def test_mistakes_give_one_line_and_exit_code_2(plain, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    unfinished = save(tmp_path / "unfinished", [])
    (unfinished / "metrics.jsonl").write_text('{"images": 6')
    damaged = save(tmp_path / "damaged", [])
    (damaged / "metrics.jsonl").write_text('{"ima\n{"images": 3}\n')
    unknown = save(tmp_path / "unknown", [{"images": 640, "loss_g": None}])
    copies = [save(tmp_path / f"copy{i}", [training_row(640)]) for i in range(9)]
    cases = [
        ([f"--run={tmp_path}/none"], "there is no run"),
        ([f"--run={tmp_path}/empty"], "has no metrics yet"),
        ([f"--run={unfinished}"], "has no metrics yet"),
        ([f"--run={damaged}"], "line 1 is not JSON"),
        ([f"--run={unknown}"], "nothing to draw: unknown"),
        ([f"--run={copy}" for copy in copies], "at most 8 runs, got 9"),
        ([f"--run={plain}", "--out=curves.bmp"], "--out must end with .png, .pdf, .svg"),
        ([f"--run={plain}", f"--out={plain}/metrics.jsonl/a.png"], "cannot write"),
        ([str(plain)], "unexpected argument"),
    ]
    for arguments, message in cases:
        assert command(*arguments) == 2, arguments
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


def test_without_matplotlib_the_line_says_what_to_install(plain, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"needs matplotlib: pip install 'gan3d\[figures\]'"):
        figure_of(plain)
