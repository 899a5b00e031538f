from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from saved_run import TINY, save_run

from experiments import evaluate
from experiments import flags as experiment_flags
from experiments.effort import Effort
from gan3d.training.metrics import read_metrics
from gan3d.training.run import RunError

EFFORT = Effort(samples=4, clouds=3, points=64, pictures=4, pose_steps=1)


@pytest.fixture(scope="module")
def evaluated(run_dir):
    lines = []
    result = evaluate.evaluate(run_dir, EFFORT, report=lines.append)
    return result, "\n".join(lines)


def command(*arguments: str) -> int:
    return experiment_flags.run(evaluate.main, ["evaluate", *arguments])


def test_files_hold_what_is_returned(run_dir, evaluated):
    result, output = evaluated
    assert json.loads((run_dir / "evaluation.json").read_text()) == result
    assert np.asarray(Image.open(run_dir / "evaluation.png")).ndim == 3
    assert str(run_dir / "evaluation.json") in output and str(run_dir / "evaluation.png") in output
    assert (result["images_seen"], result["samples"]) == (320, 4)
    assert result["config"]["surface_size"] == TINY.surface_size


def test_the_runs_own_scores_are_added_to_its_history(run_dir, evaluated):
    (row,) = read_metrics(run_dir / "evaluations.jsonl")
    assert row["images"] == 320
    own = {f"evaluation/{key}": value for key, value in evaluated[0]["scores"]["run"].items()}
    assert own.items() <= row.items() and len(row) == len(own) + 1
    evaluate._add_line(run_dir / "evaluations.jsonl", 320, {"mmd": 1.0})
    evaluate._add_line(run_dir / "evaluations.jsonl", 640, {"mmd": None})
    assert read_metrics(run_dir / "evaluations.jsonl") == [
        {"images": 320, "evaluation/mmd": 1.0},
        {"images": 640, "evaluation/mmd": None},
    ]


def test_seed_is_apart_from_training(evaluated):
    result, _ = evaluated
    assert result["seed"] == TINY.seed + evaluate.SEED_OFFSET


def test_other_heads_score_high_and_the_start_shape_does_not(evaluated):
    scores = evaluated[0]["scores"]
    assert list(scores) == [
        "run", "untrained", "mean head", "other heads", "constant depth", "truth", "constant pose",
    ]  # fmt: skip
    assert scores["other heads"]["frontal_iou"] > 0.9
    assert scores["other heads"]["profile_depth_correlation"] > 0.97
    assert scores["other heads"]["nose_height"] > 0.02
    assert scores["other heads"]["eye_depth"] > 0.005
    assert scores["untrained"]["frontal_iou"] < 0.85
    assert scores["untrained"]["depth_diversity"] < 1e-3
    assert abs(scores["untrained"]["nose_height"]) < 0.01
    assert abs(scores["untrained"]["eye_depth"]) < 0.01
    for side in ("left", "right"):
        assert f"profile_{side}_depth_correlation" in scores["run"]


def test_baselines_are_ordered_and_point_clouds_are_compared(evaluated):
    result, _ = evaluated
    scores = result["scores"]
    assert (result["clouds"], result["points"]) == (3, 64)
    for key in ("frontal_side_percent", "profile_mad_degrees"):
        errors = [scores[name][key] for name in ("mean head", "untrained", "constant depth")]
        assert errors == sorted(errors)
    for key in ("mmd", "aligned_mmd"):
        assert scores["mean head"][key] < scores["untrained"][key]
    assert scores["mean head"]["depth_diversity"] < 1e-3
    assert scores["untrained"]["cov"] == pytest.approx(1 / 3)
    assert scores["untrained"]["size_against_start"] == pytest.approx(1, abs=0.02)
    assert scores["untrained"]["background_distance"] is None
    assert scores["other heads"]["hollow_share"] == scores["other heads"]["failed"] == 0
    assert scores["other heads"]["background_distance"] > 0.1


def test_radii_say_how_shapes_differ(evaluated):
    scores = evaluated[0]["scores"]
    offsets = [
        scores[name]["radial_offset_percent"] for name in ("other heads", "mean head", "untrained")
    ]
    assert max(offsets[:2]) < offsets[2] / 3
    assert scores["mean head"]["radial_variety"] == pytest.approx(0, abs=1e-9)
    assert 0.3 < scores["other heads"]["radial_variety"] < 3
    assert scores["run"]["radial_one_nna"] == 1
    assert "radial_one_nna" not in scores["mean head"]
    assert "radial_offset_percent" not in scores["truth"]


def test_pictures_and_viewpoints_are_compared(evaluated):
    scores = evaluated[0]["scores"]
    for name in ("run", "untrained", "other heads"):
        assert scores[name]["swd"] == pytest.approx(
            (scores[name]["swd_32"] + scores[name]["swd_16"]) / 2
        )
    assert scores["other heads"]["swd"] < min(scores[name]["swd"] for name in ("run", "untrained"))
    for name in ("run", "other heads"):
        assert 0 < scores[name]["pose_mae_degrees"] < 180
    # Of yaw within 90 and pitch within 15 degrees; four views are few.
    assert 5 < scores["constant pose"]["pose_mae_degrees"] < 100
    assert "fid" not in scores["run"]


def test_runs_on_photographs_have_scores_of_pictures(tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    for i, colors in enumerate(np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)):
        Image.fromarray(colors).save(folder / f"{i}.png")
    save_run(tmp_path / "run", dataclasses.replace(TINY, data=f"folder:{folder}"))
    result = evaluate.evaluate(tmp_path / "run", EFFORT, report=lambda line: None)
    assert list(result["scores"]) == ["run", "untrained", "other photographs"]
    scores = result["scores"]["run"]
    assert {"swd", "swd_32", "swd_16", "failed", "failed_hollow", "convexity"} <= set(scores)
    assert "frontal_iou" not in scores and 0 <= scores["failed"] <= 1
    assert not (tmp_path / "run" / "evaluation.png").exists()
    with pytest.raises(RunError, match=r"pictures must be at most 4, half .* got 5"):
        evaluate.evaluate(tmp_path / "run", dataclasses.replace(EFFORT, pictures=5), report=str)


def test_table_has_a_column_per_family(evaluated):
    _, output = evaluated
    assert all(name in output for name in ("run", "untrained", "other heads", "truth"))
    assert "frontal silhouette IoU" in output


def test_unusable_runs_give_one_line_and_exit_code_2(tmp_path, capsys):
    save_run(tmp_path / "faces", dataclasses.replace(TINY, data="folder:faces"))
    cases = {
        f"--run={tmp_path}/none": "there is no run",
        f"--run={tmp_path}": "no config.json",
        f"--run={tmp_path}/faces": "folder:faces, cannot be opened",
        "--features=vgg": "--features",
        "--samples=0": "--samples",
        "--clouds=-1": "--clouds",
        "--points=23": "--points",
    }
    for argument, message in cases.items():
        assert command(argument) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
