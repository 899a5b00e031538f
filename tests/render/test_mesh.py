"""Topologies, the two sphere charts and normals."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from render_scenes import smooth_noise

from gan3d.render import (
    face_normals,
    make_topology,
    octahedral_direction,
    sphere_mesh,
    vertex_normals,
)

CHARTS = ("octahedral", "azimuthal")


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


@pytest.mark.parametrize("chart", CHARTS)
def test_neighbours_share_their_edge_in_opposite_directions(chart):
    _, topology = sphere_mesh(7, chart)
    faces = topology.weld[topology.faces]
    for face, corner in np.argwhere(topology.neighbors >= 0):
        start, end = faces[face, corner], faces[face, (corner + 1) % 3]
        other = faces[topology.neighbors[face, corner]].tolist()
        opposite = list(zip(other, other[1:] + other[:1], strict=True))
        assert (end, start) in opposite


def test_edges_are_listed_once_with_their_faces():
    topology = make_topology(np.array([[0, 1, 2], [2, 1, 3], [4, 5, 6]]))
    edges = {tuple(edge): tuple(faces) for edge, faces in zip(
        topology.edges.tolist(), topology.edge_faces.tolist(), strict=True)}  # fmt: skip
    assert edges == {
        (0, 1): (0, -1), (0, 2): (0, -1), (1, 2): (0, 1), (1, 3): (1, -1), (2, 3): (1, -1),
        (4, 5): (2, -1), (4, 6): (2, -1), (5, 6): (2, -1),
    }  # fmt: skip
    np.testing.assert_array_equal(topology.neighbors, [[-1, 1, -1], [0, -1, -1], [-1, -1, -1]])


def test_edge_of_three_faces_is_a_border():
    topology = make_topology(np.array([[0, 1, 2], [1, 0, 3], [0, 1, 4]]))
    assert (topology.neighbors == -1).all()


def test_components_are_the_connected_parts():
    _, sphere = sphere_mesh(5)
    assert sphere.num_components == 1 and not sphere.component.any()
    # Two triangles that share a vertex, one apart, one that is welded to the first.
    faces = np.array([[0, 1, 2], [2, 3, 4], [6, 7, 8], [9, 10, 11]])
    weld = np.arange(12)
    weld[9] = 1
    topology = make_topology(faces, weld=weld)
    assert topology.num_components == 2
    np.testing.assert_array_equal(topology.component, [0, 0, 1, 0])


def test_mesh_without_faces():
    topology = make_topology(np.zeros((0, 3), int), num_vertices=2)
    assert topology.num_faces == 0 and topology.num_vertices == 2 and len(topology.edges) == 0


def test_vertex_normals_of_a_sphere_are_its_directions():
    vertices, topology = sphere_mesh(33)
    normals = np.asarray(vertex_normals(jnp.asarray(3 * vertices), topology))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    assert (normals * vertices).sum(axis=1).min() > 0.99


def test_vertex_normals_agree_across_a_seam_and_vanish_without_area():
    vertices, topology = sphere_mesh(9)
    bumpy = vertices * (1 + 0.1 * smooth_noise(0, 81, 1, 1)[:, 0][topology.weld])
    normals = np.asarray(vertex_normals(jnp.asarray(bumpy), topology))
    np.testing.assert_array_equal(normals, normals[topology.weld])
    assert not np.asarray(vertex_normals(jnp.zeros_like(vertices), topology)).any()
