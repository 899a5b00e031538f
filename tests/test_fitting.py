from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.evaluation.points import surface_chamfer_distance
from gan3d.fitting import (
    Fit,
    FitConfig,
    PosedViews,
    fit_views,
    make_preconditioner,
    photograph,
    psnr,
)
from gan3d.render import orbit_camera, sphere_mesh

BALL, TOPOLOGY = sphere_mesh(9)
SIZE = (24, 24)
WHITE, BLACK = jnp.ones((4, 4, 3)), -jnp.ones(3)


def cameras(num):
    yaw = jnp.linspace(-math.pi, math.pi, num + 1)[:-1]
    return jax.vmap(lambda angle: orbit_camera(angle, 0.3))(yaw)


@pytest.fixture(scope="module")
def white_ball():
    """Six views of a plain ball of radius 0.7, off the centre."""
    vertices = 0.7 * BALL + np.array([0.1, -0.1, 0.0], np.float32)
    around = cameras(6)
    images, alphas = photograph(Fit(vertices, WHITE), TOPOLOGY, around, SIZE, BLACK)
    return vertices, PosedViews(images, alphas, around, BLACK)


def test_preconditioner_is_the_graph_laplacian_of_the_welded_mesh():
    change = make_preconditioner(TOPOLOGY, 3.0)
    num = len(change.kept)
    assert num == 66  # 9 x 9 less what the octahedron's borders fold: V = F / 2 + 2
    expected = np.eye(num)
    for a, b in TOPOLOGY.edges:
        i, j = np.flatnonzero(change.kept == a)[0], np.flatnonzero(change.kept == b)[0]
        expected[[i, j], [i, j]] += 3.0
        expected[[i, j], [j, i]] -= 3.0
    np.testing.assert_allclose(change.matrix, expected)
    np.testing.assert_allclose(change.matrix @ change.inverse, np.eye(num), atol=1e-12)


def test_a_step_of_the_preconditioner_keeps_shifts_and_damps_noise():
    change = make_preconditioner(TOPOLOGY, 20.0)
    noise = np.random.default_rng(0).normal(size=(66, 3)).astype(np.float32)
    noise -= noise.mean(0)
    np.testing.assert_allclose(change.decode(jnp.ones((66, 3))), 1.0, rtol=1e-5)
    moved = np.asarray(change.decode(jnp.asarray(noise)))
    assert np.abs(moved).mean() < 0.05 * np.abs(noise).mean()
    np.testing.assert_array_equal(moved, moved[TOPOLOGY.weld])


def test_photograph_measures_the_ball_s_area():
    _, topology = mesh = sphere_mesh(33)
    camera = jax.tree.map(lambda a: a[None], orbit_camera(0.4, 0.2))
    fit = Fit(jnp.asarray(0.6 * mesh[0] + np.array([0.03, 0.05, 0.0], np.float32)), WHITE)
    images, alphas = photograph(fit, topology, camera, SIZE, BLACK)
    # The outline of a ball of radius r at distance d has radius r / sqrt(1 - (r / d)^2) there.
    distance = 1 / math.tan(math.radians(10))
    disc = math.pi * 0.36 / (1 - 0.36 / distance**2)
    assert abs(float(alphas.mean()) - disc / 4) < 0.005
    np.testing.assert_allclose(images[..., 0], 2 * alphas - 1, atol=1e-6)
    assert len(np.unique(np.round(16 * alphas))) > 8


def test_psnr_against_its_definition():
    a, b = np.random.default_rng(0).uniform(-1, 1, (2, 2, 4, 4, 3))
    assert math.isclose(psnr(a, b), -10 * math.log10((((a - b) / 2) ** 2).mean()))


def test_only_the_soft_renderer_finds_a_plain_silhouette(white_ball):
    truth, views = white_ball
    start = (0.5 * BALL).astype(np.float32)
    distances = {}
    for margin in (1.0, 0.0):
        config = FitConfig(80, 3, margin, vertex_rate=0.03, texture_size=4)
        fit = fit_views(views, start, TOPOLOGY, config)
        shapes = ((vertices, TOPOLOGY.faces) for vertices in (fit.vertices, truth))
        distances[margin] = surface_chamfer_distance(*shapes, num=2_000)
        if margin:
            assert float(fit.texture.mean()) > 0.8
    assert distances[1.0] < 0.03
    assert distances[0.0] > 0.15


def test_selection_keeps_the_background(white_ball):
    _, views = white_ball
    some = views._replace(alphas=None).select(np.array([4, 1]))
    np.testing.assert_array_equal(some.images, views.images[jnp.array([4, 1])])
    np.testing.assert_array_equal(some.cameras.rotation[0], views.cameras.rotation[4])
    np.testing.assert_array_equal(some.background, views.background)
    assert some.alphas is None and some.image_size == SIZE


def test_bad_input_is_named(white_ball):
    _, views = white_ball
    with pytest.raises(ValueError, match="batch must be from 1 to the 6 views, got 7"):
        fit_views(views, BALL, TOPOLOGY, FitConfig(batch=7))
    with pytest.raises(ValueError, match="stiffness must not be negative, got -1"):
        make_preconditioner(TOPOLOGY, -1.0)
