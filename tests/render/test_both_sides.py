"""Without culling a surface is seen from both sides."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from render_scenes import compile_quickly

from gan3d.render import (
    composite,
    interpolate,
    make_topology,
    orbit_camera,
    project,
    rasterize,
    sphere_mesh,
)
from gan3d.render.templates import sheet

SIZE = (24, 24)
FOV = 0.6
FRONT, BACK = 0.4, 0.4 + np.pi


def turned_around(topology):
    """The same surface inside out: corners in the opposite order."""
    return make_topology(np.asarray(topology.faces)[:, ::-1], topology.uvs, topology.weld)


def picture(vertices, topology, yaw, cull):
    """World position and opacity of what shows, and the fragments."""
    points = project(vertices, orbit_camera(yaw, 0.2, fov=FOV), SIZE)
    fragments = rasterize(points, topology, SIZE, 1.5, cull=cull)
    color, alpha = composite(interpolate(vertices, fragments, topology), fragments.alpha)
    return color, alpha, fragments


def test_open_sheet_is_seen_from_both_sides():
    vertices, topology = sheet(2, 3)
    vertices = 0.6 * vertices + 0.1 * np.sin(3 * vertices[:, [1, 2, 0]])
    vertices = jnp.asarray(vertices, jnp.float32)
    yaws = np.float32([FRONT, BACK])

    @compile_quickly
    def views(yaws):
        # One program for both orientations and both views.
        sides = jax.tree.map(lambda *x: jnp.stack(x), topology, turned_around(topology))
        draw = lambda cull: jax.vmap(  # noqa: E731
            lambda t: jax.vmap(lambda yaw: picture(vertices, t, yaw, cull))(yaws)
        )(sides)
        return draw(True), draw(False)

    culled, both = views(yaws)
    alpha = np.asarray(culled[1])
    assert alpha[0, 0].sum() > 60 and not alpha[0, 1].any()
    assert alpha[1, 1].sum() > 60 and not alpha[1, 0].any()
    for side in (0, 1):
        for view in (0, 1):
            color, opacity, fragments = jax.tree.map(lambda x: x[side, view], both)  # noqa: B023
            expected = jax.tree.map(lambda x: x[view, view], culled)  # noqa: B023
            np.testing.assert_allclose(opacity, expected[1], atol=1e-5)
            np.testing.assert_allclose(color, expected[0], atol=1e-4)
            np.testing.assert_array_equal(fragments.face[-1], expected[2].face[-1])
            np.testing.assert_allclose(fragments.depth, expected[2].depth, atol=1e-4)


def bowl():
    """The far half of a ball, open towards the camera at yaw = pitch = 0; radius 1."""
    vertices, topology = sphere_mesh(17)
    keep = vertices[np.asarray(topology.faces)][..., 2].min(axis=1) > -1e-6
    return vertices, make_topology(np.asarray(topology.faces)[keep], topology.uvs, topology.weld)


def test_bowl_shows_its_inside():
    vertices, topology = bowl()
    camera = orbit_camera(0.0, fov=FOV)
    distance = float(camera.translation[2])

    def draw(cull):
        points = project(0.8 * vertices, camera, SIZE)
        return rasterize(points, topology, SIZE, 1.5, cull=cull)

    outside, both = compile_quickly(lambda: (draw(True), draw(False)))()
    assert not np.asarray(outside.face[-1] >= 0)[4:-4, 4:-4].any()
    # A ray t (x, y, 1) leaves the ball of radius 0.8 about (0, 0, distance) at the larger root.
    focal = float(camera.focal[0])
    y, x = ((np.mgrid[:24, :24] + 0.5) / 12 - 1) / focal
    square = x**2 + y**2 + 1
    root = distance**2 - square * (distance**2 - 0.8**2)
    depth = (distance + np.sqrt(np.maximum(root, 0))) / square
    inside = root > 0.05
    assert inside.sum() > 150
    assert np.asarray(both.face[-1] >= 0)[inside].all()
    np.testing.assert_allclose(np.asarray(both.depth[-1])[inside], depth[inside], atol=0.03)
    rim = np.asarray(both.alpha[0] > 0) & (root < 0)
    assert rim.sum() > 30


def test_closed_ball_looks_the_same_with_its_back_faces():
    """They lie behind, and the edge where front turns to back is one silhouette, not two."""
    vertices, topology = sphere_mesh(9)
    vertices = np.float32(vertices * (0.7 + 0.1 * np.cos(5 * vertices[:, :1])))

    def total(vertices, yaw, cull):
        color, alpha, fragments = picture(vertices, topology, yaw, cull)
        loss = (color * np.float32([[[0, 1, 2]]])).sum() + (alpha**2).sum()
        return loss, (color, alpha, fragments.face[-1])

    @compile_quickly
    @jax.vmap
    def run(yaw):
        slope = jax.grad(total, has_aux=True)
        return slope(vertices, yaw, True), slope(vertices, yaw, False)

    (slope, culled), (slope_both, both) = run(np.float32([0.0, 0.7]))
    color, alpha, face = culled
    assert (((alpha > 0) & (alpha < 1)).sum(axis=(1, 2)) > 20).all()
    np.testing.assert_allclose(both[1], alpha, atol=1e-5)
    np.testing.assert_allclose(both[0], color, atol=1e-4)
    np.testing.assert_array_equal(both[2], face)
    # Copies of a welded vertex share what reaches them: their sum is what counts.
    sums = np.zeros((2, 2, *vertices.shape))
    np.add.at(sums, (slice(None), slice(None), topology.weld), np.stack([slope, slope_both]))
    np.testing.assert_allclose(sums[1], sums[0], atol=1e-3 * np.abs(sums[0]).max())


def test_fold_has_a_silhouette_where_front_turns_to_back(float64):
    """A roof seen from its side: one half shows its front, the other, behind it, its back."""
    points = np.array([[4.0, 2, 3], [4, 14, 3], [12, 2, 2], [12, 14, 2], [2, 2, 4], [2, 14, 4]])
    faces = np.array([[0, 1, 2], [1, 3, 2], [2, 3, 4], [3, 5, 4]])
    topology = make_topology(faces)
    draw = compile_quickly(lambda p: rasterize(p, topology, (16, 16), 2.0, cull=False))
    fragments = draw(points)
    margin, surface = np.asarray(fragments.alpha)
    np.testing.assert_array_equal(surface[8], [0, 0] + [1] * 10 + [0] * 4)
    expected = np.zeros(16)
    expected[12:14] = 1 - np.array([0.5, 1.5]) / 2
    # The border of the front half lies before the back half, which goes on to x = 2.
    expected[2:4] = 1 - np.array([1.5, 0.5]) / 2
    expected[:2] = [1 - 1.5 / 2, 1 - 0.5 / 2]
    np.testing.assert_allclose(margin[8], expected, atol=1e-9)
    np.testing.assert_array_equal(np.asarray(fragments.face[1, 8]) >= 2, [0, 0, 1, 1] + [0] * 12)
