"""Geometry buffers against closed forms and a plain loop over layers and pixels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from render_scenes import compile_quickly

from gan3d.render import (
    Buffers,
    Fragments,
    cube,
    make_topology,
    orbit_camera,
    orthographic_camera,
    project,
    rasterize,
    render_buffers,
    sheet,
    vertex_normals,
)

SIZE = (6, 8)
CAMERA = orbit_camera(0.4, pitch=0.3, distance=5.0)


@pytest.fixture(scope="module")
def tilted():
    """A sheet turned about the vertical axis by 0.6, seen by parallel rays from distance 4."""
    vertices, topology = sheet()
    x, y, _ = 0.8 * vertices.T
    turned = np.stack([x * np.cos(0.6), y, x * np.sin(0.6)], axis=1)
    camera = orthographic_camera(distance=4.0)

    @compile_quickly
    def draw(vertices):
        points = project(vertices, camera, SIZE)
        fragments = rasterize(points, topology, SIZE, orthographic=True)
        return render_buffers(vertices, topology, camera, fragments)

    return draw(turned)


def test_a_tilted_plane_has_its_own_depth_normal_and_uv(tilted):
    row, column = np.mgrid[:6, :8] + 0.5
    x, y = (column - 4) / 3, (row - 3) / 3
    inside = (np.abs(x) < 0.8 * np.cos(0.6)) & (np.abs(y) < 0.8)
    assert inside.sum() == 4 * 4
    np.testing.assert_allclose(tilted.depth[inside], 4 + x[inside] * np.tan(0.6), rtol=1e-5)
    u, v = 0.5 + x / (1.6 * np.cos(0.6)), 0.5 + y / 1.6
    np.testing.assert_allclose(tilted.uv[inside], np.stack([u, v], -1)[inside], atol=1e-5)
    normal = np.broadcast_to([np.sin(0.6), 0, -np.cos(0.6)], (16, 3))
    np.testing.assert_allclose(tilted.normals[inside], normal, atol=1e-5)
    np.testing.assert_allclose(tilted.barycentric[inside].sum(-1), 1, atol=1e-6)
    # The upper right half of the sheet is its second face.
    np.testing.assert_array_equal(tilted.face[inside] == 1, (u > v)[inside])


def test_silhouette_is_a_line_around_the_object(tilted):
    """Left of the left edge it falls with the distance in pixels; nothing inside or far off."""
    edge = 4 - 3 * 0.8 * np.cos(0.6)
    column = int(np.floor(edge - 0.5))
    expected = 1 - (edge - column - 0.5)
    np.testing.assert_allclose(tilted.silhouette[1:5, column], expected, atol=1e-5)
    assert (tilted.silhouette[1:5, 2:6] == 0).all() and (tilted.silhouette[:, 0] == 0).all()
    # In the margin the buffers are those of the edge, though no face is at the pixel.
    np.testing.assert_allclose(tilted.depth[2, column], 4 - 0.8 * np.sin(0.6), rtol=1e-5)
    assert (tilted.face[1:5, column] == -1).all()


def two_cubes():
    vertices, topology = cube()
    faces = np.concatenate([topology.faces, topology.faces + 8])
    uv_faces = np.concatenate([topology.uv_faces, topology.uv_faces])
    moved = np.concatenate([0.3 * vertices, 0.2 * vertices + np.float32([0.4, 0.1, -0.6])])
    return moved, make_topology(faces, topology.uvs, num_vertices=16, uv_faces=uv_faces)


def random_fragments(topology, num_layers: int, seed: int = 0) -> Fragments:
    """Any faces, weights, depths and opacities; about a third of them empty."""
    rng = np.random.default_rng(seed)
    face = rng.integers(0, topology.num_faces, (num_layers, *SIZE))
    face[rng.uniform(size=face.shape) < 0.35] = -1
    face[:, 0, 0] = -1
    there = face >= 0
    barycentric = rng.dirichlet(np.ones(3), face.shape) * there[..., None]
    depth, alpha = rng.uniform(1, 5, face.shape) * there, rng.uniform(size=face.shape) * there
    real = lambda a: jnp.asarray(a, jnp.result_type(float))  # noqa: E731
    return Fragments(jnp.asarray(face, jnp.int32), real(barycentric), real(depth), real(alpha))


def looped_buffers(vertices, topology, camera, fragments, num_margins) -> Buffers:
    """The same, pixel by pixel."""
    face, barycentric, depth, alpha = (np.asarray(a, float) for a in fragments)
    normals = np.asarray(vertex_normals(vertices, topology)) @ np.asarray(camera.rotation).T
    totals = np.zeros((*SIZE, 6))
    silhouette = np.zeros(SIZE)
    for i in range(SIZE[0]):
        for j in range(SIZE[1]):
            clear = 1.0
            for k in range(len(face)):
                if k == num_margins:
                    silhouette[i, j] = 1 - clear
                if face[k, i, j] >= 0:
                    f, b = int(face[k, i, j]), barycentric[k, i, j]
                    normal, uv = (
                        b @ normals[topology.faces[f]],
                        b @ topology.uvs[topology.uv_faces[f]],
                    )
                    values = np.concatenate([[depth[k, i, j]], normal, uv])
                    totals[i, j] += clear * alpha[k, i, j] * values
                clear *= 1 - alpha[k, i, j]
            totals[i, j] /= max(1 - clear, 1e-30)
    normals = totals[..., 1:4]
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    return Buffers(
        totals[..., 0], normals / np.maximum(length, 1e-30), totals[..., 4:],
        barycentric[num_margins], face[num_margins], silhouette,
    )  # fmt: skip


@pytest.mark.parametrize("num_surfaces", [1, 2])
@pytest.mark.parametrize("mesh", [cube, two_cubes])
def test_layers_are_matted_as_in_a_plain_loop(mesh, num_surfaces):
    """One margin per surface for a connected mesh, two for a mesh of two components."""
    vertices, topology = mesh()
    num_margins = topology.num_components
    fragments = random_fragments(topology, num_surfaces * (num_margins + 1))
    buffers = compile_quickly(lambda v: render_buffers(v, topology, CAMERA, fragments))(vertices)
    expected = looped_buffers(vertices, topology, CAMERA, fragments, num_margins)
    for name, value, wanted in zip(Buffers._fields, buffers, expected, strict=True):
        np.testing.assert_allclose(value, wanted, atol=2e-5, err_msg=name)


def test_nothing_is_zero_and_minus_one():
    vertices, topology = cube()
    fragments = jax.tree.map(jnp.zeros_like, random_fragments(topology, 2))
    fragments = fragments._replace(face=fragments.face - 1)
    buffers = compile_quickly(lambda v: render_buffers(v, topology, CAMERA, fragments))(vertices)
    assert (buffers.face == -1).all()
    for name in ("depth", "normals", "uv", "barycentric", "silhouette"):
        assert (getattr(buffers, name) == 0).all(), name


def test_gradient_is_that_of_finite_differences(float64):
    """Through the normals in vertices and rotation, and through the fragments' own numbers."""
    vertices, topology = cube()
    vertices = np.asarray(vertices, float)
    fragments = random_fragments(topology, 2)
    rng = np.random.default_rng(1)

    def weighted(vertices, yaw, barycentric, depth, alpha):
        changed = fragments._replace(barycentric=barycentric, depth=depth, alpha=alpha)
        buffers = render_buffers(vertices, topology, orbit_camera(yaw), changed)
        weights = np.random.default_rng(2).normal(size=(*SIZE, 10))
        values = [buffers.depth[..., None], buffers.normals, buffers.uv, buffers.barycentric]
        values += [buffers.silhouette[..., None]]
        return (weights * jnp.concatenate(values, axis=-1)).sum()

    start = (vertices, np.array(0.4), *fragments[1:])
    step = jax.tree.map(lambda a: rng.normal(size=a.shape), start)
    step = (*step[:4], step[4] * (fragments.alpha > 0))
    value = compile_quickly(weighted)
    moved = lambda h: value(*(a + h * s for a, s in zip(start, step, strict=True)))  # noqa: E731
    slope = (moved(1e-6) - moved(-1e-6)) / 2e-6
    gradient = compile_quickly(jax.grad(weighted, argnums=range(5)))(*start)
    product = sum((g * s).sum() for g, s in zip(gradient, step, strict=True))
    np.testing.assert_allclose(product, slope, rtol=1e-6)


def test_normals_that_cancel_out_have_a_zero_gradient():
    """Two copies of a face, back to back on the same vertices."""
    topology = make_topology(np.array([[0, 1, 2], [0, 2, 1]]))
    vertices = np.float32([[0, 0, 0], [0, 1, 0], [1, 0, 0]])
    fragments = random_fragments(topology, 2)

    def total(vertices):
        return render_buffers(vertices, topology, CAMERA, fragments).normals.sum()

    value, gradient = compile_quickly(jax.value_and_grad(total))(vertices)
    assert value == 0 and (gradient == 0).all()


def test_mistakes_are_named():
    vertices, topology = cube()
    fragments = random_fragments(topology, 3)
    with pytest.raises(ValueError, match=r"fragments must have a multiple of 2 layers.*got 3"):
        render_buffers(vertices, topology, CAMERA, fragments)
    with pytest.raises(ValueError, match=r"vertices must have shape \[8, 3\].*\[7, 3\]"):
        render_buffers(vertices[:7], topology, CAMERA, random_fragments(topology, 2))
