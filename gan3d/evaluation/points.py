"""Distances between surfaces as sets of points: of two shapes, and of two families of shapes.

One convention throughout, for points and for meshes: the Chamfer distance is in world units, *not
squared*, and the mean of its two directions, not their sum,

    CD(A, B) = 1/2 (mean_a min_b |a - b| + mean_b min_a |a - b|).

Two samples of one surface are not at distance zero: with N points each on an area S it is about
sqrt(S / N) / 2. Families are therefore compared with equally many points per shape, and with a
second sample of the truth beside them.

Letters: N, M points; A, B clouds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from gan3d.evaluation.progress import Progress

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def sample_surface(
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    count: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "count 3"]:
    """Points drawn uniformly over the area of a triangle mesh.

    Source: Osada et al. 2002, "Shape distributions", section 4.1.

    Args:
      vertices: world units.
      faces: indices of vertices.
      count: number of points, at least 1.
      rng: consumed.

    Returns:
      Points in float64, in no order. On a mesh without any area all faces are equally likely.

    Raises:
      ValueError: a wrong shape, no face, or vertices that are not finite.

    >>> from gan3d.render import cube
    >>> vertices, topology = cube()
    >>> points = sample_surface(vertices, topology.faces, 100, np.random.default_rng(0))
    >>> print(points.shape, np.allclose(np.abs(points).max(axis=1), 1))  # on the faces
    (100, 3) True
    """
    vertices, faces = np.asarray(vertices, np.float64), np.asarray(faces)
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if faces.ndim != 2 or faces.shape[1] != 3 or not len(faces):
        raise ValueError(f"faces must be [F, 3] with F >= 1, got shape {faces.shape}")
    a, b, c = np.moveaxis(_points("vertices", vertices)[faces], 1, 0)
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=-1)
    weights = areas if areas.sum() > 0 else np.ones(len(faces))
    face = rng.choice(len(faces), count, p=weights / weights.sum())
    root, share = np.sqrt(rng.uniform(size=(count, 1))), rng.uniform(size=(count, 1))
    return (1 - root) * a[face] + root * (1 - share) * b[face] + root * share * c[face]


def chamfer_distance(a: Float[np.ndarray, "N 3"], b: Float[np.ndarray, "M 3"]) -> float:
    """CD(a, b): mean distance to the other set's nearest point, averaged over both directions.

    >>> print(chamfer_distance(np.zeros((1, 3)), np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 3.0]])))
    1.5
    """
    there, back = _both_ways(a, b)
    return float((there.mean() + back.mean()) / 2)


def surface_chamfer_distance(
    surface_a: tuple[np.ndarray, np.ndarray],
    surface_b: tuple[np.ndarray, np.ndarray],
    num: int = 20_000,
    density: int = 20,
) -> float:
    """Mean distance to the nearest point of the other surface, averaged over both directions.

    Args:
      surface_a: vertices and faces.
      surface_b: vertices and faces.
      num: points drawn on each surface to measure from.
      density: how many times as many points are drawn on each to measure to. Equal surfaces
        measure about sqrt(area / (num * density)) / 2, not zero: 0.002 for a head of unit size.

    >>> from gan3d.render import sheet
    >>> vertices, topology = sheet()
    >>> sheets = (vertices, topology.faces), (vertices + [0.0, 0.0, 0.5], topology.faces)
    >>> print(round(surface_chamfer_distance(*sheets, num=500), 1))
    0.5
    """
    surfaces = (surface_a, surface_b)
    points = [
        sample_surface(*surface, num, np.random.default_rng(seed))
        for seed, surface in enumerate(surfaces)
    ]
    targets = [
        cKDTree(sample_surface(*surface, num * density, np.random.default_rng(seed)))
        for seed, surface in enumerate(surfaces, start=2)
    ]
    there, back = targets[1].query(points[0])[0], targets[0].query(points[1])[0]
    return float((there.mean() + back.mean()) / 2)


def f_score(a: Float[np.ndarray, "N 3"], b: Float[np.ndarray, "M 3"], threshold: float) -> float:
    """Harmonic mean of precision and recall at a distance.

    Precision is the share of a's points with a point of b within the threshold, recall the share
    of b's points with one of a. Sources: Knapitsch et al. 2017, "Tanks and temples"; Tatarchenko et
    al. 2019, "What do single-view 3D reconstruction networks learn?"

    Args:
      a: points of the shape that is judged.
      b: points of the reference.
      threshold: world units, positive.

    Returns:
      In [0, 1]; 0 if nothing is close.

    >>> a, b = np.zeros((1, 3)), np.array([[0.0, 0.0, 0.1], [0.0, 0.0, 3.0]])
    >>> print(round(f_score(a, b, threshold=0.2), 3))  # precision 1, recall 1 / 2
    0.667
    """
    if not threshold > 0:
        raise ValueError(f"threshold must be positive, got {threshold}")
    precision, recall = (np.mean(distances <= threshold) for distances in _both_ways(a, b))
    total = precision + recall
    return float(2 * precision * recall / total) if total > 0 else 0.0


def pairwise_chamfer(
    a: Float[np.ndarray, "A N 3"],
    b: Float[np.ndarray, "B M 3"] | None = None,
    progress: Progress | None = None,
) -> Float[np.ndarray, "A B"]:
    """CD of every cloud of a with every cloud of b, or with every other one of a if b is None.

    Args:
      a: clouds, world units.
      b: clouds; None stands for a at half the cost.
      progress: called with how many clouds' searches are done, and how many there are in all.

    >>> clouds = np.array([[[0.0, 0.0, 0.0]], [[0.0, 0.0, 3.0]]])  # two clouds of one point
    >>> print(pairwise_chamfer(clouds))
    [[0. 3.]
     [3. 0.]]
    >>> print(pairwise_chamfer(clouds, clouds + 4.0).shape)
    (2, 2)
    """
    a = _clouds("a", a)
    if b is None:
        there = _mean_distances(a, a, progress, 0, len(a))
        return (there + there.T) / 2
    b = _clouds("b", b)
    total = len(a) + len(b)
    there = _mean_distances(a, b, progress, 0, total)
    back = _mean_distances(b, a, progress, len(b), total)
    return (there + back.T) / 2


def coverage(cross: Float[np.ndarray, "A B"]) -> float:
    """COV: share of the references b that are the nearest reference of at least one generated a.

    Low when shapes are missing, but no measure of quality. Source: Achlioptas et al. 2018,
    "Learning representations and generative models for 3D point clouds", section 4.

    Args:
      cross: distances of generated (rows) to reference shapes (columns).

    >>> print(coverage([[0.1, 0.9], [0.2, 0.8]]))  # both are nearest to the first reference
    0.5
    """
    return len(np.unique(_matrix("cross", cross).argmin(axis=1))) / np.shape(cross)[1]


def minimum_matching_distance(cross: Float[np.ndarray, "A B"]) -> float:
    """MMD: mean over the references of the distance to the nearest generated shape.

    Source: Achlioptas et al. 2018, section 4. Arguments as for `coverage`.

    >>> print(round(minimum_matching_distance([[0.1, 0.9], [0.2, 0.8]]), 3))
    0.45
    """
    return float(_matrix("cross", cross).min(axis=0).mean())


def one_nearest_neighbour_accuracy(
    within_a: Float[np.ndarray, "A A"],
    within_b: Float[np.ndarray, "B B"],
    cross: Float[np.ndarray, "A B"],
) -> float:
    """1-NNA: how often the nearest other shape of both families tells a shape's family.

    1/2 for two samples of one distribution, 1 for families that can be told apart; below 1/2 if
    one family copies single members of the other. Sources: Lopez-Paz & Oquab 2017, "Revisiting
    classifier two-sample tests"; for shapes: Yang et al. 2019, "PointFlow", section 5.1.

    Args:
      within_a: distances of the one family's shapes to each other; its diagonal is not looked at.
      within_b: the same of the other family.
      cross: distances between the families.

    >>> a, b = np.array([[0.0], [1.0]]), np.array([[10.0], [11.0]])  # far apart
    >>> distances = lambda x, y: np.abs(x - y.T)
    >>> print(one_nearest_neighbour_accuracy(distances(a, a), distances(b, b), distances(a, b)))
    1.0
    """
    num_a, num_b = _matrix("cross", cross).shape
    for name, within, num in (("within_a", within_a, num_a), ("within_b", within_b, num_b)):
        if np.shape(within) != (num, num):
            raise ValueError(
                f"{name} must be [{num}, {num}] for a cross of {num_a} x {num_b}, "
                f"got shape {np.shape(within)}"
            )
    distances = np.block([[within_a, cross], [np.transpose(cross), within_b]])
    np.fill_diagonal(distances, np.inf)
    is_a = np.arange(num_a + num_b) < num_a
    return float(np.mean(is_a[distances.argmin(axis=1)] == is_a))


def _mean_distances(points, targets, progress, done, total):
    """Mean over each cloud's points [A, N, 3] of the distance to the nearest of each target's."""
    means, flat = np.empty((len(points), len(targets))), points.reshape(-1, 3)
    for index, target in enumerate(targets):
        nearest, _ = cKDTree(target).query(flat, workers=-1)
        means[:, index] = nearest.reshape(points.shape[:2]).mean(axis=1)
        if progress is not None:
            progress(done + index + 1, total)
    return means


def _both_ways(a, b):
    a, b = _points("a", a), _points("b", b)
    return cKDTree(b).query(a)[0], cKDTree(a).query(b)[0]


def _points(name: str, value) -> np.ndarray:
    value = np.asarray(value, np.float64)
    if value.ndim != 2 or value.shape[1] != 3 or not len(value):
        raise ValueError(f"{name} must be [N, 3] with N >= 1, got shape {value.shape}")
    if not np.isfinite(value).all():
        raise ValueError(f"{name} must be finite, got {value[~np.isfinite(value)][0]}")
    return value


def _clouds(name: str, value) -> np.ndarray:
    value = np.asarray(value, np.float64)
    if value.ndim != 3 or value.shape[2] != 3 or not value.size:
        raise ValueError(f"{name} must be [A, N, 3] with A, N >= 1, got shape {value.shape}")
    return value


def _matrix(name: str, value) -> np.ndarray:
    value = np.asarray(value)
    if value.ndim != 2 or not value.size:
        raise ValueError(f"{name} must be a matrix with an entry, got shape {value.shape}")
    return value
