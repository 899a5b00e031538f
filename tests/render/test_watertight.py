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
    order = rng.permutation(scene.topology.num_faces)
    faces = np.asarray(scene.topology.faces)[order]
    turns = rng.integers(0, 3, len(faces))
    faces = np.stack([np.roll(face, turn) for face, turn in zip(faces, turns, strict=True)])
    shuffled = make_topology(faces, scene.topology.uvs, scene.topology.weld)
    images, ids = [], []
    for topology in (scene.topology, shuffled):
        rendering = compile_quickly(lambda shot, topology=topology: take(shot, topology, 1.0))(shot)
        images.append(np.concatenate([rendering.color, rendering.alpha[..., None]], axis=-1))
        ids.append(np.asarray(rendering.fragments.face))
    np.testing.assert_allclose(images[0], images[1], atol=1e-5)
    (margin, surface), (shuffled_margin, shuffled_surface) = ids
    np.testing.assert_array_equal(
        np.where(shuffled_surface >= 0, order[shuffled_surface], -1), surface
    )
    # A pixel closest to a vertex of the outline may take either of two edges.
    np.testing.assert_array_equal(shuffled_margin >= 0, margin >= 0)
    same = np.where(shuffled_margin >= 0, order[shuffled_margin], -1) == margin
    assert same.mean() > 0.95


def lattice_mesh(seed: int):
    """A plane cut into triangles, many of whose corners and edges meet pixel centres exactly.

    Corners lie on the half-integers, so that nothing is rounded; diagonals go either way.
    """
    rng = np.random.default_rng(seed)
    # Steps of 2 with shifts below 1 keep every cell convex.
    x = 2.0 * np.arange(10)[None, :] + rng.choice([-0.5, 0, 0.5], (9, 10))
    y = 2.0 * np.arange(9)[:, None] + rng.choice([-0.5, 0, 0.5], (9, 10))
    depth = 2.0 ** rng.integers(0, 2, (9, 10))
    points = np.stack([x, y, depth], axis=-1).reshape(-1, 3)
    index = np.arange(90).reshape(9, 10)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    one, other = np.stack([a, b, c, a, c, d], -1), np.stack([a, b, d, b, c, d], -1)
    falling = rng.random((8, 9, 1)) < 0.5
    return points, np.where(falling, one, other).reshape(-1, 3)


@pytest.mark.parametrize("bits", (32, 64))
def test_centres_on_shared_edges_and_vertices_are_drawn_once(bits):
    """A second surface would be the same place, drawn again."""
    meshes = [lattice_mesh(seed) for seed in range(20)]
    size = (14, 16)
    points = np.stack([points for points, _ in meshes]) + np.array([-1.0, -1.0, 0.0])
    topologies = [make_topology(faces) for _, faces in meshes]
    topologies = jax.tree.map(lambda *x: np.stack(x), *topologies)

    @compile_quickly
    def draw(points, topologies):
        one = lambda p, t: rasterize(p, t, size, 0.0, num_surfaces=2)  # noqa: E731
        return jax.vmap(one)(points, topologies)

    with jax.enable_x64(bits == 64):
        fragments = draw(jnp.asarray(points, f"float{bits}"), topologies)
        fragments = jax.tree.map(np.asarray, fragments)
    assert (fragments.face[:, 1] >= 0).all(), "a hole"
    assert (fragments.face[:, 3] == -1).all(), "drawn twice"
    assert fragments.barycentric[:, 1].min() >= 0
    # The test means something: exact hits are many.
    assert (fragments.barycentric[:, 1] == 0).any(axis=-1).mean() > 0.2
    assert (fragments.barycentric[:, 1] == 1).any(axis=-1).mean() > 0.05


def test_top_and_left_edges_own_their_pixel_centres():
    """A square whose four sides run through pixel centres."""
    points = np.float32([[2.5, 1.5, 1], [2.5, 5.5, 1], [6.5, 5.5, 1], [6.5, 1.5, 1]])
    topology = make_topology(np.array([[0, 1, 2], [0, 2, 3]]))
    fragments = compile_quickly(lambda p: rasterize(p, topology, (8, 9), 1.0))(points)
    expected = np.zeros((8, 9), bool)
    expected[1:5, 2:6] = True
    np.testing.assert_array_equal(np.asarray(fragments.face[1] >= 0), expected)
    # A centre on the other two sides is in the margin, at distance zero.
    np.testing.assert_allclose(opacity(fragments)[1:6, 2:7], 1)


@pytest.mark.parametrize("radius", (0.3, 0.05, 0.003))
def test_ball_smaller_than_a_pixel_keeps_its_silhouette(radius):
    """It hardly ever covers a centre, yet it is seen: opacity falls with the distance."""
    vertices, topology = sphere_mesh(5)
    middles = np.random.default_rng(0).uniform(3, 6, (50, 2))

    @compile_quickly
    @jax.vmap
    def draw(middle):
        points = radius * vertices + jnp.append(middle, 3.0)[None, :]
        return opacity(rasterize(points, topology, (9, 9), 1.0))

    y, x = np.mgrid[:9, :9] + 0.5
    distance = np.hypot(x - middles[:, :1, None], y - middles[:, 1:, None])
    alpha = np.asarray(draw(np.float32(middles)))
    lowest, highest = (np.clip(1 - distance + r, 0, 1) for r in (0.85 * radius, radius))
    assert (alpha > lowest - 1e-3).all() and (alpha < highest + 1e-3).all()
    assert alpha.sum(axis=(1, 2)).min() > 0.5


def test_sliver_is_a_soft_line(float64):
    """A triangle far thinner than a pixel, across the picture."""
    a, b = np.array([2.2, 3.1]), np.array([15.4, 11.7])
    points = np.array([[*a, 2.0], [*b, 2.0], [a[0] + 1e-6, a[1], 2.0]])
    topology = make_topology(np.array([[0, 1, 2]]))
    fragments = compile_quickly(lambda p: rasterize(p, topology, (16, 18), 1.5))(points)
    pixels = np.stack(np.meshgrid(np.arange(18) + 0.5, np.arange(16) + 0.5), axis=-1)
    along = np.clip((pixels - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    distance = np.linalg.norm(pixels - a - along[..., None] * (b - a), axis=-1)
    np.testing.assert_allclose(opacity(fragments), np.clip(1 - distance / 1.5, 0, 1), atol=1e-5)
