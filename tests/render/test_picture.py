"""Texture look-up, compositing, and what `render` makes of them."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from render_scenes import compile_quickly, smooth_noise

import gan3d.render
from gan3d.render import (
    Fragments,
    composite,
    interpolate,
    make_topology,
    orbit_camera,
    sample_texture,
)

rasterize = compile_quickly(gan3d.render.rasterize, static_argnums=(2, 3))
render = compile_quickly(gan3d.render.render, static_argnums=(4,))


def pixel_centres(height, width):
    v, u = np.meshgrid(
        (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij"
    )
    return np.float32(np.stack([u, v], axis=-1))


def quad(depth=0.0):
    """The square from -1 to 1, facing the camera, textured upright; seen whole at any distance."""
    vertices = np.float32([[-1, -1, depth], [-1, 1, depth], [1, 1, depth], [1, -1, depth]])
    uvs = np.array([[0, 0], [0, 1], [1, 1], [1, 0]])
    return vertices, make_topology(np.array([[0, 1, 2], [0, 2, 3]]), uvs)


def test_texel_centres_give_the_texels():
    texture = np.float32(smooth_noise(0, 5, 7, 3))
    np.testing.assert_allclose(sample_texture(texture, pixel_centres(5, 7)), texture, atol=1e-5)


def test_between_texel_centres_the_texture_is_bilinear():
    texture = np.float32([[[0], [1]], [[2], [5]]])
    uv = np.float32([0.25 + 0.5 * 0.3, 0.25 + 0.5 * 0.6])
    expected = 0.4 * (0.7 * 0 + 0.3 * 1) + 0.6 * (0.7 * 2 + 0.3 * 5)
    np.testing.assert_allclose(sample_texture(texture, uv), [expected], rtol=1e-5)


def test_beyond_the_outer_texel_centres_the_border_continues():
    texture = np.float32(smooth_noise(0, 4, 4, 2))
    for uv, texel in (([0, 0], (0, 0)), ([-3, 0.0], (0, 0)), ([1, 1], (3, 3)), ([2, -5], (0, 3))):
        np.testing.assert_allclose(sample_texture(texture, np.float32(uv)), texture[texel])


def test_single_texel_is_a_constant():
    np.testing.assert_allclose(
        sample_texture(np.full((1, 1, 3), 0.3, np.float32), pixel_centres(2, 3)), 0.3, rtol=1e-6
    )


def test_upright_square_shows_its_texture():
    vertices, topology = quad()
    texture = np.float32(smooth_noise(1, 12, 12, 3))
    rendering = render(vertices, topology, texture, orbit_camera(0.0), (12, 12))
    np.testing.assert_allclose(rendering.color, texture, atol=1e-4)
    np.testing.assert_array_equal(rendering.alpha, np.ones((12, 12)))


def test_tilted_square_is_textured_in_perspective():
    """A pixel's texture coordinate is where its ray meets the plane."""
    vertices, topology = quad()
    vertices = vertices + np.float32([[0, 0, 1]]) * vertices[:, :1]
    camera = orbit_camera(0.0, fov=0.9)
    texture = np.ones((1, 1, 1), np.float32)
    fragments = render(vertices, topology, texture, camera, (16, 16)).fragments
    where = interpolate(jnp.asarray(vertices), fragments, topology)[1]
    found = np.asarray(fragments.face[1] >= 0)
    assert found.sum() > 100
    # A point of the mesh at the pixel projects to the pixel's centre and has the pixel's depth.
    depth = np.asarray(fragments.depth[1])
    x = np.asarray(where[..., 0]) * 8 * float(camera.focal[0]) / np.where(found, depth, 1) + 8
    columns = np.broadcast_to(np.arange(16) + 0.5, (16, 16))
    np.testing.assert_allclose(x[found], columns[found], atol=1e-3)
    distance = float(camera.translation[2])
    np.testing.assert_allclose(np.asarray(where[..., 2])[found] + distance, depth[found], rtol=1e-5)


@pytest.mark.parametrize("turned", (False, True))
def test_only_front_faces_are_drawn(turned):
    vertices, topology = quad()
    faces = topology.faces[:, ::-1] if turned else topology.faces
    normal = np.cross(*(vertices[faces[0, k]] - vertices[faces[0, 0]] for k in (1, 2)))
    assert (normal[2] < 0) == (not turned)  # towards the camera
    flipped = make_topology(faces, topology.uvs)
    rendering = render(vertices, flipped, np.ones((1, 1, 1), np.float32), orbit_camera(0.0), (6, 6))
    assert rendering.alpha.any() == (not turned)


def test_nearer_face_hides_the_farther_one():
    near, far = quad(-0.5)[0] * np.float32([0.5, 0.5, 1]), quad(0.5)[0] * np.float32([2, 2, 1])
    faces = np.array([[4, 5, 6], [4, 6, 7], [0, 1, 2], [0, 2, 3]])
    topology = make_topology(faces)
    points = np.concatenate([near, far]) * np.float32([4, 4, 1]) + np.float32([4, 4, 3])
    fragments = rasterize(points, topology, (8, 8), 0.0)
    inner = np.zeros((8, 8), bool)
    inner[2:6, 2:6] = True
    np.testing.assert_array_equal(np.isin(fragments.face[-1], (2, 3)), inner)
    np.testing.assert_array_equal(np.isin(fragments.face[-1], (0, 1)), ~inner)
    np.testing.assert_allclose(fragments.depth[-1], np.where(inner, 2.5, 3.5), rtol=1e-6)
    assert (fragments.face[:-1] == -1).all() and not fragments.alpha[:-1].any()


def test_empty_layers_hold_zeros():
    vertices, topology = quad()
    points = vertices * np.float32([2, 2, 1]) + np.float32([4, 4, 3])
    fragments = rasterize(points, topology, (8, 9), 1.0)
    empty = np.asarray(fragments.face < 0)
    assert isinstance(fragments, Fragments) and fragments.face.dtype == jnp.int32
    for values in fragments[1:]:
        assert not np.asarray(values)[empty].any()
    sums = np.asarray(fragments.barycentric.sum(axis=-1))
    np.testing.assert_allclose(sums, ~empty, atol=1e-6)
    assert not np.asarray(interpolate(vertices + 1, fragments, topology))[empty].any()


def test_composite_mattes_front_over_back_over_background():
    values = np.float32([[[[1.0]]], [[[10.0]]]])
    background = np.full((1, 1, 1), 100, np.float32)
    for front, back in ((0.3, 1.0), (0.3, 0.0), (0.0, 1.0), (0.0, 0.0)):
        alpha = np.float32([[[front]], [[back]]])
        color, opacity = composite(values, alpha, background)
        weights = front, (1 - front) * back, (1 - front) * (1 - back)
        expected = np.dot(weights, [1, 10, 100])
        np.testing.assert_allclose(color[0, 0, 0], expected, rtol=1e-6)
        np.testing.assert_allclose(opacity[0, 0], 1 - weights[2], rtol=1e-6)
        alone, same_opacity = composite(values, alpha)
        own = np.dot(weights[:2], [1, 10]) / (1 - weights[2]) if weights[2] < 1 else 0
        np.testing.assert_allclose(alone[0, 0, 0], own, rtol=1e-6)
        np.testing.assert_array_equal(opacity, same_opacity)
