"""Distances between two sets of images by their features: Fréchet (FID) and kernel (KID) distance.

Both are functions of feature arrays alone; with Inception features (`features`) they carry their
usual names. The Fréchet distance is biased upwards by small sets, and differently so for different
families: only values for equally many images compare. The kernel distance is unbiased and can be
negative.

Letters: N, M images; D features; S subsets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

BLOCK_ROWS = 1024  # of a kernel matrix in memory at once


class SubsetDistance(NamedTuple):
    """Mean and standard deviation of a distance over random subsets."""

    mean: float
    std: float


def frechet_distance(a: Float[np.ndarray, "N D"], b: Float[np.ndarray, "M D"]) -> float:
    """Squared Fréchet distance of the Gaussians with the sets' means and covariances,

        |mu_a - mu_b|² + tr(C_a + C_b - 2 (C_a C_b)^(1/2)).

    Source: Heusel et al. 2017, "GANs trained by a two time-scale update rule converge to a local
    Nash equilibrium", eq. 6.

    Args:
      a: features of one set, at least two images; fewer images than features are welcome.
      b: features of the other.

    Raises:
      ValueError: shapes that do not fit, fewer than two images, or features that are not finite.

    >>> print(frechet_distance([[0.0], [2.0]], [[3.0], [5.0]]))  # equal spread, means 3 apart
    9.0
    """
    a, b = _pair(a, b)
    # No root of a matrix is needed. With C_a = AᵀA and C_b = BᵀB, the eigenvalues of C_a C_b other
    # than 0 are those of ABᵀ (ABᵀ)ᵀ, so the trace of its root is the sum of ABᵀ's singular values.
    # These stay accurate where sqrtm fails, on covariances without full rank. A and B may be
    # replaced by their triangular factors: A = QR gives AᵀA = RᵀR, with at most D rows.
    root_a, root_b = (np.linalg.qr(_covariance_factor(x), mode="r") for x in (a, b))
    trace = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    between_means = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    # The sum of the traces is min |R_a - Q R_b|² over orthogonal Q: below 0 by rounding only.
    between_shapes = max((root_a**2).sum() + (root_b**2).sum() - 2 * trace, 0.0)
    return float(between_means + between_shapes)


def kernel_distance(a: Float[np.ndarray, "N D"], b: Float[np.ndarray, "M D"]) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel k(x, y) = (x·y / D + 1)³,

        mean_{i≠j} k(a_i, a_j) + mean_{i≠j} k(b_i, b_j) - 2 mean_{i,j} k(a_i, b_j).

    0 is the expectation for two samples of one distribution, so that about half of such values are
    negative. Source: Binkowski et al. 2018, "Demystifying MMD GANs", section 4. Arguments as for
    `frechet_distance`.

    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.standard_normal((200, 4)), rng.standard_normal((200, 4))
    >>> print(abs(kernel_distance(a, b)) < 0.1, kernel_distance(a, b + 2) > 1)
    True True
    """
    a, b = _pair(a, b)
    return float(_discrepancies(a, b, np.ones((len(a), 1)), np.ones((len(b), 1)))[0])


def subset_kernel_distance(
    a: Float[np.ndarray, "N D"],
    b: Float[np.ndarray, "M D"],
    rng: np.random.Generator,
    subsets: int = 100,
    subset_size: int = 1000,
) -> SubsetDistance:
    """`kernel_distance` over random subsets: the form in which it is usually published.

    The deviation belongs to sets of `subset_size`. Among halves of the images it is about the
    standard error of the distance of all images, because halves have twice the variance and share
    one half of it. It is too large by up to sqrt(3) where the distributions are equal.

    Args:
      a: features of one set.
      b: features of the other.
      rng: consumed.
      subsets: how many, at least 2.
      subset_size: images of each set in a subset, drawn without replacement; from 2 to the size of
        the smaller set.

    Raises:
      ValueError: as for `frechet_distance`, and numbers out of range.

    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.standard_normal((100, 4)), rng.standard_normal((100, 4)) + 2
    >>> distance = subset_kernel_distance(a, b, rng, subsets=10, subset_size=50)
    >>> print(distance.mean > 3 * distance.std > 0)
    True
    """
    a, b = _pair(a, b)
    smaller = min(len(a), len(b))
    if subsets < 2:
        raise ValueError(f"subsets must be at least 2, got {subsets}")
    if not 2 <= subset_size <= smaller:
        raise ValueError(
            f"subset_size must be from 2 to the {smaller} images there are, got {subset_size}"
        )
    members = [_members(len(x), subset_size, subsets, rng) for x in (a, b)]
    distances = _discrepancies(a, b, *members)
    return SubsetDistance(float(distances.mean()), float(distances.std(ddof=1)))


def _covariance_factor(features: np.ndarray) -> np.ndarray:
    """A with AᵀA = the sample covariance."""
    return (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)


def _members(num: int, size: int, subsets: int, rng: np.random.Generator) -> np.ndarray:
    """Indicators [num, subsets] of random subsets: 1 for its `size` members, 0 for the others."""
    chosen = np.tile(np.arange(num) < size, (subsets, 1))
    return rng.permuted(chosen, axis=1).T.astype(np.float64)


def _discrepancies(
    a: Float[np.ndarray, "N D"],
    b: Float[np.ndarray, "M D"],
    in_a: Float[np.ndarray, "N S"],
    in_b: Float[np.ndarray, "M S"],
) -> Float[np.ndarray, "S"]:
    """MMD² of every subset. Indicators let all of them share one pass over the kernel matrices."""
    size_a, size_b = in_a.sum(axis=0), in_b.sum(axis=0)
    within_a = _kernel_sums(a, a, in_a, in_a) - _diagonal_sums(a, in_a)
    within_b = _kernel_sums(b, b, in_b, in_b) - _diagonal_sums(b, in_b)
    between = _kernel_sums(a, b, in_a, in_b)
    return (
        within_a / (size_a * (size_a - 1))
        + within_b / (size_b * (size_b - 1))
        - 2 * between / (size_a * size_b)
    )


def _kernel_sums(x, y, in_x, in_y) -> Float[np.ndarray, "S"]:
    """Sum of k(x_i, y_j) over the members i, j of every subset."""
    sums = np.zeros(in_x.shape[1])
    for start in range(0, len(x), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        sums += (in_x[rows] * (_kernel(x[rows] @ y.T, x.shape[1]) @ in_y)).sum(axis=0)
    return sums


def _diagonal_sums(x, in_x) -> Float[np.ndarray, "S"]:
    return _kernel((x * x).sum(axis=1), x.shape[1]) @ in_x


def _kernel(products: np.ndarray, num_features: int) -> np.ndarray:
    base = products / num_features + 1
    return base * base * base


def _pair(a, b) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    for name, value in (("a", a), ("b", b)):
        if value.ndim != 2 or len(value) < 2 or not value.size:
            raise ValueError(f"{name} must be [N, D] with N >= 2, got shape {value.shape}")
        if not np.isfinite(value).all():
            raise ValueError(f"{name} must be finite, got {value[~np.isfinite(value)][0]}")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"b must have a's {a.shape[1]} features, got shape {b.shape}")
    return a, b
