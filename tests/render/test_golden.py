"""Images and gradients against numbers of the renderer that the paper's first author published.

The two renderers define the margin differently in two situations (see `authors_renderer.py`), and
a golden gradient sums over all pixels. So three links are tested instead of one: a model of theirs
reproduces the golden images and gradients at every pixel; our image equals the golden image
wherever the definitions coincide; and our gradient equals the model's if the loss looks at those
pixels only. Where the definitions coincide on all of an image, that is the golden gradient.
"""

from __future__ import annotations

import dataclasses
import functools

import authors_renderer
import golden_scenes
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_scenes import picture
from render_scenes import compile_quickly

from gan3d.render import rasterize

# Scenes, and how many of their pixels show different margins by definition.
DIFFERENT_PIXELS = {
    "01_tri_persp_m1": 0,
    "03_tri_ortho_m2": 0,
    "05_two_tri_m0": 0,
    "06_two_tri_m2": 58,
    "08_outside_m1": 0,
    "10_soup_m1": 123,
    "11_sphere17_uv_m1_bcg": 18,
    "12_sphere33_uv_m2_bcgimg": 154,
    "14_head65_mesh_m1": 28,
    "18_sheet_outside_uv_m1": 7,
}
SPECIAL = ("90_quirk_aligned_tie_m1", "92_quirk_degenerate_m1")


class Compared:
    """One golden scene, drawn by our renderer and by the model of theirs."""

    def __init__(self, name: str):
        scene = golden_scenes.load(name)
        size, margin = scene.image_size, scene.margin_pixels
        points = golden_scenes.screen_points(scene)
        self.scene = scene = without_faces_at_the_near_plane(scene, points)
        self.choice = authors_renderer.choose(points, scene.topology.faces, size, margin)

        @compile_quickly
        def ours(variables, weights):
            rasterizer = lambda points: rasterize(points, scene.topology, size, margin)  # noqa: E731
            draw = functools.partial(picture, scene, rasterizer=rasterizer)
            image, pullback, fragments = jax.vjp(draw, variables, has_aux=True)
            return image, fragments.alpha, pullback(weights)[0]

        self.image, alpha, _ = ours(scene.variables, scene.weights)
        *margin_alpha, surface_alpha = np.asarray(alpha)
        over_surface = ((margin_alpha[0] > 0) | (scene.margin_alpha > 0)) & (surface_alpha > 0)
        over_margin = sum(alpha > 0 for alpha in margin_alpha) > 1
        self.coincide = ~over_surface & ~over_margin & ~self.choice.differs
        self.agreed_weights = scene.weights * self.coincide[..., None]
        _, _, self.gradient = ours(scene.variables, self.agreed_weights)

    @functools.cached_property
    def model(self):
        """(image, gradient of all pixels, gradient of those that coincide), in float64."""
        scene = self.scene

        @compile_quickly
        def theirs(variables, weights):
            def shade(points):
                return authors_renderer.shade(
                    points, self.choice, scene.topology, scene.margin_pixels
                )

            draw = functools.partial(picture, scene, rasterizer=shade, surface_first=scene.textured)
            image, pullback, _ = jax.vjp(draw, variables, has_aux=True)
            return image, jax.vmap(lambda w: pullback(w)[0])(weights)

        with jax.enable_x64(True):
            variables, weights = jax.tree.map(
                lambda x: np.asarray(x, float),
                (scene.variables, np.stack([scene.weights, self.agreed_weights])),
            )
            image, gradients = theirs(variables, weights)
            gradients = jax.tree.map(np.asarray, gradients)
        return image, *(jax.tree.map(lambda x, i=i: x[i], gradients) for i in range(2))


def without_faces_at_the_near_plane(scene, points):
    """Theirs drops a face with a vertex nearer than 1e-3, ours clips it."""
    faces = scene.topology.faces
    kept = np.asarray(points)[faces][..., 2].min(axis=1) >= 1e-3
    topology = dataclasses.replace(scene.topology, faces=np.where(kept[:, None], faces, 0))
    return dataclasses.replace(scene, topology=topology)


compared = functools.lru_cache(maxsize=None)(Compared)


def assert_gradients_close(actual, expected, topology, tolerance):
    """Relative to the largest entry; the gradients of welded vertices are added up.

    (A pixel whose closest point is a seam vertex may credit either copy of the vertex.)
    """
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        one, other = np.asarray(one, float), np.asarray(other, float)
        if one.shape == (topology.num_vertices, 3):
            one, other = (_sum_welded(x, topology.weld) for x in (one, other))
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(other).max())


def _sum_welded(gradient, weld):
    total = np.zeros_like(gradient)
    np.add.at(total, weld, gradient)
    return total


@pytest.mark.parametrize("name", DIFFERENT_PIXELS)
def test_model_of_their_renderer_is_exact(name):
    case = compared(name)
    image, gradient, _ = case.model
    np.testing.assert_allclose(image, case.scene.image, rtol=0, atol=1e-4)
    assert_gradients_close(gradient, case.scene.gradient, case.scene.topology, 1e-3)


@pytest.mark.parametrize("name", DIFFERENT_PIXELS)
def test_image_equals_golden(name):
    case = compared(name)
    assert (~case.coincide).sum() <= DIFFERENT_PIXELS[name]
    difference = np.abs(case.image - case.scene.image)[case.coincide]
    assert difference.max() < 1e-4


@pytest.mark.parametrize("name", DIFFERENT_PIXELS)
def test_gradient_equals_golden(name):
    case = compared(name)
    _, _, expected = case.model
    assert_gradients_close(case.gradient, expected, case.scene.topology, 1e-3)
    if case.coincide.all():
        assert_gradients_close(case.gradient, case.scene.gradient, case.scene.topology, 1e-3)


@pytest.mark.parametrize("name", SPECIAL)
def test_ties_and_degenerate_faces_are_finite_and_sensible(name):
    case = compared(name)
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves((case.image, case.gradient)))
    np.testing.assert_allclose(case.image, case.scene.image, rtol=0, atol=1e-4)
