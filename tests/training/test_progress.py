"""The progress line, the averages behind it, and the watch over them."""

from __future__ import annotations

import types

import jax.numpy as jnp
import pytest

from gan3d.training import progress as progress_lib
from gan3d.training.metrics import MetricsWriter, read_metrics
from gan3d.training.progress import Progress, crosses


@pytest.fixture
def clock(monkeypatch):
    """A clock that shows one second more every time it is read."""
    seconds = iter(range(1000))
    monkeypatch.setattr(progress_lib.time, "monotonic", lambda: float(next(seconds)))


@pytest.fixture
def record(tmp_path):
    """Of a run's record what the progress needs."""
    with MetricsWriter(tmp_path) as writer:
        yield types.SimpleNamespace(path=writer.path, write=writer.write, say=print)


def metrics(loss: float) -> dict:
    return {"loss_g": jnp.float32(loss), "loss_d": jnp.float32(1), "coverage": jnp.float32(0.5)}


def test_averages_between_reports(record, clock):
    progress = Progress(record, images_seen=0, total_images=1000, interval_images=20)
    for step, loss in enumerate([1.0, 2.0, 3.0, 5.0], start=1):
        progress.add(10 * step, metrics(loss))
    rows = read_metrics(record.path)
    assert [(row["images"], row["loss_g"]) for row in rows] == [(20, 1.5), (40, 4.0)]


def test_line_has_speed_and_time_left_without_the_compiling_steps(record, clock, capsys):
    progress = Progress(record, images_seen=0, total_images=1000, interval_images=40)
    for images_seen in (10, 20, 30):
        progress.add(images_seen, metrics(1.0))
    assert capsys.readouterr().out == ""
    progress.add(40, metrics(1.0))
    assert capsys.readouterr().out == (
        "40/1,000 images | 20.0 images/s | loss_g 1.000 | loss_d 1.000 | coverage 0.500 | "
        "48s left\n"
    )


def test_resumed_run_reports_at_the_same_places(record):
    progress = Progress(record, images_seen=30, total_images=1000, interval_images=20)
    progress.add(40, metrics(1.0))
    assert [row["images"] for row in read_metrics(record.path)] == [40]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_stops_at_a_value_that_is_not_finite(record, loss):
    progress = Progress(record, images_seen=0, total_images=1000, interval_images=20)
    with pytest.raises(FloatingPointError, match=rf"loss_g is {loss} at 10 images"):
        progress.add(10, metrics(loss))


def test_steps_in_flight_are_looked_at_later(record):
    progress = Progress(record, 0, 1000, interval_images=10, max_in_flight=2)
    progress.add(10, metrics(1.0))
    progress.add(20, metrics(float("nan")))
    assert read_metrics(record.path) == []
    progress.add(30, metrics(1.0))
    assert [row["images"] for row in read_metrics(record.path)] == [10]
    with pytest.raises(FloatingPointError, match="at 20 images"):
        progress.drain()


def test_finish_reports_the_rest(record):
    progress = Progress(record, 0, 1000, interval_images=100)
    progress.add(10, metrics(1.0))
    progress.finish()
    assert [row["images"] for row in read_metrics(record.path)] == [10]
    progress.finish()
    assert len(read_metrics(record.path)) == 1


def test_crosses():
    assert crosses(100, 90, 100)
    assert crosses(100, 90, 120)
    assert not crosses(100, 100, 190)


@pytest.mark.parametrize(
    ("images", "speed", "text"),
    [(80, 10, "8s"), (750, 1, "12m30s"), (3900, 1, "1h05m"), (1, 0, "unknown")],
)
def test_duration(images, speed, text):
    assert progress_lib._duration(images, speed) == text
