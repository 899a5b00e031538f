from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from saved_run import TINY, save_run

from experiments import ablate, ablation_report
from experiments import flags as experiment_flags
from experiments.ablation_rows import ROWS, row_config, scheduled
from experiments.effort import Effort
from gan3d.config import Config, differences, validate
from gan3d.sheets import Sheet
from gan3d.visualize import SHEET_COLUMNS

EFFORT = Effort(samples=4, clouds=2)
SCORES = {
    "run": {"frontal_iou": 0.5, "one_nna": None},
    "untrained": {"frontal_iou": 0.25},
    "other heads": {"frontal_iou": 1.0},
}


def command(*arguments: str) -> int:
    return experiment_flags.run(ablate.main, ["ablate", *arguments])


@pytest.mark.parametrize("row", ROWS)
def test_every_row_is_a_valid_run_unlike_the_others(row):
    config = row_config(Config(), row, seed=3)
    validate(config)
    assert config.seed == 3 and config.preset == f"demo/{row}"
    for other in ROWS:
        changed = differences(config, row_config(Config(), other, seed=3))
        assert bool(changed) == (row != other), other


def test_schedules_follow_the_length_but_for_what_was_given():
    """The demo's own schedules are those of its length."""
    demo = Config()
    assert scheduled(
        dataclasses.replace(demo, ema_halflife_images=1), set()
    ) == dataclasses.replace(demo, ema_halflife_images=demo.images // 20)
    short = scheduled(dataclasses.replace(demo, images=9600), {"blur_images"})
    assert short.smoothness_hold_images == demo.smoothness_hold_images // 10
    assert short.smoothness_halflife_images == demo.smoothness_halflife_images // 10
    assert short.blur_images == demo.blur_images


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two seeds of one row and one of another, evaluated."""
    out = tmp_path_factory.mktemp("ablation")
    for name, iou in (("soft_seed0", 0.5), ("soft_seed10", 0.6), ("soft_size_seed2", 0.75)):
        save_run(out / name, TINY)
        scores = {**SCORES, "run": {**SCORES["run"], "frontal_iou": iou}}
        result = {"images_seen": TINY.images, **dataclasses.asdict(EFFORT), "scores": scores}
        (out / name / "evaluation.json").write_text(json.dumps(result))
    save_run(out / "crisp_seed0", TINY)  # not yet evaluated
    return out


def test_report_finds_evaluated_runs_by_row_and_seed(folder):
    runs = ablation_report.evaluated_runs(folder)
    assert {row: list(of) for row, of in runs.items()} == {"soft": [0, 10], "soft_size": [2]}


def test_table_has_means_deviations_and_baselines(folder):
    runs = ablation_report.evaluated_runs(folder)
    scores = {row: [run["scores"] for run in of.values()] for row, of in runs.items()}
    lines = ablation_report.format_table(scores).splitlines()
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ")[2:] for line in lines}
    assert rows["soft"][:2] == ["2", "0.550 ± 0.071"]
    assert rows["soft_size"][:2] == ["1", "0.750"]
    assert rows["untrained"][1] == "0.250" and rows["other heads"][1] == "1.000"
    assert rows["soft"][-1].strip(" |") == "-"
    assert len({line.count("|") for line in lines}) == 1


@pytest.fixture
def no_sheet(monkeypatch):
    """Its program takes long to compile."""
    blank = np.zeros((8, 8, 3), np.uint8)
    monkeypatch.setattr(ablation_report, "sheet", lambda out, seeds: blank)


def test_report_writes_table_json_and_a_sheet(folder, no_sheet):
    json_path, table_path, sheet_path = ablation_report.write(folder)
    assert json.loads(json_path.read_text())["soft"]["10"]["run"]["frontal_iou"] == 0.6
    assert "± 0.071" in table_path.read_text()
    assert np.asarray(Image.open(sheet_path)).shape == (8, 8, 3)


def test_sheet_has_two_samples_of_figure_1_per_row(folder, monkeypatch):
    """The cells, whose program takes long to compile, are tested with `samples_sheet`."""
    cell = np.full((32, 32, 3), 255, np.uint8)

    def samples(generator, z, views, resolution):
        assert generator.images_seen == 320 and len(z) == len(views.yaw)
        assert resolution == TINY.resolution
        return Sheet([[cell] * len(SHEET_COLUMNS) for _ in z], SHEET_COLUMNS)

    monkeypatch.setattr(ablation_report, "samples_sheet", samples)
    height, width = ablation_report.sheet(folder, {"soft": 10, "soft_size": 2}).shape[:2]
    assert 64 * 4 < height < 64 * 5 and 64 * 9 < width < 64 * 11


def test_finished_runs_are_not_repeated(folder, monkeypatch, no_sheet):
    for name in ("train", "evaluate"):
        monkeypatch.setattr(ablate, name, lambda *_: pytest.fail("again"))
    assert ablate.ablate(TINY, ["soft"], [0, 10], folder, EFFORT) == 0


def test_other_efforts_and_longer_runs_are_evaluated_again(folder, monkeypatch, no_sheet):
    trained, evaluated = [], []
    monkeypatch.setattr(ablate, "train", lambda config, _: trained.append(config.images) or 0)
    monkeypatch.setattr(ablate, "evaluate", lambda _, effort: evaluated.append(effort.samples))
    ablate.ablate(TINY, ["soft"], [0], folder, dataclasses.replace(EFFORT, samples=5))
    longer = dataclasses.replace(TINY, images=2 * TINY.images)
    ablate.ablate(longer, ["soft"], [0], folder, EFFORT)
    assert (trained, evaluated) == ([TINY.images, longer.images], [5, 4])


def test_legs_continue_where_the_last_evaluation_was(folder, tmp_path, monkeypatch, no_sheet):
    stops = []

    def evaluate(run_dir, effort):
        run_dir.mkdir(parents=True, exist_ok=True)
        result = {"images_seen": stops[-1], **dataclasses.asdict(effort), "scores": SCORES}
        (run_dir / "evaluation.json").write_text(json.dumps(result))

    monkeypatch.setattr(ablate, "train", lambda config, _: stops.append(config.images) or 0)
    monkeypatch.setattr(ablate, "evaluate", evaluate)
    config = dataclasses.replace(TINY, images=1000)
    for _ in range(2):  # the second time there is nothing left to do
        ablate.ablate(config, ["soft"], [1], tmp_path, EFFORT, evaluations=4)
    assert stops == [250, 500, 750, 1000]
    ablate.ablate(dataclasses.replace(config, images=2000), ["soft"], [1], tmp_path, EFFORT, 4)
    assert stops[4:] == [1500, 2000]


def test_an_interruption_ends_it_with_the_code_of_training(folder, monkeypatch):
    monkeypatch.setattr(ablate, "train", lambda *_: 130)
    assert ablate.ablate(TINY, ["soft"], [5, 6], folder, EFFORT) == 130


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows=soft,sfot"], "rows must be of crisp, soft, "),
        (["--seeds=a"], "seeds must be whole numbers, got 'a'"),
        (["--seeds="], "seeds must be"),
        (["--seeds=-1"], "seed must be at least 0, got -1"),
        (["--data=folder:x"], "data must be 'heads', which has ground truth, got 'folder:x'"),
        (["--images=0"], "images must be at least 1, got 0"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments, message, capsys):
    assert command(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
