from __future__ import annotations

import numpy as np
import pytest

from gan3d.evaluation import progress
from gan3d.evaluation.image_distances import frechet_distance, kernel_distance
from gan3d.evaluation.image_report import image_scores

SIZE = 32


def pictures(num: int, seed: int, brightness: float = 128.0) -> np.ndarray:
    """Ramps of random direction and colour with a grain."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((SIZE, SIZE)) / SIZE - 0.5
    slopes = rng.normal(0, 60, (2, num, 1, 1, 3))
    ramps = slopes[0] * rows[..., None] + slopes[1] * columns[..., None]
    images = brightness + ramps + rng.normal(0, 10, ramps.shape)
    return np.clip(images, 0, 255).astype(np.uint8)


def quadrant_colors(images, *, progress=None):
    """A stand-in for a network: mean colours of the quarters, in [0, 1]."""
    if progress is not None:
        progress(len(images), len(images))
    quarters = images.reshape(len(images), 2, SIZE // 2, 2, SIZE // 2, 3)
    return quarters.mean(axis=(2, 4)).reshape(len(images), -1) / 255


TRUTH = pictures(40, seed=0)
FAMILIES = {
    "same kind": pictures(40, seed=1),
    "bright": pictures(40, seed=1, brightness=170),
    "blocky": pictures(40, seed=1)[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2),
    "truth": TRUTH,
}


@pytest.fixture(scope="module")
def scores():
    return image_scores(FAMILIES, TRUTH, quadrant_colors, np.random.default_rng(0))


def test_every_family_has_every_score(scores):
    assert list(scores) == list(FAMILIES)
    for family in scores.values():
        assert set(family) == {"swd", "swd_32", "swd_16", "fid", "kid", "kid_std"}
        assert all(type(value) is float for value in family.values())


def test_feature_scores_are_those_of_the_features(scores):
    found, true = quadrant_colors(FAMILIES["bright"]), quadrant_colors(TRUTH)
    assert scores["bright"]["fid"] == pytest.approx(frechet_distance(found, true))
    assert scores["bright"]["kid"] == pytest.approx(kernel_distance(found, true))


def test_scores_tell_the_families_apart(scores):
    same = scores["same kind"]
    assert scores["truth"]["swd"] == 0
    assert scores["truth"]["fid"] == pytest.approx(0, abs=1e-9)
    assert abs(same["kid"]) < 4 * same["kid_std"]
    assert scores["bright"]["kid"] > 10 * scores["bright"]["kid_std"]
    assert scores["bright"]["fid"] > 5 * same["fid"]
    # Patches are normalised: brightness is left to the features.
    assert scores["bright"]["swd"] < 1.5 * same["swd"]
    assert scores["blocky"]["swd_32"] > 1.5 * same["swd_32"]
    assert scores["blocky"]["swd_16"] < 1.1 * same["swd_16"]


def test_other_families_do_not_change_a_score(scores):
    alone = image_scores(
        {"blocky": FAMILIES["blocky"]}, TRUTH, quadrant_colors, np.random.default_rng(0)
    )
    assert alone["blocky"] == scores["blocky"]


def test_without_features_their_scores_are_left_out():
    one = {"one": FAMILIES["bright"][:1]}
    scores = image_scores(one, TRUTH[:1], None, np.random.default_rng(0))
    assert set(scores["one"]) == {"swd", "swd_32", "swd_16"}


def test_progress_names_the_parts(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    lines, families = [], {"first": TRUTH[4:8], "second": TRUTH[8:12]}
    image_scores(families, TRUTH[:4], quadrant_colors, np.random.default_rng(0), lines.append)
    assert lines == [
        "images, features of the truth: 100%",
        "images, patches of families: 0%",
        "images, features of first: 100%",
        "images, patches of families: 50%",
        "images, features of second: 100%",
    ]


def test_errors_name_family_and_value():
    rng = np.random.default_rng(0)
    cases = {
        "family 'run' must have as many .* 40, because .* biases .* got 39": (TRUTH[1:], TRUTH),
        "family 'run' must have the truth's size, 32 pixels, got 16": (TRUTH[:, :16, :16], TRUTH),
        "family 'run' must be uint8, got float64": (TRUTH / 255, TRUTH),
        r"truth must be \[N, R, R, 3\]": (TRUTH, TRUTH[0]),
        "truth must hold at least 4 images, got 3": (TRUTH[:3], TRUTH[:3]),
    }
    for message, (images, truth) in cases.items():
        with pytest.raises(ValueError, match=message):
            image_scores({"run": images}, truth, quadrant_colors, rng)
