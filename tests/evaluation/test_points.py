from __future__ import annotations

import math

import numpy as np
import pytest

from gan3d.evaluation.points import (
    chamfer_distance,
    coverage,
    f_score,
    minimum_matching_distance,
    one_nearest_neighbour_accuracy,
    pairwise_chamfer,
    sample_surface,
    surface_chamfer_distance,
)
from gan3d.render import sphere_mesh


def grid(height: float, side: int = 21) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
    return np.stack([x.ravel(), y.ravel(), np.full(side * side, height)], axis=-1)


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a[:, None] - b[None], axis=-1)


def test_sampled_points_follow_the_area():
    vertices = np.array([[0, 0, 0], [3, 0, 0], [0, 2, 0], [0, 0, 5], [1, 0, 5], [0, 2, 5]])
    faces = np.array([[0, 1, 2], [3, 4, 5]])
    points = sample_surface(vertices, faces, 20_000, np.random.default_rng(0))
    lower = points[points[:, 2] < 1]
    assert abs(len(lower) / len(points) - 0.75) < 0.01
    np.testing.assert_allclose(lower.mean(0), [1, 2 / 3, 0], atol=0.02)
    assert (lower[:, 0] / 3 + lower[:, 1] / 2).max() <= 1 + 1e-9
    # Second moments of a uniform triangle: x² is 9 / 6 on average, x y is 6 / 12.
    assert (lower[:, 0] ** 2).mean() == pytest.approx(1.5, abs=0.04)
    assert (lower[:, 0] * lower[:, 1]).mean() == pytest.approx(0.5, abs=0.02)


def test_a_collapsed_mesh_can_be_sampled():
    points = sample_surface(np.ones((3, 3)), np.array([[0, 1, 2]]), 5, np.random.default_rng(0))
    np.testing.assert_allclose(points, 1)


def test_chamfer_distance_of_shifted_planes_is_the_shift():
    assert chamfer_distance(grid(0.0), grid(0.02)) == pytest.approx(0.02)
    a = np.array([[0.0, 0, 0], [4, 0, 0]])
    b = np.array([[0.0, 3, 0]])
    assert chamfer_distance(a, b) == pytest.approx(((3 + 5) / 2 + 3) / 2)
    assert chamfer_distance(a, b) == chamfer_distance(b, a)


def test_chamfer_distance_of_concentric_balls():
    ball, topology = sphere_mesh(33)
    small, large = ((scale * ball, topology.faces) for scale in (0.9, 1.0))
    assert abs(surface_chamfer_distance(small, large, 2_000) - 0.1) < 0.003
    same = surface_chamfer_distance(large, large, 2_000)
    assert abs(same - math.sqrt(4 * math.pi / 40_000) / 2) < 0.001


def test_f_score_is_the_harmonic_mean_of_precision_and_recall():
    a = np.array([[0.0, 0, 0], [9, 0, 0], [9, 0, 0]])  # precision 1/3
    b = np.array([[0.1, 0, 0], [0, 0.1, 0], [0, 0, 7]])  # recall 2/3
    assert f_score(a, b, 0.2) == pytest.approx(2 / (3 + 3 / 2))
    assert f_score(a, b, 0.05) == 0
    assert f_score(a, a, 1e-9) == 1


def test_pairwise_distances_are_those_of_the_pairs():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 20, 3)), rng.normal(size=(4, 15, 3))
    calls = []
    cross = pairwise_chamfer(a, b, lambda *done: calls.append(done))
    expected = [[chamfer_distance(x, y) for y in b] for x in a]
    np.testing.assert_allclose(cross, expected)
    np.testing.assert_allclose(pairwise_chamfer(a), pairwise_chamfer(a, a))
    assert calls == [(k, 7) for k in range(1, 8)]


def test_coverage_and_matching_distance_by_hand():
    cross = np.array([[1.0, 2.0, 9.0], [3.0, 5.0, 4.0]])  # both rows are nearest to column 0
    assert coverage(cross) == pytest.approx(1 / 3)
    assert minimum_matching_distance(cross) == pytest.approx((1 + 2 + 4) / 3)
    assert coverage(np.array([[1.0, 2.0], [2.0, 1.0]])) == 1


@pytest.mark.parametrize(("shift", "low", "high"), [(0.0, 0.4, 0.6), (9.0, 1.0, 1.0)])
def test_nearest_neighbours_tell_families_apart_only_if_they_differ(shift, low, high):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(200, 3)), rng.normal(size=(200, 3)) + shift
    accuracy = one_nearest_neighbour_accuracy(distances(a, a), distances(b, b), distances(a, b))
    assert low <= accuracy <= high


def test_nearest_neighbours_by_hand():
    """On a line, a at 0 and 10, b at 1 and 30: each is nearest to one of the other family."""
    a, b = np.array([[0.0], [10.0]]), np.array([[1.0], [30.0]])
    arguments = distances(a, a), distances(b, b), distances(a, b)
    assert one_nearest_neighbour_accuracy(*arguments) == 0
    copied = distances(a, a), distances(a, a), distances(a, a)
    assert one_nearest_neighbour_accuracy(*copied) == 0
    far = distances(a, a), distances(b, b), distances(a, b) + 100
    assert one_nearest_neighbour_accuracy(*far) == 1


def test_errors_name_argument_and_value():
    plane, rng = grid(0.0), np.random.default_rng(0)
    one_face = np.array([[0, 1, 2]])
    cases = {
        "count must be at least 1, got 0": lambda: sample_surface(plane, one_face, 0, rng),
        r"faces must be .*\(3,\)": lambda: sample_surface(plane, one_face[0], 1, rng),
        "vertices must be finite, got nan": lambda: sample_surface(
            plane * np.nan, one_face, 1, rng
        ),
        r"b must be \[N, 3\].*\(0, 3\)": lambda: chamfer_distance(plane, plane[:0]),
        r"threshold must be positive, got -1": lambda: f_score(plane, plane, -1),
        r"a must be \[A, N, 3\].*\(441, 3\)": lambda: pairwise_chamfer(plane),
        r"cross must be a matrix.*\(0, 2\)": lambda: coverage(np.zeros((0, 2))),
        r"within_b must be \[3, 3\]": lambda: one_nearest_neighbour_accuracy(
            np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((2, 3))
        ),
    }
    for message, call in cases.items():
        with pytest.raises(ValueError, match=message):
            call()
