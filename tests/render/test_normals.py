"""Normals of faces and vertices."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from render_scenes import smooth_noise

from gan3d.render.normals import face_normals, vertex_normals
from gan3d.render.templates import cube, sphere_mesh


def test_face_normals_are_twice_the_area_outwards():
    vertices, topology = cube()
    normals = np.asarray(face_normals(vertices, topology))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 2 * 2, atol=1e-6)
    centres = vertices[topology.faces].mean(axis=1)
    outward = np.where(np.abs(centres) == 1, centres, 0)
    np.testing.assert_allclose(normals, 4 * outward, atol=1e-6)


def test_vertex_normals_are_weighted_by_area():
    """At a cube's corner a side counts once or twice, by the triangles that it has there."""
    vertices, topology = cube()
    total = np.zeros((8, 3))
    for face in topology.faces:
        a, b, c = vertices[face].astype(float)
        total[face] += np.cross(b - a, c - a)
    expected = total / np.linalg.norm(total, axis=1, keepdims=True)
    normals = np.asarray(vertex_normals(vertices, topology))
    np.testing.assert_allclose(normals, expected, atol=1e-6)
    assert (np.sign(normals) == np.sign(vertices)).all()


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


@pytest.mark.parametrize("function", [face_normals, vertex_normals])
def test_wrong_vertices_are_named(function):
    vertices, topology = cube()
    with pytest.raises(ValueError, match=r"vertices must have shape \[8, 3\] .* got \[7, 3\]"):
        function(vertices[:-1], topology)
