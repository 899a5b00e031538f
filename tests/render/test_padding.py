"""Different meshes in one batch: what padding must not change."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from render_scenes import compile_quickly, smooth_noise
from test_smoothness import TERMS

from gan3d.render import orbit_camera, render
from gan3d.render.normals import vertex_normals
from gan3d.render.padding import pad_topology, stack_meshes
from gan3d.render.templates import cube, icosphere, sheet, sphere_mesh
from gan3d.render.topology import make_topology

IMAGE_SIZE = (20, 24)
CAMERA = orbit_camera(0.4, 0.3, fov=0.8)
TEXTURE = smooth_noise(0, 8, 8, 3).astype(np.float32)


def two_sheets():
    """Two parts, one before the other."""
    vertices, topology = sheet()
    both = np.concatenate([0.6 * vertices, 0.4 * vertices + [0.3, 0.2, -0.5]]).astype(np.float32)
    faces = np.concatenate([topology.faces, topology.faces + 4])
    return both, make_topology(faces, np.concatenate([topology.uvs, topology.uvs]))


def test_padding_keeps_the_mesh_and_adds_nothing():
    _, topology = cube()
    padded = pad_topology(topology, 15, 11, num_uvs=30)
    assert (padded.num_faces, padded.num_vertices, padded.num_uvs) == (15, 11, 30)
    assert len(padded.edges) == 45 and padded.num_components == 1
    for name in ("faces", "uv_faces", "neighbors", "component"):
        np.testing.assert_array_equal(getattr(padded, name)[:12], getattr(topology, name))
    assert not padded.faces[12:].any() and (padded.neighbors[12:] == -1).all()
    assert (padded.edge_faces[18:] == -1).all()
    np.testing.assert_array_equal(padded.weld, np.arange(11))


def test_stacking_says_what_is_real():
    (one, topology_one), (two, topology_two) = cube(), icosphere(0)
    vertices, topology, vertex_mask, face_mask = stack_meshes([cube(), icosphere(0)])
    np.testing.assert_array_equal(vertices[0][vertex_mask[0]], one)
    np.testing.assert_array_equal(vertices[1][vertex_mask[1]], two)
    np.testing.assert_array_equal(topology.faces[0][face_mask[0]], topology_one.faces)
    np.testing.assert_array_equal(topology.faces[1][face_mask[1]], topology_two.faces)
    assert vertex_mask.sum() == 8 + 12 and face_mask.sum() == 12 + 20
    _, mixed, _, _ = stack_meshes([sheet(), two_sheets()])
    assert mixed.num_components == 2


def test_stacking_is_differentiable():
    (one, topology), other = sheet(), cube()
    total = lambda v: (stack_meshes([(v, topology), other])[0] ** 2).sum()  # noqa: E731
    np.testing.assert_allclose(jax.grad(total)(jnp.asarray(one)), 2 * one)


def terms_and_normals(vertices, topology):
    terms = {name: jax.value_and_grad(term)(vertices, topology) for name, term in TERMS.items()}
    return terms, vertex_normals(vertices, topology)


def test_terms_their_gradients_and_normals_ignore_padding():
    meshes = [sheet(2, 2), sphere_mesh(5)]
    vertices, topology, vertex_mask, _ = stack_meshes(meshes)
    batch, normals = compile_quickly(jax.vmap(terms_and_normals))(vertices, topology)
    for i, mesh in enumerate(meshes):
        alone, normals_alone = compile_quickly(terms_and_normals)(*mesh)
        np.testing.assert_allclose(normals[i][vertex_mask[i]], normals_alone, atol=1e-6)
        assert not normals[i][~vertex_mask[i]].any()
        for name in TERMS:
            (values, slopes), (value, slope) = batch[name], alone[name]
            np.testing.assert_allclose(values[i], value, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(slopes[i][vertex_mask[i]], slope, rtol=1e-4, atol=1e-5)
            assert not slopes[i][~vertex_mask[i]].any()


def brightness(vertices, topology):
    rendering = render(0.6 * vertices, topology, TEXTURE, CAMERA, IMAGE_SIZE)
    weights = smooth_noise(1, *IMAGE_SIZE, 4).astype(np.float32)
    total = (rendering.color * weights[..., :3]).sum() + (rendering.alpha * weights[..., 3]).sum()
    return total, (rendering.color, rendering.alpha)


def test_a_batch_of_different_meshes_is_drawn_like_each_alone():
    """One has UV indices of its own, the other two parts, that is one more layer."""
    meshes = [cube(), two_sheets()]
    vertices, topology, vertex_mask, _ = stack_meshes(meshes)
    draw = jax.grad(brightness, has_aux=True)
    slopes, (colors, alphas) = compile_quickly(jax.vmap(draw))(vertices, topology)
    for i, mesh in enumerate(meshes):
        slope, (color, alpha) = compile_quickly(draw)(*mesh)
        assert 0.05 < alpha.mean() < 0.95 and np.abs(slope).max() > 0.1
        np.testing.assert_allclose(colors[i], color, atol=1e-5)
        np.testing.assert_allclose(alphas[i], alpha, atol=1e-5)
        np.testing.assert_allclose(slopes[i][vertex_mask[i]], slope, rtol=1e-3, atol=1e-3)
        assert not slopes[i][~vertex_mask[i]].any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: pad_topology(t, 11, 8, 24), "num_faces must be at least 12 .* got 11"),
        (lambda t: pad_topology(t, 12, 7, 24), "num_vertices must be at least 8 .* got 7"),
        (lambda t: pad_topology(t, 12, 8), "num_uvs must be at least 24 .* got 8"),
        (lambda t: pad_topology(t, 12, 8, 24, 17), "num_edges must be at least 18 .* got 17"),
        (lambda t: stack_meshes([]), "meshes must hold at least one mesh"),
        (lambda t: stack_meshes([cube(), (np.zeros((7, 3)), t)]), r"meshes\[1\] .* \[7, 3\]"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(cube()[1])
