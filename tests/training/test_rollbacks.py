"""nan_policy=rollback: back to a checkpoint, and on so that it can be repeated exactly."""

from __future__ import annotations

import doctest
import os
import signal
import socket
import subprocess
import sys
import threading

import fake_step
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import training_runs
from fake_step import CountingSource, checkpoints, dashboards, logged, make_config

from gan3d.training import loop, rollbacks
from gan3d.training.checkpoint import CheckpointError
from gan3d.training.interruption import Interrupted
from gan3d.training.record import NoRecord
from gan3d.training.rollbacks import agreed, keys, read_rollbacks, rolled_back


@pytest.fixture(autouse=True)
def parts(monkeypatch):
    """A run whose loss is NaN at 40 images, with the randomness that it begins with."""
    parts = fake_step.install(monkeypatch)
    parts.poison = 40
    parts.poisonous = lambda key: bool(key == jax.random.key(0))
    return parts


CONFIG = make_config(nan_policy="rollback")


def train(run_dir):
    return loop.train(CONFIG, run_dir, CountingSource()).generator_params["w"]


def die(*arguments):
    raise InterruptedError


def end_at(monkeypatch, images, end):
    """Calls `end` when a run has seen so many images."""
    add = loop.Progress.add

    def add_or_end(progress, images_seen, metrics):
        add(progress, images_seen, metrics)
        if images_seen == images:
            end()

    monkeypatch.setattr(loop.Progress, "add", add_or_end)


def test_goes_back_and_on_with_other_randomness(tmp_path, parts, capsys):
    w = train(tmp_path / "run")
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if "going back" in line]
    assert "loss_g is nan at 40 images: going back to 32 images, on with other randomness" in line
    assert read_rollbacks(tmp_path / "run") == [32]
    assert checkpoints(tmp_path / "run") == [32, 48, 64]
    assert [images for images, _ in logged(tmp_path / "run")] == list(range(8, 65, 8))
    assert [images for images, _ in dashboards(tmp_path / "run")] == [0, 24, 48, 64]
    parts.poison = -1
    undisturbed = train(tmp_path / "undisturbed")
    assert not np.array_equal(w, undisturbed)
    assert logged(tmp_path / "run")[:4] == logged(tmp_path / "undisturbed")[:4]


def test_before_the_first_checkpoint_it_goes_back_to_the_start(tmp_path, parts):
    parts.poison = 12
    train(tmp_path)
    assert read_rollbacks(tmp_path) == [0]
    assert [images for images, _ in logged(tmp_path)] == list(range(8, 65, 8))


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)
def test_stopped_after_a_rollback_it_continues_exactly(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        end_at(patch, 56, lambda: os.kill(os.getpid(), signal.SIGTERM))
        train(tmp_path / "parts")
    assert read_rollbacks(tmp_path / "parts") == [32]
    assert checkpoints(tmp_path / "parts") == [32, 48, 56]
    np.testing.assert_array_equal(train(tmp_path / "parts"), whole)
    assert logged(tmp_path / "parts") == logged(tmp_path / "whole")


def test_fallen_back_to_before_the_rollback_it_repeats_what_it_did(tmp_path, monkeypatch, capsys):
    whole = train(tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        end_at(patch, 56, die)
        train(tmp_path / "parts")
    assert checkpoints(tmp_path / "parts") == [16, 32, 48]
    for number in (32, 48):
        for path in (tmp_path / "parts" / "checkpoints" / str(number)).rglob("*"):
            if path.is_file():
                path.write_bytes(b"")
    np.testing.assert_array_equal(train(tmp_path / "parts"), whole)
    assert "resuming at 16 images" in capsys.readouterr().out
    assert logged(tmp_path / "parts") == logged(tmp_path / "whole")


def test_a_run_that_stopped_can_go_on_with_rollback(tmp_path):
    with pytest.raises(FloatingPointError):
        loop.train(make_config(), tmp_path, CountingSource())
    w = train(tmp_path)
    np.testing.assert_array_equal(w, train(tmp_path / "at once"))


def test_stops_when_other_randomness_does_not_help(tmp_path, parts, capsys):
    parts.poisonous = lambda key: True
    for _ in range(2):
        with pytest.raises(FloatingPointError, match="at 40 images; other randomness from 32"):
            train(tmp_path)
        assert read_rollbacks(tmp_path) == [32, 32, 32]
    assert capsys.readouterr().out.count("going back") == 3


def test_a_parameter_that_is_not_finite_is_a_reason_too(tmp_path, parts, monkeypatch, capsys):
    parts.poison = -1
    parallel_step = loop.parallel_step

    def spoilt(parts, devices, pool):
        step = parallel_step(parts, devices, pool)

        def spoil(state, images, key, penalise):
            state, metrics = step(state, images, key, penalise)
            if int(state.images_seen) == 48 and parts.poisonous(key):
                state = state.replace(discriminator_params=jnp.full((3,), jnp.inf))
            return state, metrics

        return spoil

    monkeypatch.setattr(loop, "parallel_step", spoilt)
    train(tmp_path)
    assert "is not finite at 48 images: going back to 32 images" in capsys.readouterr().out


def test_the_other_processes_see_the_same_reason():
    state = fake_step.TrainState(np.int32(4), {"w": np.array([np.nan])}, {}, {}, (), ())
    with pytest.raises(FloatingPointError, match="not finite at 4 images"):
        NoRecord(None).save(4, state)


PROGRAM = """
import sys

import jax
import pytest

import fake_step
from gan3d.training import loop, processes

run_dir, coordinator, number = sys.argv[1:]
processes.join(coordinator, 2, int(number))
parts = fake_step.install(pytest.MonkeyPatch())
parts.poison = 40
parts.poisonous = lambda key: bool(key == jax.random.key(0))
config = fake_step.make_config(nan_policy="rollback")
state = loop.train(config, run_dir, fake_step.CountingSource())
print("ended at", state.images_seen)
"""


def test_several_processes_go_back_together(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    path = os.pathsep.join([os.path.dirname(fake_step.__file__), *sys.path])
    both = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path), coordinator, str(number)],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(2)
    ]
    first, second = (training_runs.finish(process) for process in both)
    assert first[0] == second[0] == 0, first[1] + second[1]
    assert first[1].count("going back to 32 images") == 1 and "going back" not in second[1]
    assert "ended at 64" in first[1] and "ended at 64" in second[1]
    assert "finished: 64 images" in first[1] and "finished" not in second[1]
    assert read_rollbacks(tmp_path) == [32]
    assert sorted(os.listdir(tmp_path / "checkpoints"), key=int) == ["32", "48", "64"]


@pytest.mark.parametrize("content", ["[1, 2", "{}", '["a"]', "[-1]", "[true]"])
def test_a_damaged_list_is_an_error(tmp_path, content):
    (tmp_path / "rollbacks.json").write_text(content)
    with pytest.raises(CheckpointError, match="must be a JSON list of numbers"):
        train(tmp_path)


def test_a_checkpoint_in_between_counts_as_progress():
    assert rolled_back([16, 16, 16], 32, "nan") == [16, 16, 16, 32]
    assert rolled_back([48, 16, 16], 32, "nan") == [48, 16, 16, 32]
    with pytest.raises(FloatingPointError, match="nan; other randomness"):
        rolled_back([48, 32, 48], 32, "nan")


def test_examples():
    assert doctest.testmod(rollbacks) == (0, 2)


def test_keys_are_different_and_the_first_is_that_of_an_undisturbed_run():
    key = jax.random.key(3)
    first, *others = keys(key, [16, 0, 16])
    assert first is key
    data = {jax.random.key_data(k).tobytes() for k in (first, *others)}
    assert len(data) == 4
    assert agreed([16, 0, 16]) == [16, 0, 16] and agreed([]) == []


def test_the_list_is_replaced_as_a_whole(tmp_path, monkeypatch):
    rollbacks.write_rollbacks(tmp_path, [16])
    monkeypatch.setattr(os, "fsync", die)
    with pytest.raises(InterruptedError):
        rollbacks.write_rollbacks(tmp_path, [16, 32])
    assert read_rollbacks(tmp_path) == [16]
