"""The custom backward against central differences of the renderer itself, in float64."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
from render_scenes import (
    IMAGE_SIZE,
    SCENES,
    Shot,
    compile_quickly,
    decisions,
    random_direction,
    smooth_noise,
    take,
)

STEPS = (1e-5, 1e-6)
WEIGHTS = smooth_noise(7, *IMAGE_SIZE, 4)


@functools.cache
def scene_and_evaluate(name, margin_pixels):
    """A scene and shot -> ((loss, (choices, alpha)), gradient), compiled once for all the tests."""
    scene = SCENES[name](seed=1)

    @compile_quickly
    def evaluate(shot):
        def loss(shot):
            rendering = take(shot, scene.topology, margin_pixels)
            image = jax.numpy.concatenate([rendering.color, rendering.alpha[..., None]], axis=-1)
            choices = decisions(rendering, shot, scene.topology)
            return (WEIGHTS * image).sum(), (choices, rendering.fragments.alpha)

        return jax.value_and_grad(loss, has_aux=True)(shot)

    return scene, evaluate


@pytest.mark.parametrize("margin_pixels", (1.0, 2.0))
@pytest.mark.parametrize("name", SCENES)
def test_gradient_is_the_slope_along_random_directions(name, margin_pixels, float64):
    scene, evaluate = scene_and_evaluate(name, margin_pixels)
    (_, (choices, _)), gradient = evaluate(scene.shot)
    for variable in Shot._fields:
        slopes = [
            _slopes(evaluate, scene, choices, gradient, random_direction(seed, scene, variable))
            for seed in range(5)
        ]
        slopes = [pair for pair in slopes if pair is not None]
        assert len(slopes) >= 3, f"{variable}: almost every direction crosses a decision boundary"
        for measured, analytic in slopes:
            np.testing.assert_allclose(measured, analytic, rtol=1e-4, err_msg=variable)


def test_blobs_mat_margins_over_surfaces_and_margins(float64):
    for name, over_surface, over_margin in (("blobs", 10, 0), ("crossing blobs", 5, 4)):
        scene, evaluate = scene_and_evaluate(name, 2.0)
        (_, (_, (near, far, surface))), _ = evaluate(scene.shot)
        assert ((near > 0) & (surface > 0)).sum() > over_surface
        assert ((near > 0) & (far > 0)).sum() >= over_margin


def _slopes(evaluate, scene, choices, gradient, direction):
    """(central differences for each step, gradient x direction), or None.

    None where a pixel changes what it shows within a step: there the picture has a kink, and a
    central difference averages its two sides.
    """
    measured = []
    for step in STEPS:
        values = []
        for signed in (-step, step):
            moved = jax.tree.map(lambda x, d: x + signed * d, scene.shot, direction)  # noqa: B023
            (value, (moved_choices, _)), _ = evaluate(moved)
            same = jax.tree.map(np.array_equal, choices, moved_choices)
            if not all(same):
                return None
            values.append(float(value))
        measured.append((values[1] - values[0]) / (2 * step))
    products = jax.tree.map(lambda g, d: float((g * d).sum()), gradient, direction)
    return measured, sum(products)
