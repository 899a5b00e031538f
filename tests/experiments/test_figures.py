"""The command and the layout; pictures are tested with the sheets, and grey here."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
from PIL import Image
from saved_run import TINY

import gan3d
from experiments import ablation_report, figures, setup_figure
from experiments import flags as experiment_flags
from experiments.curves import save
from experiments.figure_layout import draw_sheet
from gan3d.pictures import Picture
from gan3d.sheets import Group, Sheet


@pytest.fixture(scope="module")
def generator(run_dir):
    return gan3d.load(run_dir)


@pytest.fixture(autouse=True)
def loaded_once(generator, run_dir, monkeypatch):
    once = lambda run: generator if run == str(run_dir) else gan3d.load(run)  # noqa: E731
    monkeypatch.setattr(figures, "load", once)
    monkeypatch.setattr(ablation_report, "load", lambda run: generator)


@pytest.fixture(autouse=True)
def grey(monkeypatch):
    """Pictures that take no time, and heads of one colour."""

    def pictures(generator, shots, resolution, normals=False):
        for _ in shots:
            yield Picture(*[np.full((resolution, resolution, 3), 128, np.uint8)] * 2)

    monkeypatch.setattr("gan3d.sheets.pictures", pictures)
    monkeypatch.setattr(setup_figure, "pictures", pictures)
    heads = [np.full((8, 8, 3), (200, 40, 40), np.uint8)] * 5
    monkeypatch.setattr(setup_figure, "open_training_source", lambda config: heads)


def command(*arguments: object) -> int:
    return experiment_flags.run(figures.main, ["figures", *map(str, arguments)])


def texts(figure):
    return " ".join(text.get_text() for text in figure.texts)


def test_all_figures_of_a_run_as_pdf(run_dir, capsys):
    assert command(f"--run={run_dir}", "--resolution=16") == 0
    paths = [run_dir / "figures" / f"{name}.pdf" for name in figures.NUMBERS]
    assert capsys.readouterr().out.split() == [str(path) for path in paths]
    for path in paths:
        content = path.read_bytes()
        assert content.startswith(b"%PDF") and b"/Type3" not in content


@pytest.mark.parametrize(
    "name, num, cells",
    [
        ("samples", 2, 18),
        ("shapes", 3, 15),
        ("interpolation", 4, 12),
        ("truncation", 2, 10),
        ("mixing", 3, 3 + 6 * 4),
    ],
)
def test_cells_and_caption(generator, name, num, cells):
    figure = figures.draw_figure(name, generator, seed=7, num=num, resolution=8)
    assert len(figure.axes) == cells
    sides = np.array([axis.get_position().size for axis in figure.axes]) * figure.get_size_inches()
    np.testing.assert_allclose(sides, sides[0, 0])
    assert figure.get_size_inches()[0] <= 6.9 + 1e-6
    caption = texts(figure)
    assert all(fact in caption for fact in ("tiny", "320 images seen", "seed 7"))
    assert (r"\psi" in caption) == (name == "truncation")
    if name != "truncation":
        caption = texts(figures.draw_figure(name, generator, num=num, resolution=8, truncation=0.6))
        assert r"$\psi$ = 0.6" in caption
    bare = figures.draw_figure(name, generator, num=num, resolution=8, caption=False)
    assert "images seen" not in texts(bare)


def test_svg_holds_text_and_png_has_300_dpi(run_dir, tmp_path):
    arguments = (f"--run={run_dir}", f"--out={tmp_path}", "--resolution=8", "--seed=3")
    assert command(*arguments, "--figure=setup", "--format=svg") == 0
    content = (tmp_path / "setup.svg").read_text()
    for text in ("320 images seen, seed 3", "real pictures", "generated?"):
        assert text in content
    assert command(*arguments, "--figure=mixing", "--num=1", "--format=png") == 0
    assert round(Image.open(tmp_path / "mixing.png").info["dpi"][0]) == 300


def test_rows_columns_and_titles_are_where_they_belong(tmp_path):
    colors = [[(250, 0, 0), (0, 250, 0)], [None, (0, 0, 250)]]
    cells = [[c and np.full((4, 4, 3), c, np.uint8) for c in row] for row in colors]
    groups = (Group(0, 0, "above"), Group(1, 1, "below"))
    sheet = Sheet(cells, ("left", "right"), row_groups=groups)
    figure = draw_sheet(sheet, "A caption.", width_inches=3)
    save(figure, tmp_path / "sheet.png", 100)
    picture = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    places = [np.argwhere((picture == c).all(2)).mean(0) for row in colors for c in row if c]
    assert places[0][0] == pytest.approx(places[1][0], abs=1)
    assert places[1][1] == pytest.approx(places[2][1], abs=1)
    assert places[0][1] < places[1][1] and places[1][0] < places[2][0]
    width, height = picture.shape[1::-1]
    at = {text.get_text(): text.get_position() for text in figure.texts}
    assert at["left"][0] * width == pytest.approx(places[0][1], abs=1)
    assert (1 - at["below"][1]) * height == pytest.approx(places[2][0], abs=1)


def with_photographs(generator, folder):
    config = dataclasses.replace(generator.parts.config, data=f"folder:{folder}")
    return dataclasses.replace(generator, parts=dataclasses.replace(generator.parts, config=config))


def test_photographs_are_shown_only_when_asked_for(generator, tmp_path):
    photographed = with_photographs(generator, tmp_path)
    hidden = figures.draw_figure("setup", photographed, resolution=8)
    assert "photograph" in texts(hidden)
    assert setup_figure.setup_content(photographed, 0, 8).real is None
    shown = figures.draw_figure("setup", photographed, resolution=8, show_photographs=True)
    assert "photograph" not in texts(shown)
    assert "photograph" not in texts(figures.draw_figure("setup", generator, resolution=8))


def test_heads_are_drawn_as_large_as_the_samples(generator, monkeypatch):
    opened = []
    monkeypatch.setattr(
        setup_figure, "open_training_source", lambda config: opened.append(config) or []
    )
    setup_figure.setup_content(generator, 0, 48)
    assert (opened[0].resolution, opened[0].num_heads) == (48, 3)
    assert opened[0].seed == TINY.seed


def test_ablation_figure_has_all_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(
        ablation_report, "evaluated_runs", lambda out: {"soft": {2: {}, 5: {}}, "full": {0: {}}}
    )
    assert command(f"--ablation={tmp_path}", "--resolution=8", "--format=svg") == 0
    content = (tmp_path / "figures" / "ablation.svg").read_text()
    for text in (">soft<", ">full<", "soft 2 (320)", "full 0 (320)"):
        assert text in content


def test_mistakes_give_one_line_and_exit_code_2(run_dir, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    cases = [
        ([f"--run={tmp_path}/none"], "there is no run"),
        (["--figure=portrait"], "--figure"),
        (["--figure=interpolation", "--num=1"], "num must be at least 2 for interpolation, got 1"),
        (["--figure=ablation"], "needs --ablation"),
        (["--figure=ablation", f"--ablation={tmp_path}"], "no evaluated run in"),
        (["--format=bmp"], "--format"),
        (["--num=0"], "--num"),
        (["--dpi=10"], "--dpi"),
        (["--truncation=-1"], "--truncation"),
        (["--truncation=nan"], "--truncation must be a finite number, got nan"),
        (["--figure=setup", f"--out={tmp_path}/file/folder"], "cannot write"),
        (["samples"], "unexpected argument"),
    ]
    for arguments, message in cases:
        assert command(f"--run={run_dir}", "--resolution=8", *arguments) == 2, arguments
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error


def test_without_matplotlib_nothing_is_loaded(run_dir, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(figures, "load", None)
    assert command(f"--run={run_dir}") == 2
    assert "pip install 'gan3d[figures]'" in capsys.readouterr().err
