"""Never a NaN or an infinity, in value or gradient, whatever the vertices do."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from render_scenes import compile_quickly, smooth_noise

from gan3d.render import (
    Camera,
    composite,
    interpolate,
    make_topology,
    project,
    rasterize,
    sample_texture,
    sphere_mesh,
)
from gan3d.render.reference import rasterize_reference

SIZE = (10, 12)
BALL, TOPOLOGY = sphere_mesh(5)
CAMERA = Camera(np.eye(3), np.array([0.0, 0.0, 3.0]), np.array([2.5, 2.5]), np.zeros(2))


def nasty_vertices() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=BALL.shape)
    # Half a pixel at the depth of the ball's centre, so that vertices meet pixel centres.
    half_pixel = 3 / (2.5 * SIZE[0])
    edge_on = BALL * np.array([1, 0, 1])
    one_far = BALL.copy()
    one_far[7] = [1e6, -1e6, 5]
    at_eye = BALL.copy()
    at_eye[3] = [0, 0, -3]
    at_near = BALL.copy()
    at_near[12] = [0, 0, 1e-3 - 3]
    return {
        "ball": BALL,
        "a point": 0 * BALL,
        "a point on a pixel centre": 0 * BALL + np.array([half_pixel, half_pixel, 0]),
        "a line": BALL * np.array([1, 0, 0]),
        "a line along the view": BALL * np.array([0, 0, 1]),
        "edge-on": edge_on,
        "nearly edge-on": edge_on + 1e-7 * noise,
        "flat, facing": BALL * np.array([1, 1, 0]),
        "repeated vertices": BALL[np.arange(25) // 2 * 2],
        "on pixel centres": np.round(BALL / (2 * half_pixel)) * 2 * half_pixel + half_pixel,
        "inside out": -BALL,
        "smaller than a pixel": 1e-3 * BALL,
        "far smaller than a pixel": 1e-8 * BALL,
        "through the near plane": BALL - np.array([0, 0, 3.0]),
        "a vertex at the eye": at_eye,
        "a vertex at the near plane": at_near,
        "behind the camera": BALL - np.array([0, 0, 10.0]),
        "off the screen": BALL + np.array([50.0, 0, 0]),
        "far off the screen": BALL + np.array([1e7, 1e7, 0]),
        "far away": BALL + np.array([0, 0, 1e7]),
        "around the camera": 100 * BALL,
        "huge": 1e15 * BALL,
        "one vertex far off": one_far,
        "noise": 2 * noise,
        "tall slivers": BALL * np.array([1e-6, 1, 1]),
    }


def everything(vertices, camera, texture, background, rasterizer, topology, margin_pixels):
    """One number that depends on all that a rendering gives, and the parts themselves."""
    points = project(vertices, camera, SIZE)
    fragments = rasterizer(points, topology, SIZE, margin_pixels)
    uv = interpolate(jnp.asarray(topology.uvs, points.dtype), fragments, topology)
    values = sample_texture(texture, uv)
    over = composite(values, fragments.alpha, background)
    alone = composite(values, fragments.alpha)
    parts = (over, alone, fragments.barycentric, fragments.depth, fragments.alpha)
    return sum(jnp.sin(x).sum() for x in jax.tree.leaves(parts)), parts


def assert_finite(tree, names):
    for leaf in jax.tree.leaves(tree):
        bad = ~np.isfinite(np.asarray(leaf)).reshape(len(names), -1).all(axis=1)
        assert not bad.any(), [name for name, is_bad in zip(names, bad, strict=True) if is_bad]


@pytest.mark.parametrize("bits", (32, 64))
@pytest.mark.parametrize(
    ("rasterizer", "margin_pixels"),
    [(rasterize, 0.0), (rasterize, 1.5), (rasterize_reference, 1.5)],
)
def test_values_and_gradients_are_finite(rasterizer, margin_pixels, bits):
    cases = nasty_vertices()
    with jax.enable_x64(bits == 64):
        dtype = np.dtype(f"float{bits}")
        vertices, camera, texture, background = jax.tree.map(
            lambda x: jnp.asarray(x, dtype),
            (
                np.stack(list(cases.values())),
                CAMERA,
                smooth_noise(0, 5, 6, 2),
                smooth_noise(1, *SIZE, 2),
            ),
        )

        def run(vertices):
            return jax.value_and_grad(everything, argnums=(0, 1, 2, 3), has_aux=True)(
                vertices, camera, texture, background, rasterizer, TOPOLOGY, margin_pixels
            )

        (values, parts), gradients = compile_quickly(jax.vmap(run))(vertices)
    assert_finite((values, parts), cases)
    assert_finite(gradients, cases)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves((values, parts, gradients)))
    alpha = np.asarray(parts[-1])
    assert alpha.min() >= 0 and alpha.max() <= 1
    for name, picture in zip(cases, alpha, strict=True):
        empty = name in ("a point", "a line", "edge-on", "behind the camera")
        assert not picture.any() or not (empty or name.endswith("off the screen")), name


@pytest.mark.parametrize(
    "faces",
    [
        np.zeros((0, 3), int),
        np.array([[0, 0, 0], [1, 1, 2], [3, 2, 3]]),
        np.array([[0, 2, 1], [0, 2, 1], [0, 1, 2], [1, 0, 3]]),
    ],
    ids=["no faces", "repeated indices", "repeated faces"],
)
def test_degenerate_topologies_are_finite(faces):
    vertices = np.float32([[-0.9, -0.8, 0], [0.8, -0.7, 0.1], [0.1, 0.9, 0], [0.2, -0.9, 0.3]])
    topology = make_topology(faces, num_vertices=4)
    camera = jax.tree.map(np.float32, CAMERA)
    texture, background = np.ones((2, 2, 1), np.float32), np.zeros((*SIZE, 1), np.float32)

    @compile_quickly
    def run(vertices):
        return jax.value_and_grad(everything, has_aux=True)(
            vertices, camera, texture, background, rasterize, topology, 1.5
        )

    (value, parts), gradient = run(vertices)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((value, parts, gradient)))
    covered = parts[-1].any()
    assert covered == (len(faces) == 4)


def test_empty_mesh_shows_the_background():
    topology = make_topology(np.zeros((0, 3), int), num_vertices=0)
    fragments = rasterize(jnp.zeros((0, 3)), topology, SIZE)
    values = interpolate(jnp.zeros((0, 3)), fragments, topology)
    background = jnp.asarray(smooth_noise(1, *SIZE, 3), jnp.float32)
    color, alpha = composite(values, fragments.alpha, background)
    np.testing.assert_array_equal(color, background)
    assert not alpha.any()
