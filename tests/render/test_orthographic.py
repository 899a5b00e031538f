"""Parallel rays: whatever varies over a face is linear on the screen."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from render_scenes import IMAGE_SIZE, compile_quickly, decisions, smooth_noise, sphere

from gan3d.render import make_topology, orbit_camera, rasterize, render
from gan3d.render.camera import orthographic_camera

SIZE = (20, 22)


def test_depth_and_barycentrics_are_linear_on_the_screen(float64):
    """Against the solution of b0 + b1 + b2 = 1, sum b x = x, sum b y = y; near and far cut it."""
    points = np.array([[1.2, 1.7, 0.5], [4.1, 18.9, 3.0], [20.6, 6.2, 9.0]])
    topology = make_topology(np.array([[0, 1, 2]]))
    draw = compile_quickly(
        lambda p: rasterize(p, topology, SIZE, 1.3, orthographic=True, near=1.0, far=6.0)
    )
    fragments = draw(points)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    system = np.stack([points[:, 0], points[:, 1], np.ones(3)])
    weights = np.linalg.solve(system, np.stack([x, y, np.ones_like(x)]).reshape(3, -1))
    weights = weights.T.reshape(*SIZE, 3)
    depth = weights @ points[:, 2]
    shown = (weights > 0).all(axis=-1) & (depth > 1) & (depth < 6)
    covered = (weights > 0).all(axis=-1)
    assert shown.sum() > 60 and (covered & ~shown).sum() > 20
    np.testing.assert_array_equal(np.asarray(fragments.face[1] >= 0), shown)
    np.testing.assert_allclose(np.asarray(fragments.barycentric[1])[shown], weights[shown], 1e-9)
    np.testing.assert_allclose(np.asarray(fragments.depth[1])[shown], depth[shown], 1e-9)
    margin = np.asarray(fragments.alpha[0]) > 0
    weights = np.asarray(fragments.barycentric[0])
    assert margin.sum() > 15
    # The closest point of the outline: perspective would weight it by inverse depth.
    closest = weights[margin] @ points
    distance = np.linalg.norm(closest[:, :2] - np.stack([x, y], -1)[margin], axis=-1)
    np.testing.assert_allclose(np.asarray(fragments.alpha[0])[margin], 1 - distance / 1.3, 1e-9)
    np.testing.assert_allclose(np.asarray(fragments.depth[0])[margin], closest[:, 2], 1e-9)
    assert closest[:, 2].min() >= 1 and closest[:, 2].max() <= 6


def test_equals_perspective_from_very_far_and_finite_differences(float64):
    scene = sphere(seed=1)
    weights = smooth_noise(7, *IMAGE_SIZE, 4)
    # From the distance of 2e5 radii.
    cameras = orbit_camera(0.3, 0.15, fov=1e-5), orthographic_camera(0.3, 0.15)

    def brightness(vertices, camera):
        shot = scene.shot
        picture = render(
            vertices, scene.topology, shot.texture, camera, IMAGE_SIZE, shot.background, 1.5
        )
        image = jnp.concatenate([picture.color, picture.alpha[..., None]], axis=-1)
        return (weights * image).sum(), (picture, decisions(picture, shot, scene.topology))

    @compile_quickly
    def evaluate(batch):
        slope = jax.value_and_grad(brightness, has_aux=True)
        return slope(batch[0], cameras[0]), jax.vmap(lambda v: slope(v, cameras[1]))(batch)

    rng = np.random.default_rng(0)
    directions = rng.normal(size=(6, *scene.shot.vertices.shape))[:, scene.topology.weld]
    step = 1e-6
    moves = step * np.concatenate([np.zeros((1, *directions.shape[1:])), directions, -directions])
    ((_, (far, _)), slope_far), results = evaluate(scene.shot.vertices + moves)
    (values, (pictures, choices)), slopes = results
    parallel = jax.tree.map(lambda x: x[0], pictures)
    assert 0.2 < np.mean(far.alpha) < 0.9
    np.testing.assert_array_equal(far.fragments.face, parallel.fragments.face)
    np.testing.assert_allclose(far.color, parallel.color, atol=1e-4)
    np.testing.assert_allclose(far.alpha, parallel.alpha, atol=1e-4)
    np.testing.assert_allclose(slope_far, slopes[0], atol=1e-3 * np.abs(slopes[0]).max())

    agree = [(c == c[:1]).reshape(13, -1).all(axis=1)[1:] for c in choices]
    unchanged = np.all(agree, axis=0).reshape(2, 6).all(axis=0)
    assert sum(unchanged) >= 3
    measured = (values[1:7] - values[7:]) / (2 * step)
    products = np.tensordot(directions, slopes[0], axes=2)
    np.testing.assert_allclose(measured[unchanged], products[unchanged], rtol=1e-4)
