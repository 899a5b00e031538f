"""The Laplacian, normal-consistency and edge-length terms."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.render.smoothness import (
    edge_length_term,
    laplacian_term,
    normal_consistency_term,
    uniform_laplacian,
)
from gan3d.render.templates import cube, icosphere, sheet, sphere_mesh, uv_sphere
from gan3d.render.topology import make_topology

TERMS = {
    "laplacian": laplacian_term,
    "normals": normal_consistency_term,
    "creases": lambda v, t: normal_consistency_term(v, t, power=2),
    "edges": edge_length_term,
    "edges at rest": lambda v, t: edge_length_term(v, t, target=0.3),
}


@functools.cache
def slopes(name):
    """Of a term: (vertices, topology) -> value and gradient."""
    return jax.jit(jax.value_and_grad(TERMS[name]))


def test_uniform_laplacian_is_the_mean_over_the_neighbours_minus_the_vertex():
    _, topology = sheet(2, 3)
    values = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
    expected = np.zeros_like(values)
    for vertex in range(12):
        around = {int(i) for face in topology.faces if vertex in face for i in face} - {vertex}
        expected[vertex] = values[list(around)].mean(0) - values[vertex]
    np.testing.assert_allclose(uniform_laplacian(values, topology), expected, atol=1e-5)


def test_uniform_laplacian_looks_across_a_seam_once():
    vertices, topology = sphere_mesh(9)
    laplacian = np.asarray(uniform_laplacian(vertices, topology))
    stands_for_itself = topology.weld == np.arange(81)
    assert not laplacian[~stands_for_itself].any()
    # Of a sphere every vertex is drawn inwards.
    assert ((laplacian * vertices).sum(1)[stands_for_itself] < 0).all()


@pytest.mark.parametrize("radius", [1, 2.5])
@pytest.mark.parametrize("subdivisions", [2, 3])
def test_towards_the_centre_of_a_sphere_the_laplacian_follows_its_curvature(radius, subdivisions):
    """Edges h, area sqrt(3) / 2 h^2 per vertex, L . n = h^2 / (2 r): N sum = 16 pi^2 / 3 r^2."""
    directions, topology = icosphere(subdivisions)
    laplacian = uniform_laplacian(np.float32(radius) * directions, topology)
    inwards = (np.asarray(laplacian) * directions).sum(axis=1)
    expected = 16 * np.pi**2 / 3 * radius**2
    np.testing.assert_allclose(len(directions) * (inwards**2).sum(), expected, rtol=0.03)


@pytest.mark.parametrize("radius", [1, 2.5])
def test_laplacian_term_of_an_icosahedron(radius):
    """The mean of a corner's five neighbours is 1 / sqrt(5) times the corner."""
    vertices, topology = icosphere(0)
    expected = (12 * radius * (1 - 1 / np.sqrt(5))) ** 2
    value = laplacian_term(np.float32(radius) * vertices, topology)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_laplacian_term_does_not_count_vertices_without_edges():
    vertices, topology = icosphere(1)
    lonely = make_topology(topology.faces, num_vertices=len(vertices) + 50)
    more = np.concatenate([vertices, np.ones((50, 3), np.float32)])
    expected = laplacian_term(vertices, topology)
    np.testing.assert_allclose(laplacian_term(more, lonely), expected, rtol=1e-6)


@pytest.mark.parametrize("power", [1, 2, 3])
def test_normal_consistency_of_a_cube(power):
    """12 edges at right angles, 6 diagonals that are flat."""
    value = normal_consistency_term(*cube(), power=power)
    np.testing.assert_allclose(value, 12 / 18, rtol=1e-6)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("angle", [0, 0.5, 2.0, 3.0])
def test_normal_consistency_of_a_hinge(angle, power):
    vertices = np.array(
        [[0, 0, 0], [0, 1, 0], [1, 0.3, 0], [-np.cos(angle), 0.6, np.sin(angle)]], np.float32
    )
    topology = make_topology(np.array([[0, 2, 1], [0, 1, 3]]))
    value = normal_consistency_term(7 * vertices, topology, power)
    np.testing.assert_allclose(value, (1 - np.cos(angle)) ** power, rtol=1e-4, atol=1e-6)


def test_edge_length_of_a_cube():
    vertices, topology = cube()
    for target in (0, 2, 3.5):
        expected = (12 * (2 - target) ** 2 + 6 * (np.sqrt(8) - target) ** 2) / 18
        value = edge_length_term(vertices, topology, target)
        np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", TERMS)
def test_gradients_are_finite_differences(name):
    sphere, topology = uv_sphere(4, 5)
    rng = np.random.default_rng(0)
    vertices = sphere + 0.1 * rng.normal(size=sphere.shape)
    change = rng.normal(size=sphere.shape)
    term = lambda step: slopes(name)(jnp.asarray(vertices + step * change), topology)[0]  # noqa: E731
    finite = (term(1e-5) - term(-1e-5)) / 2e-5
    _, slope = slopes(name)(jnp.asarray(vertices), topology)
    assert slope.dtype == jnp.float64
    np.testing.assert_allclose((slope * change).sum(), finite, rtol=1e-6)


@pytest.mark.parametrize("name", TERMS)
def test_collapsed_meshes_have_finite_gradients(name):
    vertices, topology = cube()
    for shape in (0 * vertices, vertices * np.float32([1, 1, 0]), vertices[:1] + 0 * vertices):
        value, slope = slopes(name)(jnp.asarray(shape), topology)
        assert np.isfinite(value) and np.isfinite(slope).all()


@pytest.mark.parametrize("name", TERMS)
def test_a_mesh_without_faces_costs_nothing(name):
    nothing = make_topology(np.zeros((0, 3), int), num_vertices=2)
    value, slope = slopes(name)(jnp.ones((2, 3)), nothing)
    assert value == 0 and not slope.any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda v, t: uniform_laplacian(v[:-1], t),
            r"values must have shape \[8, C\]",
        ),
        (lambda v, t: laplacian_term(v[:, 0], t), r"values must have shape \[8, C\], got \[8\]"),
        (lambda v, t: normal_consistency_term(v, t, 0), "power must be at least 1, got 0"),
        (lambda v, t: edge_length_term(v, t, -1.0), "target must be finite .* got -1.0"),
        (lambda v, t: edge_length_term(v[:, :2], t), r"vertices must have shape \[8, 3\]"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(*cube())
