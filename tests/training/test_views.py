"""Viewpoints of a run: the assumed prior, or what has been learned of it."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.config import Config
from gan3d.scene import ViewPrior, draw_quantiles
from gan3d.training.assemble import assemble, draw_views, init_state, place_views
from gan3d.training.loop import open_training_source
from gan3d.training.step import draw_latents

CONFIG = Config(
    surface_size=4, texture_size=4, background_size=4, generator_width=4, discriminator_width=4,
    latent_size=4, background_latent_size=2, mapping_layers=1, view_prior="learned",
)  # fmt: skip


@pytest.fixture(scope="module")
def parts():
    return assemble(CONFIG)


def params(logits):
    return {"views": {"logits": jnp.asarray(logits, jnp.float32)}}


def test_a_learned_prior_is_among_the_parameters_of_the_generator(parts):
    state = jax.eval_shape(lambda: init_state(parts, 0))
    assert state.generator_params["views"]["logits"].shape == (2, 16)
    fixed = assemble(dataclasses.replace(CONFIG, view_prior="gaussian"))
    state = jax.eval_shape(lambda: init_state(fixed, 0))
    assert "views" not in state.generator_params


def test_at_first_it_is_the_assumed_prior(parts):
    key = jax.random.key(0)
    views = draw_views(parts, params(np.zeros((2, 16))), key, 64)
    expected = parts.prior.place(draw_quantiles(key, (64,)))
    np.testing.assert_allclose(views.yaw, expected.yaw, atol=1e-5)
    np.testing.assert_allclose(views.pitch, expected.pitch, atol=1e-5)
    assert np.abs(views.yaw).max() > math.radians(80)


def test_narrow_pieces_gather_the_views(parts):
    """Fifteen of sixteen pieces of yaw at one end: so much of the probability is there."""
    logits = np.zeros((2, 16))
    logits[0, -1] = 20.0
    views = draw_views(parts, params(logits), jax.random.key(0), 1000)
    lowest = np.mean(views.yaw < math.radians(-90 + 0.01))
    assert lowest == pytest.approx(15 / 16, abs=0.03)
    assert np.abs(views.pitch).max() > math.radians(14)


def test_it_is_differentiable_in_the_parameters(parts):
    quantiles = draw_quantiles(jax.random.key(1), (64,))
    spread = lambda logits: (place_views(parts, params(logits), quantiles).yaw ** 2).sum()  # noqa: E731
    slope = np.asarray(jax.grad(spread)(jnp.zeros((2, 16))))
    assert (np.abs(slope[0]) > 1e-3).all() and (slope[1] == 0).all()
    # Wider pieces in the middle push the others out.
    assert slope[0, 7] > 0 and slope[0, 0] < 0


def test_real_cameras_may_differ_from_what_is_assumed():
    config = Config(
        yaw_degrees=60.0, heads_yaw_factor=1.5, heads_view_prior="gaussian", num_heads=1
    )
    source = open_training_source(config)
    assert source.prior == ViewPrior(math.radians(90), math.radians(15), "gaussian")
    assert assemble(config).prior == ViewPrior(math.radians(60), math.radians(15))


def test_so_many_images_mix_styles_from_some_level_on(parts):
    """Only what the configuration asks for is drawn."""
    assert draw_latents(parts, jax.random.key(0), 4, 1, 0).random is None
    mixing = dataclasses.replace(CONFIG, surface_size=16, style_mixing=0.25)
    mixing = assemble(mixing)
    crossover = np.asarray(draw_latents(mixing, jax.random.key(0), 2000, 1, 0).random.crossover)
    levels = mixing.generator.num_levels
    assert levels == 3 and set(crossover) == {1, 2, 3}
    assert np.mean(crossover < levels) == pytest.approx(0.25, abs=0.04)
