"""The loop around the step, with a step so small that only the loop is under test."""

from __future__ import annotations

import os
import signal
import threading

import fake_step
import numpy as np
import pytest
from fake_step import CountingSource, checkpoints, dashboards, logged, make_config, sheets

from gan3d.training import loop, record
from gan3d.training.interruption import Interrupted


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    return fake_step.install(monkeypatch)


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


def test_whoever_watches_is_shown_every_sheet(tmp_path):
    seen = []
    loop.train(make_config(), tmp_path, CountingSource(), lambda *look: seen.append(look))
    assert [images for images, _ in seen] == [0, 24, 48, 64]
    assert all(sheet.is_file() and int(sheet.stem) == images for images, sheet in seen)


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


def test_a_run_that_begins_as_another_says_so_once(tmp_path, capsys, monkeypatch):
    def first_state(parts):
        state = fake_step.init_state(parts, 0)
        w = np.full(3, 7.0, np.float32)
        return state.replace(generator_params={"w": w}, ema_params={"w": w}), "as another"

    monkeypatch.setattr(record, "first_state", first_state)
    loop.train(make_config(images=32), tmp_path, CountingSource())
    assert capsys.readouterr().out.splitlines()[0] == "as another"
    assert dashboards(tmp_path)[0] == (0, 21)
    loop.train(make_config(), tmp_path, CountingSource())
    assert "as another" not in capsys.readouterr().out


def test_another_seed_is_another_run(tmp_path):
    first = loop.train(make_config(seed=0), tmp_path / "0", CountingSource())
    second = loop.train(make_config(seed=1), tmp_path / "1", CountingSource())
    assert not np.array_equal(first.generator_params["w"], second.generator_params["w"])


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_same_call_continues_exactly(number, tmp_path):
    whole = loop.train(make_config(), tmp_path / "whole", CountingSource())

    def interrupt(num_fetched):
        if num_fetched == 40:
            os.kill(os.getpid(), number)

    message = rf"{number.name}: saved .* of 64 images"
    with pytest.raises(Interrupted, match=message) as stop:
        loop.train(make_config(), tmp_path / "parts", CountingSource(interrupt))
    assert stop.value.signal_number == number
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


def test_a_look_that_was_cut_off_is_made_up_for(tmp_path, monkeypatch):
    loop.train(make_config(), tmp_path / "whole", CountingSource())
    save_png = record.save_png

    def die(path, sheet):
        if path.stem == "00000064":
            raise KeyboardInterrupt
        save_png(path, sheet)

    with monkeypatch.context() as patch:
        patch.setattr(record, "save_png", die)
        with pytest.raises(KeyboardInterrupt):
            loop.train(make_config(), tmp_path / "parts", CountingSource())
    assert checkpoints(tmp_path / "parts") == [32, 48, 64] and sheets(tmp_path / "parts")[-1] == 48
    for _ in range(2):
        loop.train(make_config(), tmp_path / "parts", CountingSource())
        assert sheets(tmp_path / "parts") == sheets(tmp_path / "whole")
        assert dashboards(tmp_path / "parts") == dashboards(tmp_path / "whole")


def test_batch_must_suit_the_devices(tmp_path):
    with pytest.raises(ValueError, match="divisible by the number of devices, 2, got 3"):
        loop.train(make_config(batch=3), tmp_path, CountingSource())
    assert list(tmp_path.iterdir()) == []
