"""Metrics on disk: one line per report, and nothing from beyond the point of resuming."""

from __future__ import annotations

import json
import math
import struct
import sys

import pytest
from tensorboardX.proto.event_pb2 import Event

from gan3d.training.metrics import Distribution, MetricsWriter, read_metrics


def write(run_dir, start, rows):
    with MetricsWriter(run_dir, start) as writer:
        for images_seen, loss in rows:
            writer.write(images_seen, {"loss": loss})
    return read_metrics(run_dir / "metrics.jsonl")


def events(run_dir):
    """The summaries in the TensorBoard files, as (step, value)."""
    for path in (run_dir / "tensorboard").iterdir():
        content = path.read_bytes()
        while content:  # records: length, its checksum, event, its checksum
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            yield from ((event.step, value) for value in event.summary.value)
            content = content[16 + length :]


def test_appends_lines_and_events(tmp_path):
    assert write(tmp_path, 0, [(32, 1.0), (64, 0.5)]) == [
        {"images": 32, "loss": 1.0},
        {"images": 64, "loss": 0.5},
    ]
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))


def test_resuming_drops_what_will_be_written_again(tmp_path):
    write(tmp_path, 0, [(32, 1.0), (64, 0.5), (96, 0.25)])
    rows = write(tmp_path, 64, [(96, 0.125)])
    assert [row["loss"] for row in rows] == [1.0, 0.5, 0.125]


def test_a_run_that_begins_anew_keeps_nothing(tmp_path):
    write(tmp_path, 0, [(0, 2.0), (32, 1.0)])
    assert write(tmp_path, 0, [(0, 3.0)]) == [{"images": 0, "loss": 3.0}]


def test_resuming_drops_a_line_cut_off_in_mid_write(tmp_path):
    write(tmp_path, 0, [(32, 1.0), (64, 0.5)])
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-8])
    assert [row["images"] for row in read_metrics(path)] == [32]
    assert [row["images"] for row in write(tmp_path, 32, [(64, 0.5)])] == [32, 64]


def test_a_damaged_line_inside_is_an_error(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"images": 1}\n{"ima\n{"images": 3}\n')
    with pytest.raises(ValueError, match="line 2 is not JSON"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_not_a_number_stays_json(tmp_path):
    rows = write(tmp_path, 0, [(32, math.nan), (64, math.inf)])
    assert [row["loss"] for row in rows] == [None, None]
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_tensorboard_may_be_missing(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert len(write(tmp_path, 0, [(32, 1.0)])) == 1
    assert "tensorboardX is not installed" in caplog.text


def test_a_run_that_resumes_within_the_second_keeps_the_earlier_events(tmp_path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1e9)
    write(tmp_path, 0, [(32, 1.0)])
    write(tmp_path, 32, [(64, 0.5)])
    assert [step for step, _ in events(tmp_path)].count(32) == 1
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2


def test_distributions_are_shares_of_all_samples(tmp_path):
    edges = (0.0, 0.25, 0.5, 1.0)
    spread = Distribution([0.1, 0.2, 0.25, 1.0], edges)
    partly = Distribution([0.3, math.nan, math.inf, -1.0], edges)
    with MetricsWriter(tmp_path) as writer:
        writer.write(32, {"loss": 1.0}, {"spread": spread, "partly": partly})
        writer.write(64, {}, {"unknown": Distribution([math.nan], edges)})
    first, second = read_metrics(tmp_path / "metrics.jsonl")
    assert first["loss"] == 1.0
    assert first["spread"] == {"edges": [0, 0.25, 0.5, 1], "shares": [0.5, 0.25, 0.25]}
    assert first["partly"]["shares"] == [0, 0.25, 0]
    assert second["unknown"]["shares"] == [0, 0, 0]

    shown = {value.tag: (step, value.histo) for step, value in events(tmp_path)}
    step, histogram = shown["spread"]
    assert (step, histogram.num, histogram.min, histogram.max) == (32, 4, 0.1, 1.0)
    assert list(histogram.bucket)[-3:] == [2, 1, 1]
    assert shown["partly"][1].num == 1 and "unknown" not in shown


def test_distributions_survive_resuming(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write(32, {}, {"spread": Distribution([0.1], (0.0, 1.0))})
    rows = write(tmp_path, 32, [(64, 0.5)])
    assert rows[0] == {"images": 32, "spread": {"edges": [0, 1], "shares": [1]}}
