from __future__ import annotations

import numpy as np
import pytest

from gan3d.evaluation import compare_radii, principal_modes, sphere_directions, surface_radii
from gan3d.render import cube, icosphere

DIRECTIONS = sphere_directions(200)


def brute_force(vertices, faces, directions):
    """The farthest hit, by solving every face's three equations for every ray."""
    radii = np.zeros(len(directions))
    for face in faces:
        weights = np.linalg.solve(vertices[face].T, directions.T)  # t d = sum of weights / t
        hit = (weights >= -1e-12).all(axis=0)
        radii[hit] = np.maximum(radii[hit], 1 / weights.sum(axis=0)[hit])
    return radii


def test_directions_are_spread_evenly():
    cosines = DIRECTIONS @ DIRECTIONS.T - 2 * np.eye(len(DIRECTIONS))
    nearest = np.arccos(cosines.max(axis=1))
    assert nearest.min() > 0.7 * nearest.max()
    np.testing.assert_allclose(DIRECTIONS.T @ DIRECTIONS / 200, np.eye(3) / 3, atol=1e-3)


def test_radii_of_a_cube_are_its_faces_distances():
    vertices, topology = cube()
    radii = surface_radii(np.stack([vertices, 2 * vertices]), topology.faces, DIRECTIONS)
    expected = 1 / np.abs(DIRECTIONS).max(axis=1)
    np.testing.assert_allclose(radii, [expected, 2 * expected], rtol=1e-12)


def test_rays_through_edges_and_corners_hit():
    vertices, topology = cube()
    toward = np.array([[1.0, 0, 0], [1, 1, 0], [1, 1, 1], [-1, 1, -1], [0, 0, -1]])
    unit = toward / np.linalg.norm(toward, axis=1, keepdims=True)
    radii = surface_radii(vertices[None], topology.faces, unit)
    np.testing.assert_allclose(radii[0], np.linalg.norm(toward, axis=1), rtol=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_radii_are_those_of_every_face_solved(seed):
    rng = np.random.default_rng(seed)
    sphere, topology = icosphere(1)
    rough = sphere * rng.uniform(0.4, 1.2, size=(len(sphere), 1)) + [0.2, 0.0, -0.1]
    tetrahedron = np.array([[9.0, 0, -1], [-5, 8, -1], [-5, -8, -1], [0, 0, 1]])  # wide faces
    wide = np.array([[0, 1, 2], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    for vertices, faces in ((rough, topology.faces), (tetrahedron, wide)):
        found = surface_radii(vertices[None], faces, DIRECTIONS)[0]
        np.testing.assert_allclose(found, brute_force(vertices, faces, DIRECTIONS), rtol=1e-9)


def test_the_outermost_surface_counts_whatever_way_its_faces_turn():
    vertices, topology = cube()
    nested = np.concatenate([0.5 * vertices, vertices])
    faces = np.concatenate([topology.faces, topology.faces[:, ::-1] + len(vertices)])
    radii = surface_radii(nested[None], faces, DIRECTIONS)[0]
    np.testing.assert_allclose(radii, 1 / np.abs(DIRECTIONS).max(axis=1), rtol=1e-12)


def test_rays_past_the_mesh_meet_nothing():
    vertices, topology = cube()
    along = np.array([[0.0, 0, 1], [0, 0, -1], [1, 0, 0]])
    radii = surface_radii(vertices[None] + [0.0, 0, 3], topology.faces, along)
    np.testing.assert_allclose(radii, [[4.0, 0, 0]])


def test_modes_are_those_that_shapes_were_made_of():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(30, 3)))[0].T
    shapes = 1 + rng.normal(size=(4000, 3)) * [0.3, 0.2, 0.1] @ basis
    modes = principal_modes(shapes)
    np.testing.assert_allclose(modes.deviation, [0.3, 0.2, 0.1], rtol=0.05)
    np.testing.assert_allclose(np.abs(modes.directions @ basis.T), np.eye(3), atol=0.05)
    assert len(principal_modes(shapes, explained=0.9).deviation) == 2


def family(rng, num, *, spread=1.0, offset=0.0, wandering=0.0, tie=0.0):
    """Shapes of two modes among 50 directions, and what should not be there, at right angles."""
    modes = np.zeros((2, 50))
    modes[0, :25], modes[1, 25:] = 0.02, 0.01
    odd = np.sign(np.arange(50) % 2 - 0.5)
    quarter = np.sign(np.arange(50) % 25 - 11.5) * odd
    stray = offset * odd + wandering * rng.normal(size=(num, 1)) * quarter
    amounts = rng.normal(size=(num, 2))
    amounts[:, 1] = tie * amounts[:, 0] + np.sqrt(1 - tie**2) * amounts[:, 1]
    return 1 + spread * amounts @ modes + stray


def test_every_fault_is_told_and_undone_by_its_own_correction():
    rng = np.random.default_rng(0)
    faults = {
        "none": {},
        "offset": {"offset": 0.03},
        "spread": {"spread": 0.2},
        "wandering": {"wandering": 0.03},
        "ties": {"tie": 0.95},
    }
    families = {name: family(rng, 150, **fault) for name, fault in faults.items()}
    scores = compare_radii(families, family(rng, 150), family(rng, 2000))
    for name, found in scores.items():
        assert found["radial_offset_percent"] == pytest.approx(
            3 if name == "offset" else 0, abs=0.5
        )
        assert found["radial_variety"] == pytest.approx(0.2 if name == "spread" else 1, rel=0.15)
        wandering = 3 if name == "wandering" else 0
        assert found["radial_wandering_percent"] == pytest.approx(wandering, abs=0.5)
        free = 2 / (1 + 0.95**2) if name == "ties" else 2  # eigenvalues 1.95 and 0.05
        assert found["radial_free_modes"] == pytest.approx(free, abs=0.1)
    accuracies = [
        [found[f"radial_one_nna{part}"] for part in ("", "_mean", "_variety", "_modes", "_free")]
        for found in scores.values()
    ]
    right = 0.6
    assert max(accuracies[0]) < right
    assert accuracies[1][0] == 1 and max(accuracies[1][1:]) < right
    assert min(accuracies[2][:2]) > 0.65 and max(accuracies[2][2:]) < right
    assert min(accuracies[3][:3]) > 0.8 and max(accuracies[3][3:]) < right
    assert min(accuracies[4][:4]) > 0.65 and accuracies[4][4] < right


def test_a_mode_that_stands_still_stays_so():
    rng = np.random.default_rng(0)
    flat = family(rng, 100)
    flat[:, 25:] = flat[:, 25:].mean()
    scores = compare_radii({"flat": flat}, family(rng, 100), family(rng, 2000))["flat"]
    assert scores["radial_free_modes"] == pytest.approx(1, abs=0.05)
    assert np.isfinite(list(scores.values())).all()


@pytest.mark.filterwarnings("error")
def test_a_family_that_varies_outside_of_the_modes_alone_has_none_free():
    true = np.zeros((4, 3))
    true[:, 0] = [1.0, 1.1, 1.2, 1.3]
    astray = np.array([[1.15, 0, 0.1], [1.15, 0, 0.2], [1.15, 0, 0.3], [1.15, 0, 0.4]])
    scores = compare_radii({"astray": astray}, true, true)["astray"]
    assert scores["radial_free_modes"] == scores["radial_variety"] == 0
    assert scores["radial_wandering_percent"] > 1


def test_a_family_of_one_shape_has_no_accuracy():
    rng = np.random.default_rng(0)
    one = compare_radii({"one": np.ones((3, 50))}, family(rng, 5), family(rng, 20))["one"]
    assert set(one) == {"radial_offset_percent", "radial_variety", "radial_wandering_percent"}
    assert one["radial_variety"] == one["radial_wandering_percent"] == 0


def test_mistakes_are_named():
    vertices, topology = cube()
    with pytest.raises(ValueError, match=r"vertices must be \[N, V, 3\], got shape \(8, 3\)"):
        surface_radii(vertices, topology.faces, DIRECTIONS)
    with pytest.raises(ValueError, match=r"directions must be \[D, 3\], got shape \(3,\)"):
        surface_radii(vertices[None], topology.faces, DIRECTIONS[0])
    radii = np.ones((4, 5))
    with pytest.raises(ValueError, match=r"reference must have at least 2 shapes, got 1"):
        compare_radii({"run": radii}, radii, radii[:1])
    with pytest.raises(ValueError, match="reference must have shapes that differ"):
        compare_radii({"run": radii}, radii, radii)
    with pytest.raises(ValueError, match=r"run must have radii along .* 5 directions, got .*4, 3"):
        compare_radii({"run": radii[:, :3]}, radii, radii)
