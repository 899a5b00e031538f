from __future__ import annotations

import json
import math

import numpy as np
import pytest

from experiments import flags as experiment_flags
from experiments import prepare
from gan3d.data import head_view, open_source
from gan3d.scene import ViewPrior

tfds = pytest.importorskip("tensorflow_datasets")

HEADS = ("--dataset=heads", "--num_heads=20", "--resolution=16", "--seed=3", "--yaw_degrees=60")


def run(*arguments):
    return experiment_flags.run(prepare.main, ["prepare", *arguments])


def test_heads_with_their_viewpoints(tmp_path, monkeypatch, capsys):
    from gan3d.data.builders import Gan3dHeads

    opened, open_heads = [], Gan3dHeads._heads  # kept, since compiling their renderer takes long
    monkeypatch.setattr(
        Gan3dHeads, "_heads", lambda self: opened.append(open_heads(self)) or opened[-1]
    )
    assert run(*HEADS, f"--data_dir={tmp_path}") == 0
    shown = capsys.readouterr().out
    assert "20 images, " in shown
    assert f"TFDS_DATA_DIR={tmp_path} python -m experiments.train --data=tfds:gan3d_heads/" in shown
    spec = shown.split("--data=")[1].strip()

    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    prior = ViewPrior(math.radians(60), math.radians(15))
    source = open_source(spec, 16)
    np.testing.assert_array_equal(source.batch(np.arange(20)), opened[0].batch(np.arange(20)))

    directory = tmp_path / "gan3d_heads" / "16px-20-seed3-yaw60" / "1.0.0"
    builder = tfds.builder_from_directory(directory)
    decoders = {"image": tfds.decode.SkipDecoding()}
    for i, record in enumerate(builder.as_data_source("train", decoders=decoders)):
        assert record["index"] == i
        view = head_view(3, i, prior)
        np.testing.assert_allclose(record["yaw"], view.yaw, rtol=1e-6)
        np.testing.assert_allclose(record["pitch"], view.pitch, rtol=1e-6)
    metadata = json.loads((directory / "metadata.json").read_text())
    assert metadata["seed"] == 3
    assert metadata["yaw_degrees"] == 60

    assert run(*HEADS, f"--data_dir={tmp_path}") == 0
    assert capsys.readouterr().out == f"nothing left to do: {directory} is prepared\n"
    (directory / "features.json").unlink()
    assert run(*HEADS, f"--data_dir={tmp_path}") == 2
    assert "is not a finished dataset; delete it first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--dataset must be given, one of ffhq, heads"),
        (["--dataset=lsun"], "--dataset=lsun: value should be one of"),
        (["--dataset=ffhq"], "--source must name FFHQ's thumbnails128x128.zip"),
        (["--dataset=ffhq", "--source=nowhere"], "source must be the zip thumbnails128x128"),
        (["--dataset=ffhq", "--source=.", "--seed=1"], "--seed must not be given with"),
        (["--dataset=heads", "--source=."], "--source must not be given with --dataset=heads"),
        (["--dataset=heads", "--num_heads=0"], "num_heads must be at least 1, got 0"),
        (["--dataset=ffhq", "--source=.", "--num_images=-1"], "num_images must be in [1, 70000]"),
        (["--dataset=ffhq", "--source=.", "--num_images=3"], "3 are missing, the first is 00000"),
    ],
)
def test_mistakes_are_one_line(tmp_path, arguments, message, capsys, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert run(*arguments) == 2
    error = capsys.readouterr().err.splitlines()
    assert error[-1].startswith("error: ")
    assert message in error[-1]
    assert not any(line.startswith("Traceback") for line in error)


def test_data_dir_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert run(*HEADS, f"--data_dir={tmp_path / 'file'}") == 2
    assert "Traceback" not in capsys.readouterr().err


def test_interruption_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    from gan3d.data.builders import Gan3dHeads

    def examples(self, start, stop):
        raise KeyboardInterrupt

    monkeypatch.setattr(Gan3dHeads, "examples", examples)
    assert run(*HEADS, f"--data_dir={tmp_path}") == 130
    assert "the same command continues" in capsys.readouterr().err
