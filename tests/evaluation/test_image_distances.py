from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from gan3d.evaluation import image_distances
from gan3d.evaluation.image_distances import (
    frechet_distance,
    kernel_distance,
    subset_kernel_distance,
)


def features(num: int, size: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(num, size)) @ rng.normal(size=(size, size)) + rng.normal(size=size)


def exact_gaussian(mean, std, num: int, seed: int) -> np.ndarray:
    """Points whose sample mean and sample covariance are exactly `mean` and diag(std²)."""
    raw = np.random.default_rng(seed).normal(size=(num, len(mean)))
    orthonormal = np.linalg.qr(raw - raw.mean(axis=0))[0]
    return np.asarray(mean) + np.sqrt(num - 1) * orthonormal * std


def slow_kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    def mean(x, y, skip_same):
        pairs = [(i, j) for i in range(len(x)) for j in range(len(y)) if i != j or not skip_same]
        return sum((x[i] @ y[j] / len(x[i]) + 1) ** 3 for i, j in pairs) / len(pairs)

    return mean(a, a, True) + mean(b, b, True) - 2 * mean(a, b, False)


@pytest.mark.parametrize(("num_a", "num_b"), [(50, 50), (9, 200)])
def test_frechet_of_diagonal_gaussians(num_a, num_b):
    mean_a, std_a = np.array([1.0, -2.0, 0.0]), np.array([0.5, 2.0, 1.0])
    mean_b, std_b = np.array([0.0, 1.0, 0.0]), np.array([1.5, 0.1, 0.0])
    a = exact_gaussian(mean_a, std_a, num_a, seed=1)
    b = exact_gaussian(mean_b, std_b, num_b, seed=2)
    expected = ((mean_a - mean_b) ** 2).sum() + ((std_a - std_b) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected)
    assert frechet_distance(b, a) == pytest.approx(expected)


@pytest.mark.parametrize(("num_a", "num_b", "size"), [(5, 7, 12), (30, 7, 12), (40, 30, 6)])
def test_frechet_against_the_root_of_a_matrix(num_a, num_b, size):
    a, b = features(num_a, size, seed=1), features(num_b, size, seed=2)
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    # Without full rank the root exists only up to rounding, so to a part in sqrt(epsilon).
    trace = np.trace(scipy.linalg.sqrtm(cov_a @ cov_b)).real
    means = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    expected = means + np.trace(cov_a) + np.trace(cov_b) - 2 * trace
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("num", [4, 40])
def test_frechet_is_zero_on_itself_and_ignores_rotations_of_both(num):
    a, b = features(num, 10, seed=1), features(num + 3, 10, seed=2)
    scale = (a**2).sum()
    assert 0 <= frechet_distance(a, a[::-1]) < 1e-12 * scale
    turn = np.linalg.qr(features(10, 10, seed=3))[0]
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(frechet_distance(a, b))


def test_kernel_distance_against_a_double_loop(monkeypatch):
    a, b = features(7, seed=1), features(11, seed=2)
    expected = slow_kernel_distance(a, b)
    assert kernel_distance(a, b) == pytest.approx(expected)
    monkeypatch.setattr(image_distances, "BLOCK_ROWS", 3)
    assert kernel_distance(a, b) == pytest.approx(expected)


def test_kernel_distance_has_no_bias():
    rng = np.random.default_rng(0)
    values = [kernel_distance(*rng.normal(size=(2, 8, 5))) for _ in range(2000)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error
    # The test can tell: with the pairs of an image and itself, 8 images would be off by far more.
    bias = 2 * np.mean((rng.chisquare(5, 10_000) / 5 + 1) ** 3 - 1) / 8
    assert bias > 30 * error
    a, b = rng.normal(size=(2, 500, 5))
    assert kernel_distance(a, b + 0.5) > 0.3


def test_subsets_are_drawn_without_replacement():
    a, b = features(6, seed=1), features(6, seed=2)
    # The only subset of six of six images is the set.
    whole = subset_kernel_distance(a, b, np.random.default_rng(0), subsets=5, subset_size=6)
    assert whole.mean == pytest.approx(kernel_distance(a, b))
    assert whole.std == pytest.approx(0, abs=1e-9 * abs(whole.mean))
    # U-statistics of subsets have the mean of the set's.
    many = subset_kernel_distance(a, b, np.random.default_rng(0), subsets=20_000, subset_size=3)
    error = many.std / np.sqrt(20_000)
    assert many.std > 0
    assert many.mean == pytest.approx(kernel_distance(a, b), abs=4 * error)


def test_halves_scatter_as_much_as_independent_sets():
    rng = np.random.default_rng(4)

    def draw():
        return rng.normal(size=(40, 3)), rng.normal(size=(40, 3)) + 1

    independent = np.std([kernel_distance(*draw()) for _ in range(400)])
    halves = [subset_kernel_distance(*draw(), rng, 50, 20).std for _ in range(40)]
    assert np.mean(halves) == pytest.approx(independent, rel=0.25)


def test_errors_name_argument_and_value():
    a, rng = features(5), np.random.default_rng(0)
    broken = a.copy()
    broken[2, 1] = np.nan
    cases = {
        r"a must be \[N, D\] with N >= 2, got shape \(1, 6\)": lambda: frechet_distance(a[:1], a),
        r"b must be \[N, D\].*\(6,\)": lambda: kernel_distance(a, a[0]),
        r"b must have a's 6 features, got shape \(5, 4\)": lambda: frechet_distance(a, a[:, :4]),
        "b must be finite, got nan": lambda: frechet_distance(a, broken),
        "subsets must be at least 2, got 1": lambda: subset_kernel_distance(a, a, rng, 1, 3),
        "subset_size must be from 2 to the 4 .* got 5": lambda: subset_kernel_distance(
            a, a[1:], rng, 3, 5
        ),
    }
    for message, call in cases.items():
        with pytest.raises(ValueError, match=message):
            call()
