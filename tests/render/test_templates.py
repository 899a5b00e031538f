"""The template meshes: size, orientation, closedness and texture coordinates."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.render.normals import face_normals
from gan3d.render.templates import (
    cube,
    icosphere,
    octahedral_direction,
    sheet,
    sphere_mesh,
    uv_sphere,
)

CHARTS = ("octahedral", "azimuthal")
CLOSED = {
    "cube": cube,
    "icosahedron": lambda: icosphere(0),
    "icosphere": lambda: icosphere(2),
    "uv sphere": lambda: uv_sphere(7, 10),
    "coarsest uv sphere": lambda: uv_sphere(2, 3),
    "octahedral chart": lambda: sphere_mesh(9),
}
ALL = CLOSED | {"sheet": lambda: sheet(2, 3)}


def welded_counts(topology):
    """(vertices, edges, faces) after welding; faces that are a line or a point do not count."""
    faces = topology.weld[topology.faces]
    proper = np.array([len(set(face)) == 3 for face in faces.tolist()])
    return len(np.unique(faces)), len(topology.edges), int(proper.sum())


@pytest.mark.parametrize("n", (3, 5, 9, 17))
@pytest.mark.parametrize("chart", CHARTS)
def test_sphere_has_the_promised_size(chart, n):
    vertices, topology = sphere_mesh(n, chart)
    assert vertices.shape == (n * n, 3) and vertices.dtype == np.float32
    assert topology.num_vertices == n * n and topology.num_faces == 2 * (n - 1) ** 2
    assert topology.uvs.min() >= 0 and topology.uvs.max() <= 1
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("n", (3, 5, 9, 17))
@pytest.mark.parametrize("chart", CHARTS)
def test_faces_of_the_sphere_point_outwards(chart, n):
    vertices, topology = sphere_mesh(n, chart)
    normals = np.asarray(face_normals(vertices, topology), float)
    centres = vertices[topology.faces].mean(axis=1)
    facing = (normals * centres).sum(axis=1)
    # Faces that collapse onto the azimuthal chart's rim, the back pole, have no direction.
    assert (facing > 1e-6).mean() >= (1 if chart == "octahedral" else 1 - 4 / n)
    assert facing.min() > -1e-6


@pytest.mark.parametrize("n", (3, 5, 9, 17))
def test_octahedral_chart_is_closed_and_a_sphere(n):
    vertices, topology = sphere_mesh(n)
    assert (topology.neighbors >= 0).all() and (topology.edge_faces >= 0).all()
    num_vertices, num_edges, num_faces = welded_counts(topology)
    assert num_vertices - num_edges + num_faces == 2
    # Welded vertices are the same point, of any folded map.
    np.testing.assert_allclose(vertices[topology.weld], vertices, atol=1e-6)


@pytest.mark.parametrize("n", (5, 9))
def test_azimuthal_chart_has_a_rim(n):
    vertices, topology = sphere_mesh(n, "azimuthal")
    num_borders = (topology.neighbors < 0).sum()
    assert num_borders == 4 * (n - 1) == (topology.edge_faces < 0).any(axis=1).sum()
    num_vertices, num_edges, num_faces = welded_counts(topology)
    assert num_vertices - num_edges + num_faces == 1  # a disc
    rim = np.linalg.norm(topology.uvs - 0.5, axis=1) > 0.5 - 1e-6
    assert rim.sum() == num_borders
    np.testing.assert_allclose(vertices[rim], np.array([[0, 0, 1]] * rim.sum()), atol=1e-6)


@pytest.mark.parametrize("chart", CHARTS)
def test_centre_of_the_chart_is_the_front_with_u_right_and_v_down(chart):
    vertices, topology = sphere_mesh(9, chart)
    grid, uvs = vertices.reshape(9, 9, 3), topology.uvs.reshape(9, 9, 2)
    np.testing.assert_allclose(grid[4, 4], [0, 0, -1], atol=1e-6)
    np.testing.assert_allclose(uvs[4, 4], [0.5, 0.5], atol=1e-6)
    assert grid[4, 6, 0] > 0.3 and uvs[4, 6, 0] > 0.6
    assert grid[6, 4, 1] > 0.3 and uvs[6, 4, 1] > 0.6


def test_octahedral_chart_is_its_grid():
    vertices, topology = sphere_mesh(9)
    np.testing.assert_allclose(octahedral_direction(topology.uvs), vertices, atol=1e-6)
    np.testing.assert_allclose(octahedral_direction(jnp.asarray(topology.uvs)), vertices, atol=1e-6)
    # The inner diamond is the front half.
    diamond = np.abs(topology.uvs - 0.5).sum(axis=1) < 0.5 - 1e-6
    assert (vertices[diamond, 2] < 0).all() and (vertices[~diamond, 2] > -1e-6).all()


@pytest.mark.parametrize("name", CLOSED)
def test_closed_templates_are_closed_and_face_outwards(name):
    vertices, topology = CLOSED[name]()
    assert vertices.dtype == np.float32
    assert (topology.neighbors >= 0).all() and topology.num_components == 1
    num_vertices, num_edges, num_faces = welded_counts(topology)
    assert num_faces == topology.num_faces and num_vertices - num_edges + num_faces == 2
    normals = np.asarray(face_normals(vertices, topology))
    assert (normals * vertices[topology.faces].mean(axis=1)).sum(axis=1).min() > 0


def volume(vertices, topology):
    a, b, c = np.moveaxis(vertices[topology.faces].astype(float), 1, 0)
    return (a * np.cross(b, c)).sum() / 6


def test_volumes():
    assert volume(*cube()) == 8
    # An inscribed polyhedron has less than the ball, short of it by O(h^2): a quarter per split.
    missing = [4 / 3 * np.pi - volume(*icosphere(n)) for n in (2, 3)]
    assert missing[1] > 0
    np.testing.assert_allclose(missing[0] / missing[1], 4, rtol=0.05)
    # Of a bipyramid over a regular pentagon: base area x total height / 3.
    base = 5 / 2 * np.sin(2 * np.pi / 5)
    np.testing.assert_allclose(volume(*uv_sphere(2, 5)), base * 2 / 3, rtol=1e-6)


def test_icosphere_is_on_the_sphere_and_even():
    vertices, topology = icosphere(3)
    assert topology.num_faces == 20 * 4**3 and len(vertices) == 10 * 4**3 + 2
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 1, atol=1e-6)
    ends = vertices[topology.edges]
    lengths = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    assert lengths.max() / lengths.min() < 1.4
    _, icosahedron = icosphere(0)
    np.testing.assert_array_equal(np.bincount(icosahedron.faces.reshape(-1)), 5)


def uv_areas(topology):
    """Signed; positive where the corners turn as on a front face, v being down."""
    a, b, c = np.moveaxis(topology.uvs[topology.uv_faces].astype(float), 1, 0)
    one, two = b - a, c - a
    return 0.5 * (one[:, 1] * two[:, 0] - one[:, 0] * two[:, 1])


@pytest.mark.parametrize(
    ("name", "covered"),
    [
        ("cube", 1),
        ("icosahedron", 20 / 33),
        ("icosphere", 20 / 33),
        ("uv sphere", 1 - 1 / 7),
        ("sheet", 1),
        ("octahedral chart", 1),
    ],
)
def test_texture_is_nowhere_mirrored_and_covers_what_it_should(name, covered):
    _, topology = ALL[name]()
    assert topology.uvs.min() >= 0 and topology.uvs.max() <= 1
    areas = uv_areas(topology)
    assert areas.min() > 0
    np.testing.assert_allclose(areas.sum(), covered, rtol=1e-5)


@pytest.mark.parametrize("name", ["cube", "icosphere", "uv sphere", "sheet"])
def test_at_the_front_u_runs_with_x_and_v_with_y(name):
    vertices, topology = ALL[name]()
    corners, uvs = vertices[topology.faces], topology.uvs[topology.uv_faces]
    front = np.argsort(corners.mean(axis=1)[:, 2])[:2]
    for face in front:
        edges, steps = np.diff(corners[face], axis=0)[:, :2], np.diff(uvs[face], axis=0)
        slope = np.linalg.solve(edges, steps)  # rows x, y; columns u, v
        assert slope[0, 0] > 0 and slope[1, 1] > 0
        assert abs(slope[0, 1]) < 0.2 * slope[0, 0] and abs(slope[1, 0]) < 0.2 * slope[1, 1]


def test_uv_sphere_is_the_equirectangular_map():
    vertices, topology = uv_sphere(6, 8)
    corners = vertices[topology.faces].reshape(-1, 3)
    u, v = topology.uvs[topology.uv_faces].reshape(-1, 2).T
    longitude = 2 * np.pi * (u - 0.5)
    np.testing.assert_allclose(corners[:, 1], -np.cos(np.pi * v), atol=1e-6)
    np.testing.assert_allclose(corners[:, 0], np.sin(np.pi * v) * np.sin(longitude), atol=1e-6)
    np.testing.assert_allclose(corners[:, 2], -np.sin(np.pi * v) * np.cos(longitude), atol=1e-6)


def test_each_side_of_the_cube_has_its_own_part_of_the_texture():
    vertices, topology = cube()
    cells = np.floor(topology.uvs[topology.uv_faces].mean(axis=1) * [3, 2]).astype(int)
    normals = np.asarray(face_normals(vertices, topology)) / 4
    sides = {tuple(cell): tuple(normal) for cell, normal in zip(
        cells.tolist(), normals.tolist(), strict=True)}  # fmt: skip
    assert sides == {
        (0, 0): (0, 0, -1), (1, 0): (1, 0, 0), (2, 0): (0, 0, 1),
        (0, 1): (-1, 0, 0), (1, 1): (0, -1, 0), (2, 1): (0, 1, 0),
    }  # fmt: skip
    # Walls stand upright: v grows with y.
    walls = np.abs(normals[:, 1]) < 0.5
    y, v = vertices[topology.faces][walls][..., 1], topology.uvs[topology.uv_faces][walls][..., 1]
    row = cells[walls][:, 1:]
    np.testing.assert_allclose(2 * v - row, (y + 1) / 2, atol=1e-6)


def test_sheet_is_a_flat_square_before_the_whole_texture():
    vertices, topology = sheet(2, 3)
    np.testing.assert_allclose(vertices[:, :2], 2 * topology.uvs - 1, atol=1e-6)
    assert not vertices[:, 2].any()
    assert (face_normals(vertices, topology)[:, 2] < 0).all()
    assert (topology.neighbors < 0).sum() == 2 * (2 + 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sphere_mesh(4), "n must be odd and at least 3, got 4"),
        (lambda: sphere_mesh(5, "cubic"), "chart must be one of .*'cubic'"),
        (lambda: icosphere(-1), "subdivisions must be at least 0, got -1"),
        (lambda: uv_sphere(1, 8), "bands must be at least 2, got 1"),
        (lambda: uv_sphere(4, 2), "segments must be at least 3, got 2"),
        (lambda: sheet(0, 1), "rows must be at least 1, got 0"),
    ],
)
def test_bad_sizes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
