"""Topologies: adjacency, components, texture indices."""

from __future__ import annotations

import numpy as np
import pytest

from gan3d.render.templates import cube, sphere_mesh
from gan3d.render.topology import make_topology, with_vertex_uvs

CHARTS = ("octahedral", "azimuthal")


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


def test_texture_index_is_the_vertices_unless_given():
    triangle = np.array([[0, 1, 2]])
    plain = make_topology(triangle, np.eye(3)[:, :2])
    np.testing.assert_array_equal(plain.uv_faces, plain.faces)
    assert plain.num_uvs == plain.num_vertices == 3
    separate = make_topology(triangle, np.zeros((2, 2)), uv_faces=np.array([[0, 1, 1]]))
    assert separate.num_uvs == 2 and separate.num_vertices == 3
    np.testing.assert_array_equal(separate.uv_faces, [[0, 1, 1]])


def test_one_uv_per_vertex_keeps_every_corner_and_the_seam_closed():
    vertices, topology = cube()
    split, source = with_vertex_uvs(topology)
    np.testing.assert_array_equal(vertices[source][split.faces], vertices[topology.faces])
    np.testing.assert_array_equal(split.uvs[split.uv_faces], topology.uvs[topology.uv_faces])
    np.testing.assert_array_equal(split.uv_faces, split.faces)
    np.testing.assert_array_equal(split.neighbors, topology.neighbors)
    assert len(split.edges) == len(topology.edges)


def test_a_mesh_with_one_uv_per_vertex_already_is_left_alone():
    _, topology = sphere_mesh(5)
    same, source = with_vertex_uvs(topology)
    assert same is topology
    np.testing.assert_array_equal(source, np.arange(25))


TRIANGLE = np.array([[0, 1, 2]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(faces=[[0.0, 1, 2]]), r"faces must be an integer array \[F, 3\], got float64"),
        (dict(faces=[0, 1, 2]), r"faces must be .* \[3\]"),
        (dict(faces=[[0, 1, 2, 3]]), r"faces must be .* \[1, 4\]"),
        (dict(faces=[[0, 1, -1]]), "faces must index the 2 vertices, got values from -1 to 1"),
        (dict(faces=TRIANGLE, num_vertices=2), "faces must index the 2 vertices"),
        (dict(faces=TRIANGLE, uvs=np.zeros((3, 3))), r"uvs must have shape \[3, 2\]"),
        (dict(faces=TRIANGLE, weld=np.zeros(3)), "weld must be an integer array"),
        (dict(faces=TRIANGLE, weld=[0, 1, 3]), "weld must index the 3 vertices"),
        (dict(faces=TRIANGLE, weld=[1, 2, 2]), "weld must name .* got 1 for vertex 0"),
        (dict(faces=TRIANGLE, uv_faces=TRIANGLE), "uvs must be given"),
        (
            dict(faces=TRIANGLE, uvs=np.zeros((2, 2)), uv_faces=TRIANGLE),
            "uv_faces must index the 2 uvs, got values from 0 to 2",
        ),
        (
            dict(faces=TRIANGLE, uvs=np.zeros((3, 2)), uv_faces=[[0, 1, 2], [0, 1, 2]]),
            r"uv_faces must have the shape of faces, \[1, 3\], got \[2, 3\]",
        ),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_topology(**arguments)
