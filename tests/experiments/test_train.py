"""The train command: one line and a non-zero exit code for every mistake that a person can make."""

from __future__ import annotations

import dataclasses
import re

import pytest

from experiments import flags as experiment_flags
from experiments import train
from gan3d import config as config_lib
from gan3d.config import Config
from gan3d.data import UnreadableImageError
from gan3d.training import loop
from gan3d.training.checkpoint import CheckpointError
from gan3d.training.directory import RunDirectoryError, WriteError, open_run_directory
from gan3d.training.interruption import Interrupted


def run(*arguments: str) -> int:
    return experiment_flags.run(train.main, ["train", *arguments])


@pytest.fixture
def trained(monkeypatch):
    """Replaces the training by a list of the (config, run_dir) it was called with."""
    calls = []
    monkeypatch.setattr(
        loop, "train", lambda config, run_dir, source: calls.append((config, run_dir))
    )
    return calls


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--preset=nonsense"], "--preset=nonsense: value should be one of <demo|"),
        (["--batch=3"], "batch must be divisible by the number of devices, 2, got 3"),
        (["--batch=0"], "batch must be at least 1, got 0"),
        (["--batch=many"], "--batch=many: invalid literal for int()"),
        (["--resolution=48"], "resolution must be one of 32, 64, 128, 256, got 48"),
        (["--resolution=512"], "resolution must be one of 32, 64, 128, 256, got 512"),
        (["--images=-5"], "images must be at least 1, got -5"),
        (["--seed=-1"], "seed must be at least 0, got -1"),
        (["--yaw_degrees=200"], "yaw_degrees must be at most 180, got 200.0"),
        (["--fov_degrees=nan"], "fov_degrees must be finite, got nan"),
        (["--loss=hinge"], "--loss=hinge: value should be one of <relativistic|nonsaturating>"),
        (["--data=cats"], "data must be 'heads', 'ffhq', 'folder:PATH' or 'tfds:NAME"),
        (["--data=tfds:fashion_mnist"], "is not prepared in"),
        (["--data=tfds:a:b:c:d"], "data must be of the form tfds:NAME"),
        (["--data=folder:no/such/folder"], "data must name an existing folder"),
        (["--preset=faces64"], "data must name a folder, as in folder:PATH"),
        (["--start_from=no/such/run"], "start_from: there is no run no/such/run"),
        (["--mirror=perhaps"], "--mirror=perhaps"),
        (["--colour=red"], "Unknown command line flag 'colour'"),
        (["demo"], "unexpected argument 'demo'; flags look like --name=value"),
    ],
)
def test_wrong_flags(flags, message, tmp_path, capsys, trained):
    assert run(*flags, f"--run={tmp_path / 'run'}") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert trained == []
    assert not (tmp_path / "run").exists()


def test_an_empty_folder(tmp_path, capsys):
    assert run(f"--data=folder:{tmp_path}", f"--run={tmp_path / 'run'}") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_run_directory_of_another_configuration(tmp_path, capsys):
    with open_run_directory(tmp_path, config_lib.preset("demo", seed=5)):
        pass
    assert run(f"--run={tmp_path}") == 2
    captured = capsys.readouterr()
    assert captured.err == (
        f"error: run directory {tmp_path} was made with another configuration: seed was 5, now 0\n"
    )


def test_a_run_directory_that_is_a_file(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run(f"--run={tmp_path / 'file'}") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_without_flags_it_is_the_demo(trained, capsys):
    assert run() == 0
    assert trained == [(Config(), "runs/demo")]
    (line,) = capsys.readouterr().out.splitlines()
    for fact in ("demo", "heads", "32x32", f"{Config().images:,} images", "runs/demo"):
        assert fact in line


def test_flags_replace_the_presets_values(trained, tmp_path):
    flags = ["--seed=3", "--nomirror", "--yaw_degrees=45", "--loss=nonsaturating"]
    assert run("--preset=demo", *flags, f"--run={tmp_path}") == 0
    expected = config_lib.preset("demo", seed=3, yaw_degrees=45.0, loss="nonsaturating")
    assert trained == [(expected, str(tmp_path))]


def test_help_names_every_field(capsys):
    assert run("--helpfull") == 0
    text = capsys.readouterr().out
    for field in dataclasses.fields(Config):
        assert re.search(rf"--(\[no\])?{field.name}\b", text)
        assert field.metadata["help"].split()[0] in text


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Interrupted("SIGTERM: saved", 15), 143),
        (Interrupted("SIGINT: saved", 2), 130),
        (FloatingPointError("loss_g is nan at 5 images"), 1),
        (CheckpointError("of a different model"), 1),
        (WriteError("cannot write in runs/demo: No space left on device"), 1),
        (RunDirectoryError("another process is training in runs/demo"), 2),
        (UnreadableImageError("a.png of folder:x can no longer be read: gone"), 1),
    ],
)
def test_how_a_run_ends_is_one_line_and_an_exit_code(error, code, tmp_path, capsys, monkeypatch):
    def fail(config, run_dir, source):
        raise error

    monkeypatch.setattr(loop, "train", fail)
    assert run(f"--run={tmp_path}") == code
    captured = capsys.readouterr()
    assert str(error) in captured.err
    assert captured.err.count("\n") == 1


def test_interrupted_before_there_is_anything_to_save(tmp_path, capsys, monkeypatch):
    def interrupt(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "open_training_source", interrupt)
    assert run(f"--run={tmp_path}") == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_mistake_in_the_program_keeps_its_stack_trace(tmp_path, monkeypatch):
    def fail(config, run_dir, source):
        raise ValueError("shapes do not match")

    monkeypatch.setattr(loop, "train", fail)
    with pytest.raises(ValueError, match="shapes do not match"):
        run(f"--run={tmp_path}")
