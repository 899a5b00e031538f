from __future__ import annotations

import numpy as np
import pytest

from gan3d.evaluation.alignment import Similarity
from gan3d.evaluation.cloud_report import CloudSampling, compare_clouds, sample_clouds
from gan3d.render import sphere_mesh

BALL, TOPOLOGY = sphere_mesh(17)


def family(num: int, seed: int, spread: float = 0.1) -> np.ndarray:
    """Ellipsoids of random proportions, as clouds of 200 points."""
    rng = np.random.default_rng(seed)
    meshes = BALL * rng.uniform(0.6 - spread, 0.6 + spread, (num, 1, 3))
    return sample_clouds(meshes, TOPOLOGY, CloudSampling(num, 200, rng))


@pytest.fixture(scope="module")
def scores():
    lines = []
    moved = Similarity(1.5, np.eye(3), np.array([0.0, 0.4, 0.0]))
    families = {
        "same kind": family(24, 1),
        "moved": moved.apply(family(24, 1)),
        "one": family(1, 2, spread=0.0),
        "collapsed": np.zeros((24, 200, 3)),
    }
    return compare_clouds(families, family(24, 0), lines.append)


def test_shapes_of_one_kind_are_hardly_told_apart(scores):
    same = scores["same kind"]
    assert 0.3 < same["one_nna"] < 0.7
    assert same["cov"] > 0.4
    assert same["alignment_scale"] == pytest.approx(1, abs=0.06)


def test_moved_shapes_are_told_apart_until_they_are_aligned(scores):
    moved, same = scores["moved"], scores["same kind"]
    assert moved["one_nna"] == 1 and moved["f_score"] < 0.5 * same["f_score"]
    assert moved["mmd"] > 3 * moved["aligned_mmd"]
    assert moved["aligned_mmd"] == pytest.approx(same["aligned_mmd"], rel=0.02)
    assert moved["aligned_one_nna"] == pytest.approx(same["aligned_one_nna"], abs=0.05)
    assert moved["alignment_scale"] * 1.5 == pytest.approx(same["alignment_scale"], rel=0.02)
    assert moved["alignment_shift"] == pytest.approx(0.4, abs=0.05)


def test_one_shape_alone_covers_one(scores):
    one = scores["one"]
    assert one["cov"] == pytest.approx(1 / 24)
    assert one["one_nna"] > 0.5
    assert one["mmd"] < 0.15


def test_a_collapsed_family_has_scores_but_no_alignment(scores):
    collapsed = scores["collapsed"]
    assert collapsed["mmd"] == pytest.approx(0.6, abs=0.1)  # how far a ball is from its centre
    assert collapsed["f_score"] == 0 and collapsed["one_nna"] == 1
    assert not any(key.startswith("align") for key in collapsed)


def test_no_more_clouds_than_meshes_or_than_asked_for():
    meshes = np.stack([BALL] * 3)
    for shapes, expected in ((2, 2), (9, 3)):
        sampling = CloudSampling(shapes, 5, np.random.default_rng(0))
        assert sample_clouds(meshes, TOPOLOGY, sampling).shape == (expected, 5, 3)
