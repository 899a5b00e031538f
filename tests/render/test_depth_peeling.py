"""More surfaces than one: layers from front to back, each with the margins before it."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest
from render_scenes import compile_quickly, smooth_noise, sphere

from gan3d.render import composite, make_topology, orbit_camera, project, rasterize

SIZE = (16, 18)
MARGIN = 1.5
# Rectangles parallel to the screen: middle, half width and height in pixels, depth.
# No pixel lies in the margins of all three: there are two between one surface and the next.
MIDDLES = np.array([[6.7, 6.2], [9.9, 7.1], [10.0, 6.8]])
HALVES = np.array([[5.7, 5.4], [4.9, 4.7], [4.9, 3.6]])
DEPTHS = np.array([2.0, 2.5, 4.0])
ORDERS = np.array(list(itertools.permutations(range(3))))


def sheets():
    """Points [12, 3] of the three rectangles, and their topologies in every order of the faces."""
    corners = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])
    flat = MIDDLES[:, None] + HALVES[:, None] * corners
    depth = np.broadcast_to(DEPTHS[:, None, None], (3, 4, 1))
    points = np.concatenate([flat, depth], axis=-1).reshape(-1, 3)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    topologies = [
        make_topology(np.concatenate([faces + 4 * sheet for sheet in order])) for order in ORDERS
    ]
    return points, jax.tree.map(lambda *x: np.stack(x), *topologies)


def coverage():
    """[3, H, W] opacity of each rectangle alone: 1 inside, falling with the distance outside."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    pixels = np.stack([x, y], axis=-1)
    excess = np.abs(pixels - MIDDLES[:, None, None]) - HALVES[:, None, None]
    return np.clip(1 - np.linalg.norm(np.maximum(excess, 0), axis=-1) / MARGIN, 0, 1)


@pytest.fixture(scope="module")
def peeled():
    """Fragments [order, K 3, H, W] with K = 1 and 4 surfaces of two margins each."""
    points, topologies = sheets()

    @compile_quickly
    def draw(points, topologies):
        return [
            jax.vmap(lambda t: rasterize(points, t, SIZE, MARGIN, num_surfaces=k))(topologies)  # noqa: B023
            for k in (1, 4)
        ]

    with jax.enable_x64(True):
        return [jax.tree.map(np.asarray, fragments) for fragments in draw(points, topologies)]


def test_surfaces_come_from_front_to_back(peeled):
    fragments = peeled[1]
    inside = coverage() == 1
    assert inside.all(axis=0).sum() > 5
    for order, faces, depths, alphas in zip(
        ORDERS, fragments.face, fragments.depth, fragments.alpha, strict=True
    ):
        for row, column in np.ndindex(SIZE):
            expected = np.flatnonzero(inside[:, row, column])
            got = faces[2::3, row, column]
            sheet = np.where(got >= 0, order[got // 2], -1)
            np.testing.assert_array_equal(sheet, [*expected, *[-1] * (4 - len(expected))])
            near_to_far = depths[2::3, row, column][: len(expected)]
            np.testing.assert_allclose(near_to_far, DEPTHS[expected], rtol=1e-9)
        np.testing.assert_array_equal(alphas[2::3], faces[2::3] >= 0)


def test_margins_lie_between_the_surfaces(peeled):
    """Every margin's depth is that of a rectangle before its surface and behind the previous."""
    fragments = peeled[1]
    shape = (len(ORDERS), 1, *SIZE)
    surface = np.where(fragments.face[:, 2::3] >= 0, fragments.depth[:, 2::3], np.inf)
    before = np.concatenate([np.zeros(shape), surface[:, :-1]], axis=1)
    for m in (0, 1):
        margin, shown = fragments.depth[:, m::3], fragments.alpha[:, m::3] > 0
        assert (shown.sum(axis=(0, 2, 3)) >= ((60, 60, 60, 0) if m == 0 else (60, 30, 0, 0))).all()
        assert ((before < margin) & (margin < surface))[shown].all()
    assert (fragments.depth[:, 0::3] <= fragments.depth[:, 1::3])[
        fragments.alpha[:, 1::3] > 0
    ].all()


@pytest.mark.parametrize("opacity", (0.3, 1.0))
def test_composite_of_translucent_layers_is_the_analytic_mix(peeled, opacity):
    """Rectangles over one another with opacities of their own, whatever the order of the faces."""
    colors = smooth_noise(0, 1, 3, 3)[0]
    background = smooth_noise(1, *SIZE, 3)
    expected = background
    for color, share in reversed(list(zip(colors, opacity * coverage(), strict=True))):
        expected = share[..., None] * color + (1 - share[..., None]) * expected
    expected_alpha = 1 - np.prod(1 - opacity * coverage(), axis=0)
    fragments = peeled[1]
    for order, faces, alphas in zip(ORDERS, fragments.face, fragments.alpha, strict=True):
        values = np.where((faces >= 0)[..., None], colors[order[faces // 2]], 0)
        with jax.enable_x64(True):
            color, alpha = composite(values, opacity * alphas, background)
        np.testing.assert_allclose(color, expected, atol=1e-9)
        np.testing.assert_allclose(alpha, expected_alpha, atol=1e-9)


def test_first_layers_do_not_depend_on_how_many_there_are(peeled):
    one, four = peeled
    for a, b in zip(one, four, strict=True):
        np.testing.assert_allclose(a, b[:, :3], rtol=1e-12)
    # There are three rectangles: a fourth surface is empty.
    assert (four.face[:, -1] == -1).all() and not four.alpha[:, -1].any()


def test_closed_ball_shows_its_front_and_its_back(float64):
    """A ray enters and leaves it; culling leaves only the entry."""
    scene = sphere()
    points = project(scene.shot.vertices, orbit_camera(0.1, fov=0.8), SIZE)
    peel = compile_quickly(
        lambda p: rasterize(p, scene.topology, SIZE, 1.0, num_surfaces=3, cull=False)
    )
    fragments = jax.tree.map(np.asarray, peel(points))
    front, back, none = fragments.face[1::2]
    assert (front >= 0).sum() > 60 and (none == -1).all()
    np.testing.assert_array_equal(front >= 0, back >= 0)
    covered = front >= 0
    assert (fragments.depth[1] < fragments.depth[3])[covered].all()
    a, b, c = np.moveaxis(np.asarray(points)[scene.topology.faces][..., :2], 1, 0)
    areas = np.linalg.det(np.stack([b - a, c - a], axis=-1))
    assert (areas[front[covered]] < 0).all() and (areas[back[covered]] > 0).all()
    # Its outline lies before the first surface or before nothing.
    assert not (fragments.alpha[[2, 4]] > 0).any()
