"""What the train command does when its surroundings fail: one line, an exit code, nothing lost."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Sequence
from pathlib import Path

import fake_step
import numpy as np
import pytest
from fake_step import CountingSource, checkpoints, dashboards, logged, make_config, sheets
from PIL import Image

from experiments import flags as experiment_flags
from experiments import train
from gan3d.data import FolderSource
from gan3d.training import loop, metrics, record
from gan3d.training.checkpoint import Checkpoints
from gan3d.training.directory import open_run_directory

FLAGS = dict(
    images=64,
    batch=4,
    log_interval_images=8,
    sheet_interval_images=24,
    checkpoint_interval_images=16,
)


@pytest.fixture
def parts(monkeypatch):
    """A training with a step of three numbers, on sixteen images."""
    monkeypatch.setattr(loop, "open_training_source", lambda config: CountingSource())
    return fake_step.install(monkeypatch)


def run(run_dir: Path, *arguments: str) -> int:
    flags = [f"--{name}={value}" for name, value in FLAGS.items()]
    return experiment_flags.run(train.main, ["train", *flags, f"--run={run_dir}", *arguments])


def one_line(capsys) -> str:
    """The only line on stderr."""
    (line,) = capsys.readouterr().err.splitlines()
    return line


def final_w(run_dir: Path):
    return loop.train(make_config(), run_dir, CountingSource()).generator_params["w"]


def assert_continues_as_if_nothing_had_been(run_dir: Path, undisturbed: Path) -> None:
    assert run(run_dir) == run(undisturbed) == 0
    np.testing.assert_array_equal(final_w(run_dir), final_w(undisturbed))
    assert checkpoints(run_dir) == checkpoints(undisturbed)
    assert logged(run_dir) == logged(undisturbed)
    assert dashboards(run_dir) == dashboards(undisturbed)
    assert sheets(run_dir) == sheets(undisturbed)


# A full disk. What the system allows a process to write stands for it where the files are large
# enough; elsewhere a file that is always full.


def test_no_room_for_a_checkpoint(tmp_path, parts, capsys, monkeypatch):
    resource = pytest.importorskip("resource")
    parts.ballast = 2**18  # random numbers: a megabyte, however it is packed
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    save = record.Record.save

    def save_without_room(self, images_seen, state):
        if images_seen == 48:
            self.wait()
            resource.setrlimit(resource.RLIMIT_FSIZE, (2**18, limits[1]))
        save(self, images_seen, state)

    with monkeypatch.context() as patch:
        patch.setattr(record.Record, "save", save_without_room)
        try:
            assert run(tmp_path / "run") == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    directory = tmp_path / "run" / "checkpoints"
    assert one_line(capsys) == f"error: cannot save a checkpoint in {directory}: File too large"
    assert checkpoints(tmp_path / "run") == [16, 32]
    assert_intact(directory, parts, newest=32)
    assert_continues_as_if_nothing_had_been(tmp_path / "run", tmp_path / "undisturbed")


def assert_intact(directory: Path, parts, newest: int) -> None:
    template = fake_step.init_state(parts, 0)
    with Checkpoints(directory, read_only=True) as saved:
        assert saved.restore_latest(template)[1] == newest


def write_to_a_full_file(monkeypatch, images: int) -> None:
    """From there on metrics.jsonl is full."""
    write = metrics.MetricsWriter.write

    def full(self, images_seen, *arguments):
        if images_seen == images:
            self._file = open("/dev/full", "w")
        write(self, images_seen, *arguments)

    monkeypatch.setattr(metrics.MetricsWriter, "write", full)


def save_to_a_full_file(monkeypatch, images: int) -> None:
    """So are the sheets."""
    save_png = record.save_png

    def full(path, sheet):
        if int(path.stem) == images:
            with open("/dev/full", "wb") as file:
                Image.fromarray(sheet).save(file, "PNG")
        save_png(path, sheet)

    monkeypatch.setattr(record, "save_png", full)


def board_in_a_full_file(monkeypatch, images: int) -> None:
    """So are the files for TensorBoard."""
    from gan3d.training.tensorboard import Board

    write = Board.write

    def full(self, images_seen, *arguments):
        if images_seen == images:
            self._file._py_recordio_writer._writer = open("/dev/full", "wb")
        write(self, images_seen, *arguments)

    monkeypatch.setattr(Board, "write", full)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a file that is always full")
@pytest.mark.parametrize("fill", [write_to_a_full_file, save_to_a_full_file, board_in_a_full_file])
def test_no_room_for_metrics_or_sheets(fill, tmp_path, parts, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        fill(patch, 48)
        assert run(tmp_path / "run") == 1
    message = f"error: cannot write in {tmp_path / 'run'}: No space left on device"
    assert one_line(capsys) == message
    assert_intact(tmp_path / "run" / "checkpoints", parts, newest=32)
    assert_continues_as_if_nothing_had_been(tmp_path / "run", tmp_path / "undisturbed")


# A directory that cannot be used. Permissions do not stop root, these do.


def below_a_file(run_dir: Path) -> Path:
    run_dir.write_text("in the way")
    return run_dir / "run"


def configuration_in_the_way(run_dir: Path) -> Path:
    (run_dir / "config.json.tmp").mkdir(parents=True)
    return run_dir


def checkpoints_in_the_way(run_dir: Path) -> Path:
    run_dir.mkdir()
    (run_dir / "checkpoints").write_text("in the way")
    return run_dir


@pytest.mark.parametrize(
    ("obstacle", "reason"),
    [
        (below_a_file, "is a file"),
        (configuration_in_the_way, "Is a directory"),
        (checkpoints_in_the_way, "File exists"),
    ],
)
def test_a_directory_that_cannot_be_written(obstacle, reason, tmp_path, parts, capsys):
    run_dir = obstacle(tmp_path / "place")
    assert run(run_dir) == 2
    line = one_line(capsys)
    assert line.startswith(f"error: run must be a directory that can be written, got {run_dir}: ")
    assert line.endswith(reason)


@pytest.mark.parametrize("existing", ["run", "."])
def test_a_read_only_disk_is_refused_before_the_data_is_read(
    existing, tmp_path, capsys, monkeypatch
):
    """For root as well: of a read-only disk `os.access` says so."""
    (tmp_path / existing).mkdir(exist_ok=True)
    monkeypatch.setattr(loop, "open_training_source", lambda config: pytest.fail("data was read"))
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert run(tmp_path / "run") == 2
    place = tmp_path / existing
    assert one_line(capsys).endswith(f"got {tmp_path / 'run'}: {place} is read-only")


def test_two_runs_in_one_directory(tmp_path, parts, capsys):
    pytest.importorskip("fcntl")
    with open_run_directory(tmp_path, make_config()):
        assert run(tmp_path) == 2
        assert one_line(capsys) == f"error: another process is training in {tmp_path}"
    assert run(tmp_path) == 0


# Photographs that disappear in the middle of a run.


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    fake_step.install(monkeypatch)
    folder = tmp_path / "photographs"
    folder.mkdir()
    for i in range(8):
        Image.new("RGB", (32, 32), (30 * i,) * 3).save(folder / f"{i}.png")
    return folder


def delete_during_the_run(folder: Path, monkeypatch) -> None:
    add = loop.Progress.add

    def add_and_delete(progress, images_seen, values):
        add(progress, images_seen, values)
        if images_seen == 24:
            for path in folder.glob("[1-5].png"):
                path.unlink()

    monkeypatch.setattr(loop.Progress, "add", add_and_delete)


@pytest.mark.parametrize("kept", ["in a cache", "in memory"])
def test_photographs_that_are_kept_may_go(kept, photographs, tmp_path, monkeypatch):
    monkeypatch.setenv("GAN3D_CACHE", str(tmp_path / "cache") if kept == "in a cache" else "")
    assert run(tmp_path / "undisturbed", f"--data=folder:{photographs}") == 0
    delete_during_the_run(photographs, monkeypatch)
    assert run(tmp_path / "run", f"--data=folder:{photographs}") == 0
    assert len(list(photographs.iterdir())) == 3
    assert logged(tmp_path / "run") == logged(tmp_path / "undisturbed")


def test_photographs_that_are_not_kept_are_missed(photographs, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(FolderSource.__init__.__kwdefaults__, "memory_bytes", 0)
    delete_during_the_run(photographs, monkeypatch)
    assert run(tmp_path / "run", f"--data=folder:{photographs}") == 1
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert f".png of folder:{photographs} can no longer be read: FileNotFoundError" in line
    assert checkpoints(tmp_path / "run")[0] == 16


# A clock that is wrong.


def test_the_time_of_day_changes_nothing(tmp_path, parts, monkeypatch, capsys):
    hours = iter(range(10**6, 0, -1))
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 3600.0 * next(hours))
        patch.setattr(time, "time_ns", lambda: 3600 * 10**9 * next(hours))
        assert run(tmp_path / "run", "--images=40") == 0
        # The newest checkpoint looks like the oldest.
        for age, path in enumerate(sorted((tmp_path / "run" / "checkpoints").iterdir())):
            os.utime(path, (10**9 - age, 10**9 - age))
        assert run(tmp_path / "run") == 0
    assert next(hours) < 10**6 - 10, "the clock was not asked"
    out = capsys.readouterr().out
    assert "resuming at 40 images" in out
    assert " -" not in out and "unknown left" in out
    assert run(tmp_path / "undisturbed", "--images=40") == run(tmp_path / "undisturbed") == 0
    np.testing.assert_array_equal(final_w(tmp_path / "run"), final_w(tmp_path / "undisturbed"))
    assert logged(tmp_path / "run") == logged(tmp_path / "undisturbed")
    assert checkpoints(tmp_path / "run") == checkpoints(tmp_path / "undisturbed")


# Files that want to be executed.


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("exploded",))


def plant(directory: Path, files: Sequence[Path]) -> None:
    for path in files:
        path.write_bytes(pickle.dumps(Bomb()))
    np.save(directory / "payload.npy", np.array([Bomb()]), allow_pickle=True)
    (directory / "payload.pkl").write_bytes(pickle.dumps(Bomb()))
    (directory / "sitecustomize.py").write_text("import os; os.mkdir('exploded')")


def test_nothing_in_a_run_directory_is_executed(tmp_path, parts, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Bomb()))
    Path("exploded").rmdir()  # it would have
    assert run(tmp_path / "run") == run(tmp_path / "undisturbed") == 0
    saved = tmp_path / "run" / "checkpoints"
    for number, kind in (("64", "state"), ("48", "leaves")):
        files = [path for path in (saved / number / kind).rglob("*") if path.is_file()]
        assert files
        plant(saved / number / kind, files)
    plant(saved, [])
    plant(tmp_path / "run", [])
    plant(saved / "32", [])
    capsys.readouterr()
    assert run(tmp_path / "run") == 0
    assert "resuming at 32 images" in capsys.readouterr().out
    assert not Path("exploded").exists()
    np.testing.assert_array_equal(final_w(tmp_path / "run"), final_w(tmp_path / "undisturbed"))
