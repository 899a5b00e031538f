"""A closed mesh shows no holes, and the order of its faces does not matter."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from render_scenes import compile_quickly, sphere, take

from gan3d.render import make_topology, orbit_camera, project, rasterize, sphere_mesh

SIZE = (40, 48)


def opacity(fragments):
    margin, surface = fragments.alpha
    return margin + (1 - margin) * surface


@pytest.mark.parametrize("chart", ("octahedral", "azimuthal"))
def test_ball_has_no_holes(chart):
    """A convex solid covers one run of pixels in every row and column, from wherever it is seen.

    The first views are along the axes, where many vertices and edges meet pixel centres.
    """
    vertices, topology = sphere_mesh(17, chart)
    random = np.random.default_rng(0).uniform(-np.pi, np.pi, (40, 3))
    aligned = np.pi / 2 * np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0], [0.5, 0, 0.5]])
    angles = np.concatenate([aligned, random]).astype(np.float32)

    def draw(angles):
        camera = orbit_camera(angles[0], angles[1], angles[2], fov=0.4)
        return rasterize(project(0.9 * vertices, camera, SIZE), topology, SIZE, 1.0)

    fragments = compile_quickly(jax.vmap(draw))(angles)
    covered = np.asarray(fragments.face[:, 1] >= 0)
    for picture in covered:
        assert picture.sum() == pytest.approx(np.pi * 18**2, rel=0.05)
        for lines in (picture, picture.T):
            starts = np.diff(lines.astype(int), axis=1, prepend=0) == 1
            assert starts.sum(axis=1).max() == 1
    if chart == "octahedral":
        # A closed mesh has no margins inside a convex outline: its seams are no silhouettes.
        inside = covered & np.asarray(fragments.alpha[:, 0] > 0)
        assert not inside.any()


def test_pixel_centre_on_a_silhouette_is_covered():
    """Edges through a pixel centre, up to rounding: it falls to the surface or to the margin."""
    rng = np.random.default_rng(0)
    num = 1000
    angle = rng.uniform(0, 2 * np.pi, num)
    along = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    across = np.stack([along[:, 1], -along[:, 0]], axis=-1)
    centre = np.array([11.5, 9.5])
    start = centre - along * rng.uniform(1, 9, (num, 1))
    end = centre + along * rng.uniform(1, 9, (num, 1))
    third = centre + across * rng.uniform(2, 9, (num, 1)) + along * rng.normal(size=(num, 1))
    depth = rng.uniform(2, 3, (num, 3, 1))
    points = np.concatenate([np.stack([start, end, third], axis=1), depth], axis=-1)
    topology = make_topology(np.array([[0, 1, 2]]))

    @compile_quickly
    @jax.vmap
    def at_centre(points):
        return opacity(rasterize(points, topology, (20, 20), 1.0))[9, 11]

    covered = at_centre(points.astype(np.float32))
    np.testing.assert_allclose(covered, 1, atol=1e-5)


def test_order_of_faces_does_not_matter():
    scene = sphere()
    shot = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), scene.shot)
    rng = np.random.default_rng(0)
    faces = rng.permutation(scene.topology.faces)
    turns = rng.integers(0, 3, len(faces))
    faces = np.stack([np.roll(face, turn) for face, turn in zip(faces, turns, strict=True)])
    shuffled = make_topology(faces, scene.topology.uvs, scene.topology.weld)
    images = []
    for topology in (scene.topology, shuffled):
        rendering = compile_quickly(lambda shot, topology=topology: take(shot, topology, 1.0))(shot)
        images.append(np.concatenate([rendering.color, rendering.alpha[..., None]], axis=-1))
    np.testing.assert_allclose(images[0], images[1], atol=1e-5)
