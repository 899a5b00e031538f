"""Listed margins equal margins at every pixel, values and gradients, in one window or several."""

from __future__ import annotations

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.render.margins import Source, add_at_margins, add_everywhere

NUM_PIXELS = 60


def rows(variables, scale, state, half_edge, pixel):
    """Not linear in anything; zero where there is no margin."""
    weight = variables["weight"][jnp.maximum(half_edge, 0)] * pixel.astype(state.dtype)
    added = scale * jnp.sin(state * weight[:, None]) + variables["offset"][None]
    return jnp.where(half_edge[:, None] >= 0, added, 0)


def scene():
    rng = np.random.default_rng(0)
    half_edge = np.where(rng.random(NUM_PIXELS) < 0.3, rng.integers(0, 5, NUM_PIXELS), -1)
    variables = {"weight": rng.normal(size=5), "offset": rng.normal(size=3)}
    state = rng.normal(size=(NUM_PIXELS, 3))
    single = lambda a: jnp.asarray(a, jnp.float32)  # noqa: E731
    return jax.tree.map(single, variables), single(state), jnp.asarray(half_edge, jnp.int32)


@pytest.mark.parametrize("room", [4, 7, NUM_PIXELS])
def test_listed_equals_everywhere(room):
    variables, state, half_edge = scene()
    assert 2 * 7 < (half_edge >= 0).sum() < NUM_PIXELS  # room 7: the third window is not full

    def value_and_gradients(add, variables, state):
        draw = lambda variables, state: add(rows, room, variables, 0.7, state, half_edge)  # noqa: E731
        picture, pull_back = jax.vjp(draw, variables, state)
        return picture, pull_back(jnp.cos(3 * picture))

    run = lambda add: jax.jit(partial(value_and_gradients, add))(variables, state)  # noqa: E731
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5),
        run(add_at_margins),
        run(add_everywhere),
    )


def exponential(variables, height):
    return jnp.exp(variables["offset"][None] * height)


def test_a_state_of_known_source_has_the_same_gradients():
    variables, height, half_edge = scene()

    def gradients(add, variables, height):
        def draw(variables, height):
            source = Source(exponential, height)
            state = exponential(variables, height)
            return add(rows, 4, variables, 0.7, state, half_edge, source)

        return jax.vjp(draw, variables, height)[1](jnp.cos(height))

    run = lambda add: jax.jit(partial(gradients, add))(variables, height)  # noqa: E731
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5),
        run(add_at_margins),
        run(add_everywhere),
    )


def test_the_gradient_computes_a_state_of_known_source_only_at_margins():
    variables, height, half_edge = scene()

    def gradient(height):
        source, state = Source(exponential, height), exponential(variables, height)
        draw = lambda variables: add_at_margins(  # noqa: E731
            rows, 4, variables, 0.7, state, half_edge, source
        )
        return jax.vjp(draw, variables)[1](height)

    program = jax.jit(gradient).lower(height).compile().as_text()
    assert set(re.findall(r"f32\[(\d+),3\]\S* exponential\(", program)) == {"4"}


def test_an_image_without_margins_stays_as_it_is():
    variables, state, half_edge = scene()
    empty = jnp.full_like(half_edge, -1)
    draw = lambda state: add_at_margins(rows, 4, variables, 0.7, state, empty)  # noqa: E731
    picture, pull_back = jax.vjp(draw, state)
    np.testing.assert_array_equal(picture, state)
    np.testing.assert_array_equal(pull_back(state)[0], state)
