"""Analytic screen derivatives against finite differences of rays through the pixels."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan3d.render.derivatives
from gan3d.render import Fragments, make_topology

screen_derivatives = jax.jit(
    gan3d.render.derivatives.screen_derivatives, static_argnames="orthographic"
)
uv_derivatives = jax.jit(gan3d.render.derivatives.uv_derivatives)
HEIGHT, WIDTH = 5, 6
STEP = 1e-5


def barycentric_at(position, corners, orthographic):
    """Weights of the corners [3, 3] (x, y, z on the screen) where the ray of a pixel meets them.

    With P_k = z_k (x_k, y_k, 1) the weights are proportional to P^-1 (x, y, 1).
    """
    rows = jnp.concatenate([corners[:, :2], jnp.ones((3, 1))], axis=1)
    if not orthographic:
        rows = rows * corners[:, 2:]
    weights = jnp.linalg.solve(rows.T, jnp.append(position, 1.0))
    return weights / weights.sum()


@pytest.fixture
def scene(float64):
    """Random faces, at every pixel one of them and a point on its plane near the pixel."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-4, 10, (12, 3))
    points[:, 2] = rng.uniform(1.5, 4, 12)
    points[11, 2] = -2  # behind the camera
    faces = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]])
    topology = make_topology(faces, rng.uniform(size=(12, 2)))
    face = rng.integers(0, 4, (2, HEIGHT, WIDTH))
    face[0, :2] = -1
    centres = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), axis=-1) + 0.5
    position = centres + rng.uniform(-1, 1, (2, HEIGHT, WIDTH, 2)) * np.array([1, 0]).reshape(
        2, 1, 1, 1
    )
    return jnp.asarray(points), topology, face, jnp.asarray(position)


@partial(jax.jit, static_argnums=4)
def make_fragments(points, topology, face, position, orthographic):
    flat = lambda a: a.reshape(-1, *a.shape[3:])  # noqa: E731
    corners = points[jnp.asarray(topology.faces)[jnp.maximum(face, 0)]]
    weights = jax.vmap(lambda p, c: barycentric_at(p, c, orthographic))(
        flat(position), flat(corners)
    )
    drawn = face >= 0
    barycentric = jnp.where(drawn[..., None], weights.reshape(*face.shape, 3), 0)
    return Fragments(jnp.asarray(face), barycentric, drawn * 1.0, drawn * 1.0)


@pytest.mark.parametrize("orthographic", (False, True))
def test_barycentrics_change_as_measured(scene, orthographic):
    points, topology, face, position = scene
    fragments = make_fragments(*scene, orthographic)
    actual = screen_derivatives(fragments, points, topology, orthographic=orthographic)
    assert actual.shape == (2, HEIGHT, WIDTH, 3, 2)
    for axis in range(2):
        moved = [
            make_fragments(points, topology, face, position + shift, orthographic).barycentric
            for shift in STEP * np.array([1, -1]).reshape(2, 1, 1, 1, 1) * np.eye(2)[axis]
        ]
        expected = (moved[0] - moved[1]) / (2 * STEP)
        np.testing.assert_allclose(actual[..., axis], expected, rtol=1e-5, atol=1e-6)
    assert (np.asarray(actual)[face < 0] == 0).all()


def test_uv_change_is_that_of_the_interpolated_uv(scene):
    points, topology, face, position = scene
    actual = uv_derivatives(make_fragments(*scene, False), points, topology)
    corners = np.asarray(topology.uvs, float)[np.asarray(topology.uv_faces)[np.maximum(face, 0)]]
    for axis in range(2):
        moved = [
            (make_fragments(points, topology, face, position + shift, False).barycentric[..., None]
             * corners).sum(-2)
            for shift in STEP * np.array([1, -1]).reshape(2, 1, 1, 1, 1) * np.eye(2)[axis]
        ]  # fmt: skip
        np.testing.assert_allclose(
            actual[..., axis], (moved[0] - moved[1]) / (2 * STEP), rtol=1e-5, atol=1e-6
        )


def test_square_that_fills_the_picture_changes_by_one_over_its_size():
    points = np.float32([[0, 0, 3], [0, HEIGHT, 3], [WIDTH, HEIGHT, 3], [WIDTH, 0, 3]])
    uvs = np.array([[0, 0], [0, 1], [1, 1], [1, 0]])
    topology = make_topology(np.array([[0, 1, 2], [0, 2, 3]]), uvs)
    face = (np.arange(WIDTH)[None, :] / WIDTH > np.arange(HEIGHT)[:, None] / HEIGHT).astype(int)
    centres = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), axis=-1) + 0.5
    fragments = make_fragments(jnp.asarray(points), topology, face[None], centres[None], False)
    change = uv_derivatives(fragments, jnp.asarray(points), topology)
    assert change.dtype == jnp.float32
    expected = np.broadcast_to([[1 / WIDTH, 0], [0, 1 / HEIGHT]], change.shape)
    np.testing.assert_allclose(change, expected, atol=1e-6)


def test_gradient_in_the_points_is_the_slope(scene):
    points, topology, face, position = scene
    weights = np.random.default_rng(1).normal(size=(2, HEIGHT, WIDTH, 2, 2))

    @jax.jit
    def total(points):
        fragments = make_fragments(points, topology, face, position, False)
        return (weights * jnp.sin(uv_derivatives(fragments, points, topology))).sum()

    direction = np.random.default_rng(2).normal(size=points.shape)
    slope = (total(points + 1e-6 * direction) - total(points - 1e-6 * direction)) / 2e-6
    gradient = jax.jit(jax.grad(total))(points)
    np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-5)


def test_degenerate_faces_give_finite_values_and_gradients():
    points = np.float32([[1, 1, 2], [2, 2, 2], [3, 3, 2], [1, 1, 0], [1e15, 0, 3], [0, 1e15, 1e15]])
    topology = make_topology(np.array([[0, 1, 2], [0, 0, 1], [3, 3, 3], [3, 4, 5]]))
    face = jnp.array([[[-1, 0], [1, 2], [3, 3]]])
    barycentric = jnp.where(face[..., None] >= 0, jnp.float32([0.2, 0.3, 0.5]), 0)
    fragments = Fragments(face, barycentric, jnp.ones(face.shape), jnp.ones(face.shape))

    def change(points):
        return screen_derivatives(fragments, points, topology)

    assert np.isfinite(change(points)).all()
    assert (np.asarray(change(points))[0, 0] == 0).all()
    assert np.isfinite(jax.jit(jax.grad(lambda points: change(points).sum()))(points)).all()


def test_empty_mesh_and_wrong_points():
    empty = make_topology(np.zeros((0, 3), int), num_vertices=2)
    nothing = jnp.full((2, 3, 4), -1)
    fragments = Fragments(nothing, jnp.zeros((2, 3, 4, 3)), jnp.zeros((2, 3, 4)), nothing * 0.0)
    assert uv_derivatives(fragments, jnp.zeros((2, 3)), empty).shape == (2, 3, 4, 2, 2)
    with pytest.raises(ValueError, match=r"points must have shape \[2, 3\], got \[3, 3\]"):
        screen_derivatives(fragments, jnp.zeros((3, 3)), empty)
