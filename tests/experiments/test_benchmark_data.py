from __future__ import annotations

import json
import os

import pytest
from PIL import Image

from experiments import benchmark_data
from experiments import flags as experiment_flags

pytest.importorskip("tensorflow_datasets")

FAST = ("--images=8", "--repeats=3", "--batch=4", "--resolution=16", "--heads=0")


def run(*arguments):
    return experiment_flags.run(benchmark_data.main, ["benchmark_data", *arguments])


def test_every_source_is_timed(tmp_path, capsys):
    for i in range(5):
        Image.new("RGB", (20, 20), (i, 0, 0)).save(tmp_path / f"{i}.png")
    before = dict(os.environ)
    path = tmp_path / "out" / "data.json"
    assert run(f"--folder={tmp_path}", f"--json={path}", *FAST) == 0
    assert dict(os.environ) == before
    result = json.loads(path.read_text())
    cases = {row["name"]: row for row in result["cases"]}
    assert list(cases) == [
        "folder, decoded each time",
        "folder, from memory",
        "folder, from the cache",
        "tfds, decoded each time",
        "tfds, from the cache",
    ]
    for name, row in cases.items():
        assert row["images"] == 5
        assert (row["next_opening_seconds"] is not None) == name.endswith("cache")
        low, high = row["quartiles"]
        assert 0 < low <= row["images_per_second"] <= high
    table = capsys.readouterr().out
    assert "16 x 16, batches of 4" in table
    assert "folder, from the cache" in table.splitlines()[-4]


def test_made_up_photographs_can_be_read(tmp_path):
    folder = benchmark_data.make_photographs(tmp_path / "made", 3)
    source = benchmark_data.FolderSource(folder, 32)
    assert len(source) == 3
    assert source[0].std() > 10
    assert (source[0] != source[1]).any()


@pytest.mark.parametrize("argument", ["--batch=0", "--heads=-1", "--repeats=0", "--folder=/none"])
def test_mistakes_are_one_line(argument, capsys):
    assert run(argument) == 2
    assert argument.split("=")[0].strip("-") in capsys.readouterr().err
