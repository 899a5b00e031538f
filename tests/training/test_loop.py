"""The loop around the step, with a step so small that only the loop is under test."""

from __future__ import annotations

import os
import signal
import threading
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import logging

from gan3d import config as config_lib
from gan3d.training import loop, record
from gan3d.training.checkpoint import Checkpoints
from gan3d.training.interruption import Interrupted
from gan3d.training.metrics import read_metrics
from gan3d.training.state import TrainState


class CountingSource:
    """Sixteen images, image i of colour i; `on_fetch` is called with the number fetched so far."""

    name = "counting"

    def __init__(self, on_fetch=lambda num_fetched: None):
        self.num_fetched = 0
        self._on_fetch = on_fetch

    def __len__(self):
        return 16

    def __getitem__(self, index):
        self.num_fetched += 1
        self._on_fetch(self.num_fetched)
        return np.full((32, 32, 3), index, np.uint8)


def make_config(**overrides):
    small = dict(
        images=64,
        batch=4,
        log_interval_images=8,
        sheet_interval_images=24,
        checkpoint_interval_images=16,
    )
    return config_lib.preset("demo", **{**small, **overrides})


def init_state(parts, seed):
    params = {"w": jnp.full(3, float(seed))}
    return TrainState(jnp.int32(0), params, params, params, (), ())


def parallel_step(parts, devices):
    """Folds everything that must survive an interruption into three numbers.

    The loss is NaN after `parts.poison` images.
    """

    @jax.jit
    def step(state, images, key, penalise):
        images = images.reshape(-1, *images.shape[2:]).astype(jnp.float32)[:, 0, 0, 0]
        noise = jax.random.normal(jax.random.fold_in(key, state.images_seen), (3,))
        w = jnp.where(penalise, 0.8, 0.9) * state.generator_params["w"] + noise
        w = w + images @ jnp.arange(len(images)) / 100
        images_seen = state.images_seen + len(images)
        loss = jnp.where(images_seen == parts.poison, jnp.nan, w.sum())
        state = state.replace(
            images_seen=images_seen, generator_params={"w": w}, ema_params={"w": w}
        )
        return state, {"loss_g": loss, "loss_d": loss, "coverage": loss}

    return step


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Replaces networks, step, dashboard and sheets; returns the parts, to poison them."""
    parts = types.SimpleNamespace(stage=None, poison=-1)

    def assemble(config):
        parts.config = config
        return parts

    monkeypatch.setattr(loop, "assemble", assemble)
    monkeypatch.setattr(loop, "parallel_step", parallel_step)
    log = lambda writer, images, w: writer.write(images, {"dashboard/w": w.sum()})  # noqa: E731
    replacements = dict(
        init_state=init_state,
        sample_scenes=lambda parts, params, key, num: params["w"],
        draw_views=lambda parts, params, key, num: None,
        dashboard_reader=lambda parts: lambda params: params["w"],
        log_reading=log,
        sample_sheet=lambda scenes, views, stage: np.zeros((8, 8, 3), np.uint8),
    )
    for name, replacement in replacements.items():
        monkeypatch.setattr(record, name, replacement)
    logging.set_verbosity(logging.WARNING)
    return parts


def sheets(run_dir):
    return sorted(int(path.stem) for path in (run_dir / "sheets").glob("*.png"))


def checkpoints(run_dir):
    with Checkpoints(run_dir / "checkpoints", read_only=True) as checkpoints:
        return checkpoints.all_images()


def logged(run_dir, name="loss_g"):
    rows = read_metrics(run_dir / "metrics.jsonl")
    return [(row["images"], row[name]) for row in rows if name in row]


def dashboards(run_dir):
    return logged(run_dir, "dashboard/w")


def test_a_whole_run(tmp_path, capsys):
    state = loop.train(make_config(), tmp_path, CountingSource())
    assert int(state.images_seen) == 64
    assert sheets(tmp_path) == [0, 24, 48, 64]
    assert checkpoints(tmp_path) == [32, 48, 64]
    assert [images for images, _ in logged(tmp_path)] == list(range(8, 65, 8))
    assert [images for images, _ in dashboards(tmp_path)] == [0, 24, 48, 64]
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("8/64 images | ") for line in lines)
    assert lines[-1].startswith("finished: 64 images")


def test_a_finished_run_says_so_and_stays_as_it_is(tmp_path, capsys):
    first = loop.train(make_config(), tmp_path, CountingSource())
    source = CountingSource()
    second = loop.train(make_config(), tmp_path, source)
    assert source.num_fetched == 0
    np.testing.assert_array_equal(first.generator_params["w"], second.generator_params["w"])
    assert "nothing left to do" in capsys.readouterr().out.splitlines()[-1]
    assert len(logged(tmp_path)) == 8 and len(dashboards(tmp_path)) == 4


def test_a_longer_run_equals_one_go(tmp_path):
    whole = loop.train(make_config(images=96), tmp_path / "whole", CountingSource())
    loop.train(make_config(images=64), tmp_path / "parts", CountingSource())
    parts = loop.train(make_config(images=96), tmp_path / "parts", CountingSource())
    np.testing.assert_array_equal(whole.generator_params["w"], parts.generator_params["w"])
    assert logged(tmp_path / "whole") == logged(tmp_path / "parts")
    *_, (images, _), _, _ = dashboards(tmp_path / "parts")
    assert images == 64  # the end of the first part was looked at too
    others = [row for row in dashboards(tmp_path / "parts") if row[0] != 64]
    assert others == dashboards(tmp_path / "whole")


def test_another_seed_is_another_run(tmp_path):
    first = loop.train(make_config(seed=0), tmp_path / "0", CountingSource())
    second = loop.train(make_config(seed=1), tmp_path / "1", CountingSource())
    assert not np.array_equal(first.generator_params["w"], second.generator_params["w"])


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)
def test_sigterm_saves_and_the_same_call_continues_exactly(tmp_path):
    whole = loop.train(make_config(), tmp_path / "whole", CountingSource())

    def interrupt(num_fetched):
        if num_fetched == 40:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match=r"SIGTERM: saved .* of 64 images") as stop:
        loop.train(make_config(), tmp_path / "parts", CountingSource(interrupt))
    assert stop.value.signal_number == signal.SIGTERM
    (*_, stopped_at) = checkpoints(tmp_path / "parts")
    assert 0 < stopped_at < 64
    parts = loop.train(make_config(), tmp_path / "parts", CountingSource())
    np.testing.assert_array_equal(whole.generator_params["w"], parts.generator_params["w"])
    assert dashboards(tmp_path / "parts") == dashboards(tmp_path / "whole")


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)
def test_stopped_where_a_sheet_is_due_it_is_written_before_leaving(tmp_path, monkeypatch):
    loop.train(make_config(), tmp_path / "whole", CountingSource())
    add = loop.Progress.add

    def interrupt(progress, images_seen, metrics):
        add(progress, images_seen, metrics)
        if images_seen == 24:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Progress, "add", interrupt)
        with pytest.raises(Interrupted, match="at 24 of 64 images"):
            loop.train(make_config(), tmp_path / "parts", CountingSource())
    assert sheets(tmp_path / "parts") == [0, 24]
    loop.train(make_config(), tmp_path / "parts", CountingSource())
    assert sheets(tmp_path / "parts") == sheets(tmp_path / "whole")
    assert dashboards(tmp_path / "parts") == dashboards(tmp_path / "whole")


def test_a_run_killed_before_its_first_checkpoint_begins_anew(tmp_path):
    whole = loop.train(make_config(), tmp_path / "whole", CountingSource())

    def die(num_fetched):
        if num_fetched == 16:
            raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        loop.train(make_config(), tmp_path / "parts", CountingSource(die))
    assert checkpoints(tmp_path / "parts") == [] and len(dashboards(tmp_path / "parts")) == 1
    parts = loop.train(make_config(), tmp_path / "parts", CountingSource())
    np.testing.assert_array_equal(whole.generator_params["w"], parts.generator_params["w"])
    assert dashboards(tmp_path / "parts") == dashboards(tmp_path / "whole")
    assert logged(tmp_path / "parts") == logged(tmp_path / "whole")


def test_continues_from_the_checkpoint_before_a_damaged_one(tmp_path, capsys):
    whole = loop.train(make_config(), tmp_path, CountingSource())
    for path in (tmp_path / "checkpoints" / "64").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    again = loop.train(make_config(), tmp_path, CountingSource())
    assert "resuming at 48 images" in capsys.readouterr().out
    np.testing.assert_array_equal(whole.generator_params["w"], again.generator_params["w"])
    assert [images for images, _ in logged(tmp_path)] == list(range(8, 65, 8))
    assert [images for images, _ in dashboards(tmp_path)] == [0, 24, 48, 64]


def test_a_loss_that_is_not_finite_stops_the_run_and_is_not_saved(tmp_path, small_parts):
    small_parts.poison = 40
    with pytest.raises(FloatingPointError, match="loss_g is nan at 40 images"):
        loop.train(make_config(), tmp_path, CountingSource())
    assert checkpoints(tmp_path) == [16, 32]


def test_an_error_of_the_source_is_raised(tmp_path):
    def fail(num_fetched):
        if num_fetched == 20:
            raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        loop.train(make_config(), tmp_path, CountingSource(fail))


def test_batch_must_suit_the_devices(tmp_path):
    with pytest.raises(ValueError, match="divisible by the number of devices, 2, got 3"):
        loop.train(make_config(batch=3), tmp_path, CountingSource())
    assert list(tmp_path.iterdir()) == []
