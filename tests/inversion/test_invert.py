"""Scenes and viewpoints found in pictures that a generator made itself, and what is refused."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan3d
from gan3d.evaluation.pose_network import angle_between, view_direction
from gan3d.inversion import EncoderConfig, InversionConfig, invert, train_encoder
from gan3d.inversion.descent import LOOK_STEPS, Problem, descend
from gan3d.inversion.invert import _priors, _style_rates
from gan3d.inversion.nearest import nearest_samples
from gan3d.inversion.style_space import style_space
from gan3d.inversion.unknowns import Model, start
from gan3d.scene import View
from gan3d.visualize import to_uint8

NUM = 2
QUICK = InversionConfig(viewpoints=2, search_steps=2, kept=1, style_steps=2, detail_steps=2)


@pytest.fixture(scope="module")
def heads():
    return gan3d.load_demo()


@pytest.fixture(scope="module")
def made(heads):
    """Pictures of the demo in 8 bits, and the viewpoints that they were taken from."""
    scenes = heads.scene(heads.sample(jax.random.key(5), NUM))
    views = heads.views(jax.random.key(6), NUM)
    return to_uint8(heads.render(scenes, heads.camera(*views)).image), views


@pytest.fixture(scope="module")
def found(heads, made):
    lines = []
    config = InversionConfig(viewpoints=4, kept=1, style_steps=80, detail_steps=60)
    return invert(heads, made[0], config=config, report=lines.append), lines


def test_viewpoint_and_picture_are_found_again(found, made):
    images, views = made
    apart = angle_between(view_direction(found[0].view), view_direction(views))
    assert np.degrees(apart).max() < 2
    assert found[0].psnr.min() > 30
    error = np.mean((np.asarray(found[0].image) - (images / 127.5 - 1)) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(found[0].psnr, 10 * np.log10(4 / error), rtol=1e-3)


def test_the_picture_is_that_of_the_scene(heads, found):
    again = heads.render(found[0].scene, heads.camera(*found[0].view)).image
    np.testing.assert_allclose(again, found[0].image, atol=1e-5)


def test_the_shape_is_the_generators_and_the_paint_is_not(heads, found):
    scenes = heads.scene(found[0].styles)
    np.testing.assert_allclose(scenes.surface, found[0].scene.surface, atol=1e-5)
    assert np.abs(scenes.texture - found[0].scene.texture).max() > 0.01
    assert np.abs(found[0].scene.texture).max() <= 1


def test_every_stage_tells_how_far_it_is(found):
    names = [line.split(":")[0] for line in found[1]]
    assert list(dict.fromkeys(names)) == ["search", "style", "detail"]
    distances = [float(line.split()[-1]) for line in found[1]]
    assert distances[-1] < distances[0]


@pytest.fixture(scope="module")
def tiny(run_dir):
    return gan3d.load(run_dir)


@pytest.fixture(scope="module")
def pictures(tiny):
    scenes = tiny.scene(tiny.sample(jax.random.key(0), NUM))
    return tiny.render(scenes, tiny.camera(0.3), resolution=16).image


def test_one_picture_has_no_leading_axis(tiny, pictures):
    one = invert(tiny, pictures[0], config=dataclasses.replace(QUICK, kept=2))
    assert one.image.shape == (16, 16, 3) and one.view.yaw.shape == one.psnr.shape == ()
    assert tiny.render(one.scene, tiny.camera(*one.view)).image.shape == (32, 32, 3)


def test_without_detail_it_stays_in_w_and_paints_nothing(tiny, pictures):
    config = dataclasses.replace(QUICK, detail_steps=0)
    plain = invert(tiny, pictures, config=config)
    levels = np.asarray(plain.styles.levels)
    np.testing.assert_allclose(levels, levels[:, :1].repeat(levels.shape[1], axis=1), atol=1e-6)
    np.testing.assert_allclose(plain.scene.texture, tiny.scene(plain.styles).texture, atol=1e-5)


def test_a_strong_prior_holds_the_style_at_the_mean(tiny, pictures):
    space = style_space(tiny)
    far, near = (
        np.square(space.encode(invert(tiny, pictures, config=config).styles.levels)).mean()
        for config in (
            dataclasses.replace(QUICK, style_steps=20, style_weight=weight, detail_steps=0)
            for weight in (0.0, 100.0)
        )
    )
    assert near < 0.1 * far


def test_pictures_fill_up_the_last_batch(tiny, pictures):
    three = jnp.concatenate([pictures, pictures[:1]])
    found = invert(tiny, three, config=dataclasses.replace(QUICK, batch=2))
    assert found.image.shape[0] == found.psnr.shape[0] == 3
    # Equal pictures, but in batches that could have stopped at different times.
    np.testing.assert_allclose(found.view.yaw[2], found.view.yaw[0], atol=1e-4)


def test_a_descent_ends_when_nothing_is_gained(tiny, pictures):
    model, steps = Model(tiny.parts, style_space(tiny)), []
    unknowns = jax.vmap(lambda yaw: start(model, View(yaw, 0.0)))(jnp.zeros(NUM))
    problem = Problem(model, tiny.params, _priors(QUICK), pictures)
    rates = jax.tree.map(lambda rate: 0.0 * rate, _style_rates(QUICK))
    same, _ = descend(
        problem, unknowns, rates, 1000, 0.01, report=lambda step, distance: steps.append(step)
    )
    assert steps == [LOOK_STEPS * i for i in range(1, 6)]
    np.testing.assert_array_equal(same.style, unknowns.style)


def test_an_encoders_answer_is_where_it_starts(tiny, pictures):
    encoder = train_encoder(tiny, config=EncoderConfig(steps=1, batch=2, width=4, stem=4))
    answers = dataclasses.replace(QUICK, style_steps=0, detail_steps=0)
    found = invert(tiny, pictures, encoder, answers)
    styles, views = encoder.encode(pictures)
    np.testing.assert_allclose(found.styles.levels, styles.levels, atol=1e-4)
    np.testing.assert_allclose(found.view.yaw, views.yaw, atol=1e-5)

    other = dataclasses.replace(tiny, params=jax.tree.map(lambda a: 2 * a, tiny.params))
    with pytest.raises(ValueError, match="encoder must be that of"):
        invert(other, pictures, encoder, answers)


@pytest.mark.parametrize(
    "images, rule",
    [
        (np.zeros((8, 9, 3), np.uint8), r"must have shape \[R, R, 3\]"),
        (np.zeros((4, 4, 3), np.uint8), "R >= 8, got"),
        (np.zeros((8, 8), np.uint8), r"got \[8, 8\]"),
        (np.zeros((0, 8, 8, 3), np.uint8), "N >= 1"),
        (np.zeros((8, 8, 3), np.int32), "must be uint8 or floating point, got int32"),
        (np.full((8, 8, 3), 2.0), r"must be in \[-1, 1\], got values from 2.0 to 2.0"),
        (np.full((8, 8, 3), np.nan), r"must be in \[-1, 1\]"),
    ],
)
def test_what_is_no_picture_is_refused(images, rule, tiny):
    with pytest.raises(ValueError, match=rule):
        invert(tiny, images, config=QUICK)


@pytest.mark.parametrize(
    "change, rule",
    [
        ({"viewpoints": 0}, "viewpoints must be finite and at least 1, got 0"),
        ({"style_steps": -1}, "style_steps must be finite and at least 0, got -1"),
        ({"view_rate": np.inf}, "view_rate must be finite"),
        ({"paint_weight": np.nan}, "paint_weight must be finite"),
    ],
)
def test_wrong_settings_are_refused(change, rule, tiny, pictures):
    with pytest.raises(ValueError, match=rule):
        invert(tiny, pictures, config=dataclasses.replace(QUICK, **change))


def test_the_nearest_sample_of_a_sample_is_itself(tiny):
    seen = tiny.render(tiny.scene(tiny.sample(jax.random.key(3), 2)), tiny.camera(0.4), 16).image
    scenes, views = nearest_samples(tiny, seen, 20)
    again = tiny.render(scenes, tiny.camera(*views), 16).image
    same, views_again = nearest_samples(tiny, again, 20)
    np.testing.assert_allclose(views_again.yaw, views.yaw, atol=1e-6)
    np.testing.assert_allclose(same.surface, scenes.surface, atol=1e-5)
    with pytest.raises(ValueError, match="num must be at least 1, got 0"):
        nearest_samples(tiny, seen, 0)
