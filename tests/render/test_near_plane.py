"""Faces that cross the near plane show exactly their part before it; the far plane cuts pixels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from render_scenes import compile_quickly, smooth_noise

from gan3d.render import Camera, composite, interpolate, make_topology, project, rasterize
from gan3d.render.templates import sphere_mesh

SIZE = (20, 24)
NEAR, FAR, MARGIN = 0.2, 2.4, 1.5
FOCAL = 1.3
WEIGHTS = smooth_noise(3, *SIZE, 4)


def camera(dtype=np.float64) -> Camera:
    """At the world's origin: world and camera axes are the same."""
    arrays = (np.eye(3), np.zeros(3), np.full(2, FOCAL), np.zeros(2))
    return Camera(*(a.astype(dtype) for a in arrays))


def soup_and_ball():
    """A ball that the near plane cuts open, and triangles around the eye in all orientations."""
    ball, topology = sphere_mesh(5)
    dents = 1 + 0.1 * np.random.default_rng(0).normal(size=(len(ball), 1))[topology.weld]
    ball = 0.6 * ball * dents + np.array([0.75, 0.1, 0.55])
    rng = np.random.default_rng(4)
    centres = rng.uniform(-1, 1, (8, 1, 3)) * np.array([1.0, 1.0, 0.3]) + np.array([0, 0, 0.9])
    soup = (centres + rng.normal(size=(8, 3, 3)) * np.array([0.5, 0.5, 0.8])).reshape(-1, 3)
    vertices = np.concatenate([ball, soup])
    faces = np.concatenate([topology.faces, len(ball) + np.arange(24).reshape(8, 3)])
    weld = np.concatenate([topology.weld, len(ball) + np.arange(24)])
    return vertices, make_topology(faces, weld=weld)


def cut_by_hand(vertices, topology):
    """Every face cut at the near plane into triangles before it.

    Returns:
      (ends [N, 2]: new vertex n lies between these two old ones, on the plane if they differ;
      topology of the new mesh; old face of each new one; [M, 2] new vertices on each cut).
    """
    weld = np.asarray(topology.weld)
    new, ends, new_weld = {}, [], []

    def vertex(i, j):
        # The copies of a vertex keep their own places: the mesh is closed as the old one is.
        if (i, j) not in new:
            new[i, j] = len(ends)
            ends.append((i, j))
            key = tuple(sorted((weld[i], weld[j])))
            new_weld.append(welded.setdefault(key, new[i, j]))
        return new[i, j]

    welded, faces, parents, cuts = {}, [], [], []
    before = vertices[:, 2] > NEAR
    for parent, face in enumerate(np.asarray(topology.faces)):
        polygon, on_cut = [], []
        for i, j in zip(face, np.roll(face, -1), strict=True):
            if before[i]:
                polygon.append(vertex(i, i))
            if before[i] != before[j]:
                polygon.append(vertex(min(i, j), max(i, j)))
                on_cut.append(polygon[-1])
        faces += [[polygon[0], *polygon[k : k + 2]] for k in range(1, len(polygon) - 1)]
        parents += [parent] * max(len(polygon) - 2, 0)
        cuts += [on_cut] if on_cut else []
    faces, ends = np.array(faces), np.array(ends)
    cut = make_topology(faces, weld=np.array(new_weld), num_vertices=len(ends))
    return ends, cut, np.array(parents), np.array(cuts)


def new_vertices(vertices, ends):
    """Places of the new vertices; differentiable."""
    a, b = vertices[ends[:, 0]], vertices[ends[:, 1]]
    same = ends[:, :1] == ends[:, 1:]
    share = (NEAR - a[:, 2:]) / jnp.where(same, 1, b[:, 2:] - a[:, 2:])
    return jnp.where(same, a, a + share * (b - a))


def away_from(cuts):
    """Pixels whose margins no cut's projection reaches."""
    x, y = np.meshgrid(np.arange(SIZE[1]) + 0.5, np.arange(SIZE[0]) + 0.5)
    away = np.ones(SIZE, bool)
    for a, b in cuts[..., :2]:
        away &= distance_to_segment(np.stack([x, y], -1), a, b) > MARGIN + 1e-6
    return away


def distance_to_segment(p, a, b):
    along = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    return np.linalg.norm(p - a - along[..., None] * (b - a), axis=-1)


def draw(vertices, topology):
    """(colour, alpha) that depend on all of a vertex's coordinates, and the fragments."""
    points = project(vertices, camera(), SIZE)
    fragments = rasterize(points, topology, SIZE, MARGIN, cull=False, near=NEAR, far=FAR)
    values = interpolate(vertices, fragments, topology)
    background = 0.5 * smooth_noise(1, *SIZE, 3)
    color, alpha = composite(values, fragments.alpha, background)
    return jnp.concatenate([color, alpha[..., None]], axis=-1), fragments


def test_equals_the_mesh_cut_by_hand_and_finite_differences(float64):
    vertices, topology = soup_and_ball()
    ends, cut_topology, parents, cuts = cut_by_hand(vertices, topology)
    assert len(cuts) >= 8 and (vertices[:, 2] < 0).sum() >= 4
    cut_points = np.asarray(project(new_vertices(vertices, ends), camera(), SIZE))
    away = away_from(cut_points[cuts])
    assert away.mean() > 0.2

    def whole(vertices):
        picture, fragments = draw(vertices, topology)
        return (WEIGHTS * away[..., None] * picture).sum(), (picture, fragments)

    def by_hand(vertices):
        picture, fragments = draw(new_vertices(vertices, ends), cut_topology)
        return (WEIGHTS * away[..., None] * picture).sum(), (picture, fragments)

    @compile_quickly
    def evaluate(batch):
        slope = jax.value_and_grad(whole, has_aux=True)
        # A map and not a batch: every picture is the result of the same program.
        return jax.lax.map(slope, batch), jax.value_and_grad(by_hand, has_aux=True)(vertices)

    rng = np.random.default_rng(1)
    directions = rng.normal(size=(6, *vertices.shape))[:, topology.weld]
    step = 1e-7
    moved = vertices + step * np.concatenate([directions, -directions])
    results, ((_, (picture, fragments)), slope) = evaluate(np.concatenate([vertices[None], moved]))
    (values, (pictures, whole_fragments)), slopes = results

    np.testing.assert_allclose(pictures[0][away], picture[away], atol=1e-9)
    expected = np.where(fragments.face >= 0, parents[fragments.face], -1)
    np.testing.assert_array_equal(whole_fragments.face[0, -1][away], expected[-1][away])
    margin_away = (np.asarray(fragments.alpha[0]) > 0) & away
    crossing = (vertices[topology.faces][..., 2] <= NEAR).any(axis=1)
    assert margin_away.sum() > 10
    assert np.isin(expected[:, away], np.flatnonzero(crossing)).sum() > 20
    scale = np.abs(slope).max()
    assert scale > 1
    np.testing.assert_allclose(slopes[0], slope, atol=1e-8 * scale)

    measured = (values[1:7] - values[7:]) / (2 * step)
    unchanged = (whole_fragments.face == whole_fragments.face[:1]).all(axis=(1, 2, 3))[1:]
    same = np.asarray(unchanged).reshape(2, 6).all(axis=0)
    assert sum(same) >= 3
    products = np.tensordot(directions, slopes[0], axes=2)
    np.testing.assert_allclose(measured[same], products[same], rtol=1e-4, atol=1e-4)


GROUND = np.array([[-3.0, 0.4, -2.0], [-3.0, 0.4, 5.0], [3.0, 0.4, 5.0], [3.0, 0.4, -2.0]])
STRIP = np.array([[-0.5, 0.4, -0.7], [-0.1, 0.4, 2.0], [0.6, 0.4, 1.4], [0.4, 0.4, -0.4]])
GROUND_FACES = make_topology(np.array([[0, 2, 1], [0, 3, 2]]))


@compile_quickly
def draw_ground(vertices):
    points = project(vertices, camera(vertices.dtype), SIZE)
    return rasterize(points, GROUND_FACES, SIZE, MARGIN, near=NEAR, far=FAR, cull=False)


def plane_depth(height):
    """Depth of the ground at the pixel centres, in closed form."""
    half = SIZE[0] / 2
    rise = (np.arange(SIZE[0]) + 0.5 - half) / (half * FOCAL)
    depth = np.where(rise > 0, height / np.where(rise > 0, rise, 1), np.inf)
    return np.broadcast_to(depth[:, None], SIZE)


@pytest.mark.parametrize("turned", (False, True))
def test_ground_from_behind_the_eye_in_closed_form(turned, float64):
    vertices = GROUND[::-1] if turned else GROUND
    fragments = draw_ground(vertices)
    depth = plane_depth(0.4)
    x = (np.arange(SIZE[1]) + 0.5 - SIZE[1] / 2) / (SIZE[0] / 2 * FOCAL) * depth
    shown = (depth > NEAR) & (depth < FAR) & (np.abs(x) < 3)
    assert 30 < shown.sum() < shown.size / 2
    np.testing.assert_array_equal(np.asarray(fragments.face[-1] >= 0), shown)
    np.testing.assert_allclose(fragments.depth[-1][shown], depth[shown], rtol=1e-9)


def test_margins_of_edges_that_cross_the_plane(float64):
    """Beside its long edges, which start behind the eye, a strip fades with the distance."""
    fragments = draw_ground(STRIP)
    alpha, surface = np.asarray(fragments.alpha)
    pixels = np.stack(np.meshgrid(np.arange(SIZE[1]) + 0.5, np.arange(SIZE[0]) + 0.5), -1)
    outlines = []
    for a, b in ((0, 1), (1, 2), (2, 3)):
        ends = STRIP[[a, b]]
        share = (NEAR - ends[0, 2]) / (ends[1, 2] - ends[0, 2])
        ends = np.where(ends[:, 2:] < NEAR, ends[0] + share * (ends[1] - ends[0]), ends)
        outlines.append(np.asarray(project(ends, camera(), SIZE))[:, :2])
    distance = np.min([distance_to_segment(pixels, *ends) for ends in outlines], axis=0)
    expected = np.where(surface > 0, 0, np.clip(1 - distance / MARGIN, 0, 1))
    # Below the cut itself there is nothing to fade: the outline is open there.
    cut = [outlines[0], outlines[2]]
    lowest = max(ends[:, 1].max() for ends in cut)
    above = pixels[..., 1] < lowest - MARGIN
    assert (expected[above] > 0).sum() > 12
    np.testing.assert_allclose(alpha[above], expected[above], atol=1e-9)


def test_far_plane_cuts_each_pixel(float64):
    vertices = np.array([[-9.0, -9.0, 1.0], [-9.0, 9.0, 1.0], [9.0, 9.0, 4.0], [9.0, -9.0, 4.0]])
    fragments = draw_ground(vertices)
    shown = np.asarray(fragments.face[-1] >= 0)
    # The plane z = 2.5 + x / 6; the ray x = r z meets it at 2.5 / (1 - r / 6).
    ray = (np.arange(SIZE[1]) + 0.5 - SIZE[1] / 2) / (SIZE[0] / 2 * FOCAL)
    depth = np.broadcast_to(2.5 / (1 - ray / 6), SIZE)
    np.testing.assert_array_equal(shown, depth < FAR)
    assert 50 < shown.sum() < shown.size - 50
    np.testing.assert_allclose(fragments.depth[-1][shown], depth[shown], rtol=1e-9)


@pytest.mark.parametrize("depth", (0.0, 1e-9, -1e-9, 1e-5, NEAR))
def test_vertex_in_the_plane_of_the_eye(depth, float64):
    """A vertex beside the eye, at depth zero, has no place on the screen; its faces have."""
    vertices = np.array(GROUND)
    vertices[[0, 3], 2] = depth
    fragments = draw_ground(vertices)
    plain = draw_ground(GROUND)
    np.testing.assert_array_equal(fragments.face[-1] >= 0, plain.face[-1] >= 0)
    np.testing.assert_allclose(fragments.depth[-1], plain.depth[-1], rtol=1e-3)


@pytest.mark.parametrize("behind", (-2.0, -0.1, -0.001))
def test_float32_sees_the_same_ground(behind):
    vertices = np.float32(GROUND)
    vertices[[0, 3], 2] = behind
    fragments = draw_ground(vertices)
    depth = plane_depth(0.4)
    shown = np.asarray(fragments.face[-1] >= 0)
    inside = (depth > NEAR) & (depth < FAR)
    inside &= np.abs(np.arange(SIZE[1]) + 0.5 - SIZE[1] / 2)[None, :] * depth < 2.9 * 13
    assert (shown == inside)[:, 2:-2].all()
    np.testing.assert_allclose(fragments.depth[-1][shown], depth[shown], rtol=1e-3)
