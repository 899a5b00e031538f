"""What tells two families of shapes apart: means, variety, wandering outside it, or ties within it.

A 1-nearest-neighbour accuracy says that families differ, not how. Here a shape is a vector, its
surface's distances from the origin along fixed directions, which needs no correspondence; the
*modes* of the truth are the principal components of such vectors (as in a statistical shape model:
Cootes et al. 1995, "Active shape models"). A family can then be wrong in four ways, which
are put right one after the other to see what 1-NNA would be without them. The last: of true shapes
the modes are independent, to second order; a generator may tie them, so that, say, its wide heads
are its long ones.

Letters: N, M shapes; D directions; K modes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from gan3d.evaluation.points import one_nearest_neighbour_accuracy

if TYPE_CHECKING:
    from jaxtyping import Float, Int

EXPLAINED = 0.995
"""Part of the truth's variance that its modes hold: of procedural heads about as many modes as
they have proportions."""

_EDGE = 1e-9  # a ray through an edge belongs to both faces, whatever the rounding


class Modes(NamedTuple):
    """Mean and principal components of a family of radii.

    Attributes:
      mean: [D], world units.
      directions: orthonormal rows, greatest variance first.
      deviation: standard deviation along each, world units times sqrt(D).
    """

    mean: Float[np.ndarray, " D"]
    directions: Float[np.ndarray, "K D"]
    deviation: Float[np.ndarray, " K"]


def sphere_directions(count: int) -> Float[np.ndarray, "count 3"]:
    """Unit vectors spread evenly over the sphere: a Fibonacci lattice.

    Source: González 2010, "Measurement of areas on a sphere using Fibonacci and latitude-longitude
    lattices".

    >>> directions = sphere_directions(500)
    >>> print(np.allclose(np.linalg.norm(directions, axis=1), 1), np.abs(directions.mean(0)) < 1e-3)
    True [ True  True  True]
    """
    index = np.arange(count) + 0.5
    height, turn = 1 - 2 * index / count, np.pi * (1 + 5**0.5) * index
    ring = np.sqrt(1 - height**2)
    return np.stack([ring * np.cos(turn), ring * np.sin(turn), height], axis=1)


def surface_radii(
    vertices: Float[np.ndarray, "N V 3"],
    faces: Int[np.ndarray, "F 3"],
    directions: Float[np.ndarray, "D 3"],
) -> Float[np.ndarray, "N D"]:
    """Distance from the origin to the outermost point of each mesh along each direction.

    Args:
      vertices: of meshes that share their faces, world units.
      faces: indices of vertices.
      directions: unit vectors.

    Returns:
      In float64; 0 where a ray meets nothing, as of a mesh that the origin lies outside of.

    Raises:
      ValueError: a wrong shape.

    >>> from gan3d.render import cube
    >>> vertices, topology = cube()
    >>> directions = np.array([[0.0, 0.0, 1.0], [0.6, 0.0, 0.8]])
    >>> print(surface_radii(vertices[None], topology.faces, directions))
    [[1.   1.25]]
    """
    vertices, directions = np.asarray(vertices, np.float64), np.asarray(directions, np.float64)
    for name, value, rank in (("vertices", vertices, 3), ("directions", directions, 2)):
        if value.ndim != rank or value.shape[-1] != 3 or not len(value):
            lead = "N, V" if rank == 3 else "D"
            raise ValueError(f"{name} must be [{lead}, 3], got shape {value.shape}")
    corners = vertices[:, np.asarray(faces)]
    return np.stack([_radii(triangles, directions) for triangles in corners])


def _radii(triangles: Float[np.ndarray, "F 3 3"], directions) -> Float[np.ndarray, " D"]:
    """Solves t d = a A + b B + c C with a + b + c = 1 for the faces that may lie on each ray."""
    face, ray = _candidates(triangles, directions)
    a, b, c = np.moveaxis(triangles[face], 1, 0)
    toward = directions[ray]
    shares = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)
    volume = np.einsum("hi,hi->h", a, shares[:, 0])
    weights = np.einsum("hki,hi->hk", shares, toward) * np.sign(volume)[:, None]
    total = weights.sum(axis=1)
    hit = (weights >= -_EDGE * np.abs(weights).max(axis=1, keepdims=True)).all(axis=1) & (total > 0)
    radii = np.zeros(len(directions))
    np.maximum.at(radii, ray[hit], np.abs(volume[hit]) / total[hit])
    return radii


def _candidates(triangles, directions) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a face and a ray inside the cone about the face's middle that holds its corners."""
    tiny = np.finfo(np.float64).tiny
    unit = lambda x: x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), tiny)  # noqa: E731
    middle = unit(unit(triangles).sum(axis=1))
    edge = np.einsum("fki,fi->fk", unit(triangles), middle).min(axis=1)
    # A cone of a right angle or more need not hold what lies between its corners. Below, float32
    # is fast, and the slack more than its rounding.
    reach = np.where(edge > 0, edge - 1e-5, -2.0).astype(np.float32)
    cosines = middle.astype(np.float32) @ directions.T.astype(np.float32)
    return np.nonzero(cosines >= reach[:, None])


def principal_modes(radii: Float[np.ndarray, "N D"], explained: float = EXPLAINED) -> Modes:
    """The fewest principal components that hold a part of the variance.

    >>> circle = np.array([[2.0, 1.0], [4.0, 1.0], [2.0, 1.1], [4.0, 0.9]])
    >>> modes: Modes = principal_modes(circle, explained=0.9)
    >>> print(modes.mean, modes.directions.shape)
    [3. 1.] (1, 2)
    """
    mean = radii.mean(axis=0)
    _, singular, directions = np.linalg.svd(radii - mean, full_matrices=False)
    held = np.cumsum(singular**2) / max((singular**2).sum(), np.finfo(np.float64).tiny)
    count = min(int(np.searchsorted(held, explained)) + 1, len(singular))
    return Modes(mean, directions[:count], singular[:count] / np.sqrt(len(radii) - 1))


def compare_radii(
    families: Mapping[str, Float[np.ndarray, "N D"]],
    truth: Float[np.ndarray, "M D"],
    reference: Float[np.ndarray, "R D"],
) -> dict[str, dict[str, float]]:
    """What is wrong with every family.

    Args:
      families: radii by name.
      truth: radii of true shapes, as many as the families have, for 1-NNA to be 1/2 at best.
      reference: radii of further true shapes, the more the better: the true mean and modes are
        theirs.

    Returns:
      By family:

      radial_offset_percent: RMS over the directions of the difference of the means, in percent of
        the mean true radius.
      radial_variety: standard deviation within the true modes over the true one.
      radial_wandering_percent: RMS of what is outside of the true modes, the means apart, in
        percent of the mean true radius.
      radial_free_modes: how many of the true modes vary independently: participation ratio,
        (sum of l)^2 / sum of l^2, of the eigenvalues l of their correlation matrix. All of them at
        best, less what a sample of N shapes ties by chance; 1 where one number moves them all, 0
        where nothing does.
      radial_one_nna: 1-NNA of the radii, distances RMS; then as it would be with the right mean
        (radial_one_nna_mean), with the right standard deviation in each mode too
        (radial_one_nna_variety), with nothing outside of the modes (radial_one_nna_modes), and with
        the modes uncorrelated (radial_one_nna_free). These and radial_free_modes are not there for
        a family of one shape, or of copies of one.

    Raises:
      ValueError: radii along different directions, or a reference of one shape.

    >>> rng = np.random.default_rng(0)
    >>> true = lambda num: 1 + rng.normal(size=(num, 1)) * [0.02, 0.02, 0.0]
    >>> truth = true(50)
    >>> scores = compare_radii({"too large": 0.1 + true(50)}, truth, true(1000))["too large"]
    >>> print(f"{scores['radial_offset_percent']:.0f} {scores['radial_wandering_percent']:.0f}")
    10 0
    >>> print(scores["radial_one_nna"], scores["radial_one_nna_mean"] < 0.7)
    1.0 True
    """
    if len(reference) < 2:
        raise ValueError(f"reference must have at least 2 shapes, got {len(reference)}")
    for name, radii in {"truth": truth, **families}.items():
        if radii.shape[1:] != reference.shape[1:]:
            raise ValueError(
                f"{name} must have radii along the reference's {reference.shape[1]} directions, "
                f"got shape {radii.shape}"
            )
    if not np.ptp(reference, axis=0).any():
        raise ValueError("reference must have shapes that differ, got copies of one")
    modes = principal_modes(reference)
    within_truth = _distances(truth, truth)
    return {name: _scores(radii, truth, within_truth, modes) for name, radii in families.items()}


def _scores(radii, truth, within_truth, modes: Modes) -> dict[str, float]:
    mean = radii.mean(axis=0)
    within = (radii - mean) @ modes.directions.T
    outside = radii - mean - within @ modes.directions
    deviation = within.std(axis=0)
    percent = 100 / modes.mean.mean()
    scores = {
        "radial_offset_percent": percent * _rms(mean - modes.mean),
        "radial_variety": float(np.sqrt((deviation**2).sum() / (modes.deviation**2).sum())),
        "radial_wandering_percent": percent * _rms(outside),
    }
    if len(radii) < 2 or not np.ptp(radii, axis=0).any():
        return scores
    standard = within / np.maximum(deviation, np.finfo(np.float64).tiny)
    eigenvalues, free = _decorrelate(standard)
    scores["radial_free_modes"] = _participation_ratio(eigenvalues)
    put_right = lambda coordinates: (coordinates * modes.deviation) @ modes.directions  # noqa: E731
    corrected = {
        "": radii,
        "_mean": radii - mean + modes.mean,
        "_variety": modes.mean + put_right(standard) + outside,
        "_modes": modes.mean + put_right(standard),
        "_free": modes.mean + put_right(free),
    }
    for name, family in corrected.items():
        within_family, cross = _distances(family, family), _distances(family, truth)
        scores[f"radial_one_nna{name}"] = one_nearest_neighbour_accuracy(
            within_family, within_truth, cross
        )
    return scores


def _participation_ratio(eigenvalues: Float[np.ndarray, " K"]) -> float:
    """How many of equal size would be as uneven; 0 where nothing varies."""
    return float(eigenvalues.sum() ** 2 / max((eigenvalues**2).sum(), np.finfo(np.float64).tiny))


def _decorrelate(standard: Float[np.ndarray, "N K"]) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of the correlation matrix, and coordinates without correlation.

    Of all rotations of the whitened coordinates these are nearest to what they were (ZCA: Bell &
    Sejnowski 1997). Combinations that do not vary stay so.
    """
    values, vectors = np.linalg.eigh(standard.T @ standard / len(standard))
    values = np.maximum(values, 0)
    vary = values > 1e-9 * values.max()
    scale = np.where(vary, 1 / np.sqrt(np.where(vary, values, 1)), 0)
    return values, standard @ (vectors * scale) @ vectors.T


def _distances(a: Float[np.ndarray, "N D"], b: Float[np.ndarray, "M D"]):
    return cdist(a, b) / np.sqrt(a.shape[1])


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))
