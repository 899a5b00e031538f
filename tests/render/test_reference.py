"""The fast rasterizer and its hand-written backward against the brute-force twin, in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import render_scenes
from render_scenes import FOV, IMAGE_SIZE, compile_quickly

from gan3d.render import Fragments, make_topology, orbit_camera, project, rasterize
from gan3d.render.reference import rasterize_reference

NUM_VIEWS = 6


def torn_soup(seed: int = 0) -> render_scenes.Scene:
    """Forty separate triangles in all orientations, some behind the camera or off the screen."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(-1.2, 1.2, (40, 1, 3)) * np.array([1, 1, 2.5])
    vertices = (centres + rng.normal(size=(40, 3, 3)) * 0.35).reshape(-1, 3)
    topology = make_topology(np.arange(120).reshape(40, 3))
    return render_scenes.make_scene(vertices, topology, seed)


CASES = {
    "sphere": render_scenes.sphere,
    "slit sphere": lambda: render_scenes.sphere(3, chart="azimuthal"),
    "blobs": render_scenes.crossing_blobs,
    "soup": torn_soup,
}


def views_of(scene, num_views=NUM_VIEWS):
    """Screen points of one mesh from several sides."""
    yaw = np.linspace(-2.0, 2.3, num_views)

    def points(yaw):
        return project(scene.shot.vertices, orbit_camera(yaw, 0.2, fov=FOV), IMAGE_SIZE)

    return jax.vmap(points)(yaw)


OPTIONS = [
    # Of a closed mesh both faces of a silhouette edge may be drawn, and either may show it.
    ("soup", dict(cull=False, near=0.7, far=2.9)),
    ("soup", dict(orthographic=True, near=1.5, far=3.5)),
    ("blobs", dict(num_surfaces=2)),
    ("soup", dict(orthographic=True, cull=False, num_surfaces=2, near=2.0)),
]


@pytest.mark.parametrize(
    ("name", "margin_pixels", "options"),
    [(name, 1.7, {}) for name in CASES]
    + [("blobs", 0.0, {}), ("blobs", 0.3, {})]
    + [(name, 1.7, options) for name, options in OPTIONS],
)
def test_fragments_and_their_gradients_equal_the_twins(name, margin_pixels, options, float64):
    scene = CASES[name]()
    points = views_of(scene)
    rng = np.random.default_rng(1)
    surfaces = options.get("num_surfaces", 1)
    layers = 2 + (name in ("blobs", "soup"))
    shape = (NUM_VIEWS, layers * surfaces, *IMAGE_SIZE)
    cotangent = Fragments(
        face=np.zeros(shape, jax.dtypes.float0),
        barycentric=rng.normal(size=(*shape, 3)),
        depth=rng.normal(size=shape),
        alpha=rng.normal(size=shape),
    )

    @compile_quickly
    def both(points):
        results = []
        for rasterizer in (rasterize, rasterize_reference):
            draw = jax.vmap(
                lambda p: rasterizer(p, scene.topology, IMAGE_SIZE, margin_pixels, **options)  # noqa: B023
            )
            fragments, pullback = jax.vjp(draw, points)
            results.append((fragments, pullback(cotangent)[0]))
        return results

    (fast, fast_gradient), (slow, slow_gradient) = both(points)
    assert fast.face.shape == shape
    assert (fast.face[:, -1] >= 0).sum() > 20
    assert ((fast.face[:, 0] >= 0).sum() > 20) == (margin_pixels > 0)
    if layers == 3 and margin_pixels > 1 and surfaces == 1:
        assert (fast.face[:, 1] >= 0).sum() > 20
        both_show = (fast.face[:, 0] >= 0) & (fast.face[:, 1] >= 0)
        assert (fast.depth[:, 0] <= fast.depth[:, 1])[both_show].all()
    for actual, expected in zip(fast, slow, strict=True):
        assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(fast.face, slow.face)
    for actual, expected in zip(fast[1:], slow[1:], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)
    scale = float(jnp.abs(slow_gradient).max())
    np.testing.assert_allclose(fast_gradient, slow_gradient, rtol=1e-5, atol=1e-8 * scale)


def test_twin_draws_nothing_without_faces(float64):
    topology = make_topology(np.zeros((0, 3), int), num_vertices=3)
    fast = rasterize(jnp.ones((3, 3)), topology, (4, 5))
    slow = rasterize_reference(jnp.ones((3, 3)), topology, (4, 5))
    for actual, expected in zip(fast, slow, strict=True):
        assert actual.dtype == expected.dtype and actual.shape == expected.shape
        np.testing.assert_array_equal(actual, expected)
