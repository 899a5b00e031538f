"""`vmap`, `jit`, `grad` and `pmap` compose with the renderer in any order."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from render_scenes import compile_quickly, smooth_noise

from gan3d.render import (
    composite,
    interpolate,
    orbit_camera,
    project,
    rasterize,
    render,
    sphere_mesh,
)
from gan3d.render.padding import stack_meshes
from gan3d.render.templates import cube, sheet

SIZE = (16, 16)
BALL, TOPOLOGY = sphere_mesh(5)
TEXTURE = np.float32(smooth_noise(0, 6, 6, 3))
BACKGROUND = np.float32(smooth_noise(1, *SIZE, 3))
WEIGHTS = np.float32(smooth_noise(2, *SIZE, 3))


def draw(vertices, yaw):
    return render(vertices, TOPOLOGY, TEXTURE, orbit_camera(yaw), SIZE, BACKGROUND).color


def loss(vertices, yaw):
    picture = draw(vertices, yaw)
    return (WEIGHTS * picture).sum(), picture


slopes = jax.grad(loss, argnums=(0, 1), has_aux=True)


@pytest.fixture(scope="module")
def batch():
    """Four dented balls, two views of each."""
    rng = np.random.default_rng(0)
    dents = 1 + 0.1 * rng.normal(size=(4, *BALL.shape))[:, TOPOLOGY.weld]
    yaw = rng.uniform(-3, 3, (4, 2))
    return np.float32(0.7 * BALL * dents), np.float32(yaw)


@pytest.fixture(scope="module")
def loop(batch):
    """Pictures and gradients of the batch, one scene after the other."""
    one = compile_quickly(slopes)
    pairs = [[(vertices, yaw) for yaw in yaws] for vertices, yaws in zip(*batch, strict=True)]
    stack = lambda rows: jax.tree.map(lambda *x: np.stack(x), *rows)  # noqa: E731
    gradients, pictures = stack([stack([one(*pair) for pair in row]) for row in pairs])
    return pictures, gradients


def assert_trees_close(actual, expected, tolerance=1e-5):
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        scale = max(1, np.abs(other).max())
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * scale)


def twice_mapped(function):
    """Over four scenes and, nested, over two views of each."""
    return jax.vmap(jax.vmap(function, in_axes=(None, 0)))


def test_vmap_equals_loop(batch, loop):
    vertices, yaw = batch
    pictures = compile_quickly(jax.vmap(draw))(vertices, yaw[:, 0])
    assert_trees_close(pictures, loop[0][:, 0])


def test_jit_equals_eager(batch, loop):
    vertices, yaw = batch
    assert_trees_close(draw(vertices[0], yaw[0, 0]), loop[0][0, 0])


def test_nested_vmap_of_grad_equals_loop(batch, loop):
    gradients, pictures = compile_quickly(twice_mapped(slopes))(*batch)
    assert_trees_close(gradients, loop[1])
    assert_trees_close(pictures, loop[0])


def test_grad_of_vmap_equals_loop(batch, loop):
    total = lambda vertices, yaw: twice_mapped(loss)(vertices, yaw)[0].sum()  # noqa: E731
    gradient = compile_quickly(jax.grad(total, argnums=(0, 1)))(*batch)
    assert_trees_close(gradient, (loop[1][0].sum(axis=1), loop[1][1]))


def test_pmap_of_nested_vmap_equals_loop(batch, loop):
    assert jax.local_device_count() >= 2, "the tests need two (virtual) devices"
    shards = jax.tree.map(lambda x: x.reshape(2, 2, *x.shape[1:]), batch)
    parallel = jax.pmap(twice_mapped(draw), devices=jax.local_devices()[:2])
    pictures = np.asarray(parallel(*shards))
    assert_trees_close(pictures.reshape(loop[0].shape), loop[0])


def test_vmap_over_topologies(batch, loop):
    """A topology is a pytree of arrays: connectivity may be an argument and differ in a batch."""
    vertices, yaw = batch
    topologies = jax.tree.map(lambda x: jnp.stack([x, x]), TOPOLOGY)

    def draw_with(topology, vertices, yaw):
        return render(vertices, topology, TEXTURE, orbit_camera(yaw), SIZE, BACKGROUND).color

    pictures = compile_quickly(jax.vmap(draw_with))(topologies, vertices[:2], yaw[:2, 0])
    assert_trees_close(pictures, loop[0][:2, 0])


def test_nested_vmap_over_meshes_and_views_equals_loop():
    """Different meshes, padded to one shape, each seen from two sides; both sides drawn."""
    meshes = [sheet(2, 2), cube()]
    vertices, topologies, vertex_mask, _ = stack_meshes(meshes)
    yaws = np.float32([[0.2, 2.9], [0.7, -1.2]])

    def total(vertices, topology, yaw):
        points = project(0.5 * vertices, orbit_camera(yaw, 0.3), SIZE)
        fragments = rasterize(points, topology, SIZE, cull=False)
        values = interpolate(vertices, fragments, topology)
        color, alpha = composite(values, fragments.alpha)
        return (WEIGHTS * color).sum(), (color, alpha, fragments.face)

    slope = jax.grad(total, has_aux=True)
    over_views = jax.vmap(slope, in_axes=(None, None, 0))
    batched = compile_quickly(jax.vmap(over_views))(vertices, topologies, yaws)
    for i, (own_vertices, topology) in enumerate(meshes):
        one = compile_quickly(slope)
        for j, yaw in enumerate(yaws[i]):
            gradient, (color, alpha, face) = jax.tree.map(lambda x: x[i, j], batched)  # noqa: B023
            expected, expected_picture = one(own_vertices, topology, yaw)
            assert 0.05 < alpha.mean() < 0.95
            assert_trees_close((color, alpha), expected_picture[:2])
            np.testing.assert_array_equal(face, expected_picture[2])
            assert_trees_close(gradient[vertex_mask[i]], expected, 1e-4)
            assert not gradient[~vertex_mask[i]].any()
