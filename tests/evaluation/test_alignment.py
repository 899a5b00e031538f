from __future__ import annotations

import math

import numpy as np
import pytest

from gan3d.evaluation.alignment import Similarity, align_by_icp, umeyama


def turn(axis: int, angle: float) -> np.ndarray:
    """Right-handed rotation about a coordinate axis."""
    c, s = math.cos(angle), math.sin(angle)
    matrix, (i, j) = np.eye(3), ((axis + 1) % 3, (axis + 2) % 3)
    matrix[[i, i, j, j], [i, j, i, j]] = [c, -s, s, c]
    return matrix


def cloud(num: int = 400, seed: int = 0) -> np.ndarray:
    """Points of a lopsided blob."""
    unit = np.random.default_rng(seed).normal(size=(num, 3))
    unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
    return unit * [0.5, 0.7, 0.6] * (1 + 0.2 * np.maximum(unit[:, 2:], 0)) + [0.1, 0, 0]


KNOWN = Similarity(1.3, turn(0, 0.4) @ turn(1, -0.9), np.array([0.2, -0.1, 0.4]))


def assert_equal(found: Similarity, expected: Similarity, atol: float = 1e-9) -> None:
    for value, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, other, atol=atol)


def test_a_known_similarity_is_recovered():
    points = cloud()
    assert_equal(umeyama(points, KNOWN.apply(points)), KNOWN)
    # Points of a plane leave a reflection open: the rotation has to stay one.
    flat = points * [1, 1, 0]
    assert_equal(umeyama(flat, KNOWN.apply(flat)), KNOWN)


def test_noise_leaves_the_least_squared_error():
    rng = np.random.default_rng(3)
    source = cloud()
    target = KNOWN.apply(source) + 0.1 * rng.normal(size=source.shape)

    def error(similarity):
        return ((similarity.apply(source) - target) ** 2).sum()

    best = umeyama(source, target)
    for change in (1e-3, -1e-3):
        for other in (
            best._replace(scale=best.scale + change),
            best._replace(translation=best.translation + change),
            *(best._replace(rotation=turn(axis, change) @ best.rotation) for axis in range(3)),
        ):
            assert error(other) > error(best)


def test_no_reflection():
    points = cloud()
    found = umeyama(points, points * [-1, 1, 1])
    assert np.linalg.det(found.rotation) == pytest.approx(1)


def test_alignment_moves_with_the_target():
    source, target = cloud(seed=1), cloud(seed=2)
    found, moved = umeyama(source, target), umeyama(source, KNOWN.apply(target))
    np.testing.assert_allclose(moved.apply(source), KNOWN.apply(found.apply(source)))


def test_vertical_variant_turns_about_y_only():
    points = cloud()
    yawed = Similarity(0.8, turn(1, 2.5), np.array([0.0, 0.3, -0.2]))
    assert_equal(umeyama(points, yawed.apply(points), rotation="vertical"), yawed)
    assert yawed.angle == pytest.approx(2.5)
    pitched = umeyama(points, points @ turn(0, 0.5).T, rotation="vertical")
    np.testing.assert_allclose(pitched.rotation[1], [0, 1, 0])
    assert pitched.angle < 0.2


@pytest.mark.parametrize("rotation", ["full", "vertical"])
def test_icp_finds_a_similarity_without_correspondence(rotation):
    turned = turn(1, 0.3) if rotation == "vertical" else turn(0, 0.2) @ turn(1, 0.2)
    expected = Similarity(1.2, turned, np.array([0.1, 0.05, -0.1]))
    source = cloud(2000)
    shuffled = np.random.default_rng(0).permutation(expected.apply(source))
    assert_equal(align_by_icp(source, shuffled, rotation), expected, atol=1e-4)
    # Other points of the same surface.
    found = align_by_icp(cloud(2000, seed=5), expected.apply(source), rotation)
    assert_equal(found, expected, atol=0.03)


def test_icp_keeps_its_word_on_a_sphere():
    """Its turn is open and has to stay small; size and place are found."""
    balls = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (cloud(1500), cloud(1500, 1))]
    found = align_by_icp(balls[0], 0.5 * balls[1] + np.array([0.0, 0.2, 0.0]))
    assert found.scale == pytest.approx(0.5, abs=0.005)
    np.testing.assert_allclose(found.translation, [0, 0.2, 0], atol=0.01)
    assert found.angle < 0.3


def test_errors_name_argument_and_value():
    points = cloud(5)
    cases = {
        r"rotation must be one of .*'yaw'": lambda: umeyama(points, points, rotation="yaw"),
        r"target must have .*\(5, 3\).*\(4, 3\)": lambda: umeyama(points, points[1:]),
        r"source must be \[N, 3\].*\(5, 2\)": lambda: umeyama(points[:, :2], points),
        "source must not be a single point": lambda: align_by_icp(np.ones((4, 3)), cloud(30)),
        "target must have at least 24 points, got 5": lambda: align_by_icp(points, points),
    }
    for message, call in cases.items():
        with pytest.raises(ValueError, match=message):
            call()
