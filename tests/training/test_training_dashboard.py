"""The dashboard in training: what is measured, what is written, and when it warns."""

from __future__ import annotations

import math
import re

import jax
import numpy as np
import pytest

from gan3d.config import Config, field_types
from gan3d.evaluation.dashboard import degenerate_share, edge_ratio
from gan3d.evaluation.geometry import shape_statistics
from gan3d.render import sphere_mesh
from gan3d.training import dashboard
from gan3d.training.assemble import assemble, init_state
from gan3d.training.dashboard import Reading, advise, dashboard_reader, describe, log_reading
from gan3d.training.metrics import MetricsWriter, read_metrics

# The azimuthal chart, because the start sphere's mesh is worse there.
TINY = Config(
    seed=5,
    chart="azimuthal",
    surface_size=16,
    texture_size=8,
    background_size=4,
    latent_size=4,
    background_latent_size=2,
    mapping_layers=1,
    generator_width=4,
    discriminator_width=4,
)

SOUND = {
    "width": 1.2,
    "height": 1.5,
    "length": 1.4,
    "mean_radius": 0.7,
    "coverage_low": 0.33,
    "coverage_median": 0.41,
    "coverage_high": 0.52,
    "front_depth_to_width": 0.58,
    "convexity": 0.93,
    "hollow_share": 0.0,
    "flipped_faces": 0.0,
    "degenerate_faces": 0.0,
    "edge_ratio": 1.6,
    "background_distance": 0.31,
    "object_contrast": 0.49,
    "size_against_start": 1.12,
}


class TinyRun:
    """A tiny generator, its reader, and the keys with which the reader's program was traced."""

    def __init__(self, config: Config, monkeypatch):
        self.keys = []
        draw = dashboard.sample_scenes

        def sample_scenes(parts, params, key, num):
            self.keys.append(key)
            return draw(parts, params, key, num)

        monkeypatch.setattr(dashboard, "sample_scenes", sample_scenes)
        parts = assemble(config)
        self.shapes = jax.eval_shape(lambda: init_state(parts, 0).ema_params)
        self.read = dashboard_reader(parts)

    def params(self, scale: float):
        random = np.random.default_rng(0)
        draw = lambda leaf: np.float32(scale * random.standard_normal(leaf.shape))  # noqa: E731
        return jax.tree.map(draw, self.shapes)


@pytest.fixture(scope="module")
def tiny():
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield TinyRun(TINY, monkeypatch)


def test_the_same_latents_every_time_by_one_program(tiny):
    first, other, again = (tiny.read(tiny.params(scale)) for scale in (0.3, 0.1, 0.3))
    assert len(first.coverage) == dashboard.NUM_SAMPLES
    np.testing.assert_array_equal(first.coverage, again.coverage)
    assert first.measures == again.measures != other.measures
    assert len(np.unique(first.coverage)) > 1  # the samples are not one and the same
    (key,) = tiny.keys
    seed_key = jax.random.key(5)
    expected = jax.random.fold_in(seed_key, np.uint32(2**32 - 2))
    assert key == expected


def test_the_start_sphere_is_sound(tiny):
    reading = tiny.read(tiny.params(0.0))
    assert reading.measures["convexity"] > 0.98
    assert reading.measures["size_against_start"] == pytest.approx(1, abs=0.02)
    # Of a ball: pi r^2 of the picture's 2 x 2, and the soft margin around it.
    assert np.pi * 0.6**2 / 4 < reading.coverage.min() < 1.3 * np.pi * 0.6**2 / 4
    assert advise(reading.measures) == []


@pytest.mark.parametrize("chart", ["octahedral", "azimuthal"])
@pytest.mark.parametrize("size", [8, 32, 128])
def test_no_start_mesh_is_near_a_threshold(chart, size):
    ball, topology = sphere_mesh(size + 1, chart)
    measures = SOUND | {
        "flipped_faces": shape_statistics(ball[None], topology)["flipped_faces"],
        "degenerate_faces": degenerate_share(ball[None], topology),
        "edge_ratio": edge_ratio(ball[None], topology),
    }
    assert advise(measures) == []


@pytest.mark.parametrize(
    ("measure", "value", "words"),
    [
        ("coverage_median", 0.09, "objects vanish (coverage 9%)"),
        ("coverage_median", 0.97, "objects fill the picture (coverage 97%)"),
        ("front_depth_to_width", 0.05, "fronts are flat (depth 0.05 of the width)"),
        ("hollow_share", 0.34, "fronts look hollow (34% of them)"),
        ("flipped_faces", 0.101, "the mesh is folded (10.1% of the faces flipped)"),
        ("degenerate_faces", 0.4, "faces collapse (40.0% of them)"),
        ("edge_ratio", 7.0, "the mesh has spikes (longest edges 7.0x the median)"),
        ("object_contrast", 0.02, "objects melt into the background (contrast 0.02)"),
        ("size_against_start", 0.4, "the size drifts (0.40x the start)"),
        ("size_against_start", 2.5, "the size drifts (2.50x the start)"),
    ],
)
def test_each_failure_gets_its_own_warning(measure, value, words):
    (line,) = advise(SOUND | {measure: value})
    assert line.startswith(f"{words}: try ")


def test_what_is_unknown_gives_no_warning():
    assert advise(SOUND) == []
    assert advise(dict.fromkeys(SOUND, math.nan)) == []


def test_advice_names_flags_that_exist():
    named = [re.findall(r"--(\w+)", alarm.advice) for alarm in dashboard.ALARMS]
    assert all(named)
    assert {flag for flags in named for flag in flags} <= set(field_types())


def test_described_in_plain_words():
    assert describe(SOUND) == (
        "coverage 41% (33% to 52%), depth 0.58 of the width, convexity 0.93, hollow fronts 0%, "
        "flipped faces 0.0%, degenerate faces 0.0%, longest edges 1.6x the median, contrast 0.49, "
        "size 1.12x the start"
    )
    assert "convexity unknown, hollow fronts 0%" in describe(SOUND | {"convexity": math.nan})


def test_a_row_of_its_own_and_a_line_for_people(tmp_path, capsys):
    broken = SOUND | {"hollow_share": 0.5, "background_distance": math.nan}
    coverage = np.array([0.05, 0.31, 0.39, 1.0])
    with MetricsWriter(tmp_path) as writer:
        log_reading(writer, 0, Reading(broken, coverage))
        log_reading(writer, 6400, Reading(broken, coverage))
    start, row = read_metrics(tmp_path / "metrics.jsonl")
    assert (start.pop("images"), row.pop("images")) == (0, 6400) and start == row
    assert set(row) == {f"dashboard/{name}" for name in (*SOUND, "coverage_histogram")}
    assert row["dashboard/convexity"] == 0.93 and row["dashboard/background_distance"] is None
    histogram = row["dashboard/coverage_histogram"]
    assert histogram["shares"] == [0.25, 0, 0, 0.5, 0, 0, 0, 0, 0, 0.25]
    np.testing.assert_allclose(histogram["edges"], np.arange(11) / 10)

    at_start, later, warning = capsys.readouterr().out.splitlines()
    assert at_start.startswith("shapes at 0 images: coverage 41% (33% to 52%), depth ")
    assert later.startswith("shapes at 6,400 images: ")
    assert warning.startswith("warning: fronts look hollow (50% of them): try more smoothness")
