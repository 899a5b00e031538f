"""The kill test finds what it is meant to find, in programs that count instead of training."""

from __future__ import annotations

import os
import sys
from collections import Counter

import numpy as np
import pytest

from experiments import flags as experiment_flags
from experiments import kill_test, killed_run
from experiments.killed_run import Attempt

KILLS = 6
PROGRAM = """
import os, sys, time
from pathlib import Path

run, images, kind = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
saved = run / "checkpoints"
saved.mkdir(parents=True, exist_ok=True)
(run / "sheets").mkdir(exist_ok=True)
(run / "sheets" / "0.png").write_text("a sheet")
for path in saved.glob("*.orbax-checkpoint-tmp"):
    path.unlink()
seen = max((int(path.name) for path in saved.iterdir()), default=0)
seen = 0 if kind == "forgetful" else seen
state = int((saved / str(seen)).read_text()) if seen else 1
if seen:
    print(f"resuming at {seen:,} images", flush=True)
    state += kind == "inexact"
while seen < images:
    seen += 4
    state = (31 * state + seen) % 2**61
    print(f"{seen:,}/{images:,} images | ", flush=True)
    time.sleep(0.002)
    if seen % 64 == 0 or seen == images:
        path = saved / f"{seen}.orbax-checkpoint-tmp"
        path.write_text(str(state))
        time.sleep(0.01)
        os.replace(path, saved / str(seen))
"""


@pytest.fixture
def kill(tmp_path, monkeypatch):
    """Runs the kill test on the program, as one of its kinds."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    def run(kind: str = "exact", *flags: str) -> int:
        def start(workplace, run, images):
            command = [sys.executable, str(program), str(workplace / run), str(images), kind]
            return Attempt(command, workplace / run, dict(os.environ))

        def final_state(run_dir):
            images = max(int(path.name) for path in (run_dir / "checkpoints").iterdir())
            text = (run_dir / "checkpoints" / str(images)).read_text()
            return {"state": np.array(int(text))}, images

        monkeypatch.setattr(kill_test, "start", start)
        monkeypatch.setattr(killed_run, "_final_state", final_state)
        monkeypatch.setattr(killed_run, "metrics_but_speed", lambda run_dir: [])
        return experiment_flags.run(
            kill_test.main,
            ["kill_test", f"--kills={KILLS}", f"--directory={tmp_path / 'runs'}", *flags],
        )

    return run


def test_an_exact_run_passes(kill, capsys):
    assert kill() == 0
    lines = capsys.readouterr().out.splitlines()
    kills = [line for line in lines if line.startswith("kill ")]
    assert len(kills) == KILLS
    assert all("resumed from" in line for line in kills)
    assert lines[-2].startswith(f"{KILLS} kills, seed 0, ")
    assert lines[-1] == "final state, metrics and sheets are those of the undisturbed run"


def test_a_run_that_resumes_inexactly_is_found(kill, capsys):
    assert kill("inexact") == 1
    assert "final state: state differs" in capsys.readouterr().out.splitlines()


def test_a_run_that_does_not_resume_is_found(kill, tmp_path, capsys):
    begun = tmp_path / "before" / "checkpoints"
    begun.mkdir(parents=True)
    (begun / "64").write_text("1")
    command = [sys.executable, str(tmp_path / "program.py"), str(begun.parent), "640", "forgetful"]
    attempt = Attempt(command, begun.parent, dict(os.environ))
    newest = attempt.newest_checkpoint()
    kill_test.wait_until(kill_test.Moment("training", 0.1, 0.0), attempt, 1.0)
    assert attempt.kill() in ("training", "saving")
    assert attempt.errors(newest) == ["resumed from 0, not from 64"]


def test_a_run_that_ends_too_early_is_found(kill, monkeypatch, capsys):
    monkeypatch.setattr(kill_test, "IMAGES_PER_KILL", 4)
    assert kill() == 1
    assert "it had ended before, exit code 0" in capsys.readouterr().out


def test_other_metrics_and_missing_sheets_are_differences(tmp_path, monkeypatch):
    monkeypatch.setattr(killed_run, "_final_state", lambda run_dir: ({}, len(run_dir.name)))
    monkeypatch.setattr(killed_run, "metrics_but_speed", lambda run_dir: [{"images": run_dir.name}])
    lines = killed_run.differences(tmp_path / "a", tmp_path / "bb")
    assert lines == ["images seen: 1 and 2", "metrics differ", "sheets differ"]


def test_moments_are_of_every_kind_and_of_the_seed():
    moments = kill_test.draw_moments(50, seed=0)
    assert moments == kill_test.draw_moments(50, seed=0) != kill_test.draw_moments(50, seed=1)
    assert min(Counter(moment.aim for moment in moments)[aim] for aim in kill_test.AIMS) >= 10


@pytest.mark.parametrize("flag", ["--kills=0", "--seed=x", "--directory=."])
def test_wrong_flags(flag, kill, capsys):
    assert kill("exact", flag) == 2
    assert capsys.readouterr().err.count("\n") == 1
