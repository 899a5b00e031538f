"""Scenes on several devices: `jax.shard_map` shows what one device shows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from gan3d.render import (
    composite,
    interpolate_uv,
    orbit_camera,
    project,
    rasterize,
    render,
    render_buffers,
    sample_texture,
    sphere_mesh,
    uv_derivatives,
)
from gan3d.render.manual_axes import alike, varying_axes

SIZE = (16, 16)


@pytest.fixture(scope="module")
def mesh():
    return jax.make_mesh((2,), ("scene",), axis_types=(AxisType.Auto,))


@pytest.fixture(scope="module")
def scenes():
    """Yaws of four scenes; vertices and texture that they share."""
    vertices, topology = sphere_mesh(9)
    texture = np.random.default_rng(0).uniform(size=(8, 8, 3)).astype(np.float32)
    return jnp.linspace(-1.0, 1.0, 4), jnp.asarray(0.6 * vertices), jnp.asarray(texture), topology


def whole(vertices, topology, texture, camera):
    return render(vertices, topology, texture, camera, SIZE, jnp.zeros((*SIZE, 3))).color


def translucent(vertices, topology, texture, camera):
    return render(
        vertices, topology, texture, camera, SIZE, cull=False, num_surfaces=2, opacity=0.5
    ).color


def in_parts(vertices, topology, texture, camera):
    points = project(vertices, camera, SIZE)
    fragments = rasterize(points, topology, SIZE)
    change = uv_derivatives(fragments, points, topology)
    uv = interpolate_uv(fragments, topology)
    color, _ = composite(sample_texture(texture, uv, derivatives=change), fragments.alpha)
    buffers = render_buffers(vertices, topology, camera, fragments)
    return jnp.concatenate([color, buffers.depth[..., None], buffers.normals], axis=-1)


@pytest.mark.parametrize("draw", [whole, translucent, in_parts])
def test_pictures_and_gradients_are_those_of_one_device(mesh, scenes, draw):
    yaws, *shared, topology = scenes

    def pictures(vertices, texture, yaws):
        one = lambda yaw: draw(vertices, topology, texture, orbit_camera(yaw, 0.2))  # noqa: E731
        return jax.vmap(one)(yaws)

    specs = dict(in_specs=(P(), P(), P("scene")), out_specs=P("scene"))
    on_devices = jax.shard_map(pictures, mesh=mesh, **specs)

    def both(pictures):
        @jax.jit
        def run(*arguments):
            images, pull_back = jax.vjp(pictures, *arguments)
            weights = jnp.sin(jnp.arange(images.size, dtype=images.dtype)).reshape(images.shape)
            return images, pull_back(weights)

        return run

    expected, gradients = both(pictures)(*shared, yaws)
    images, on_devices_gradients = both(on_devices)(*shared, yaws)
    assert len(images.sharding.device_set) == 2
    np.testing.assert_allclose(images, expected, atol=1e-5)
    for one, other in zip(on_devices_gradients, gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(other).max())


def test_a_loss_averaged_over_devices(mesh, scenes):
    """Gradients are taken inside, as of a training step, with types unchecked as under `pmap`."""
    yaws, vertices, texture, topology = scenes

    def loss(vertices, yaws):
        one = lambda yaw: whole(vertices, topology, texture, orbit_camera(yaw)).mean()  # noqa: E731
        return jax.vmap(one)(yaws).mean()

    def step(vertices, yaws):
        return jax.lax.pmean(jax.grad(loss)(vertices, yaws), "scene")

    specs = dict(in_specs=(P(), P("scene")), out_specs=P())
    on_devices = jax.shard_map(step, mesh=mesh, check_vma=False, **specs)
    expected = jax.jit(jax.grad(loss))(vertices, yaws)
    result = jax.jit(on_devices)(vertices, yaws)
    np.testing.assert_allclose(result, expected, atol=1e-4 * np.abs(expected).max())


def test_arrays_are_cast_to_the_axes_of_all(mesh):
    seen = []

    def look(x, y):
        tree = alike({"x": x, "y": y})
        seen.extend([varying_axes(x), varying_axes(y), varying_axes(tree["y"])])
        seen.append(varying_axes(alike(y, x)))
        return tree["x"] + tree["y"]

    on_devices = jax.shard_map(look, mesh=mesh, in_specs=(P("scene"), P()), out_specs=P("scene"))
    np.testing.assert_array_equal(jax.jit(on_devices)(jnp.arange(4.0), jnp.ones(2)), [1, 2, 3, 4])
    assert seen == [{"scene"}, set(), {"scene"}, {"scene"}]


def test_outside_of_shard_map_nothing_is_done():
    tree = (np.arange(3), jnp.ones(2), 3.0)
    assert alike(tree) is tree
