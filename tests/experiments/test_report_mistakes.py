"""What the command of the report says to mistakes."""

from __future__ import annotations

import pytest
from saved_run import TINY

import gan3d
from experiments import flags as experiment_flags
from experiments import report
from experiments.flags import UsageError
from gan3d.config import to_json


def command(*arguments: object) -> int:
    return experiment_flags.run(report.main, ["report", *map(str, arguments)])


def test_mistakes_give_one_line_and_exit_code_2(tmp_path, capsys):
    (tmp_path / "untrained").mkdir()
    (tmp_path / "untrained" / "config.json").write_text(to_json(TINY))
    cases = {
        f"--run={tmp_path}/none": "there is no run",
        f"--run={tmp_path}": "no config.json",
        f"--run={tmp_path}/untrained": "no checkpoint yet",
        "--num=0": "num must be between 1 and 64, got 0",
        "--num=many": "--num",
        "--seed=-1": "seed must be between 0 and 2147483647, got -1",
        "--truncation=nan": "truncation must be between 0 and 2, got nan",
        "--out=report.pdf": "out must end with .html or .htm, got 'report.pdf'",
        "runs/demo": "unexpected argument",
    }
    for argument, message in cases.items():
        assert command(argument) == 2, argument
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


def test_damaged_files_and_places_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(gan3d, "load", lambda _: None, raising=False)
    for name, content, message in (
        ("metrics.jsonl", '{"ima\n{"images": 3}\n', "line 1 is not JSON"),
        ("metrics.jsonl", "[]\n", "a line has no images"),
        ("evaluation.json", '{"scores": 3}', "not an evaluation"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(UsageError, match=message):
            report.write_report(tmp_path)
        (tmp_path / name).unlink()
    for out, message in (
        (tmp_path / "a.html" / "b.html", "cannot write"),
        (tmp_path / "folder.html", "is a directory"),
    ):
        (tmp_path / "a.html").touch()
        (tmp_path / "folder.html").mkdir(exist_ok=True)
        with pytest.raises(UsageError, match=message):
            report.write_report(tmp_path, out)
