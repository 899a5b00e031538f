from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.losses import gradient_penalty
from gan3d.models import Discriminator, judge_in_groups
from gan3d.models.layers import channels

WIDTH, SIZE = 8, 16


@pytest.fixture(scope="module")
def network():
    """(apply, params, images)."""
    discriminator = Discriminator(WIDTH)
    images = jax.random.uniform(jax.random.key(0), (3, SIZE, SIZE, 3), minval=-1.0)
    params = jax.jit(discriminator.init)(jax.random.key(1), images[0])
    return jax.jit(discriminator.apply), params, images


def test_score_is_a_scalar(network):
    apply, params, images = network
    assert apply(params, images[0]).shape == ()


def test_vmap_equals_a_loop(network):
    """One image's score does not depend on the others in the batch."""
    apply, params, images = network
    batched = jax.jit(jax.vmap(apply, (None, 0)))(params, images)
    np.testing.assert_allclose(batched, [apply(params, x) for x in images], rtol=1e-5, atol=1e-6)
    assert np.ptp(batched) > 1e-3


def test_every_pixel_counts_and_its_place_too(network):
    apply, params, images = network
    slope = np.asarray(jax.jit(jax.grad(apply, argnums=1))(params, images[0]))
    assert (np.abs(slope).max(-1) > 0).all()
    assert abs(apply(params, images[0, :, ::-1]) - apply(params, images[0])) > 1e-3


@pytest.mark.parametrize("resolution", [32, 64, 128, 256])
def test_it_ends_at_four_by_four(resolution):
    discriminator = Discriminator(WIDTH)
    image = jax.ShapeDtypeStruct((resolution, resolution, 3), jnp.float32)
    score, shapes = jax.eval_shape(discriminator.init_with_output, jax.random.key(0), image)
    assert score.shape == ()
    dense = shapes["params"]["Dense_0"]["kernel"].shape
    assert dense == (4 * 4 * channels(WIDTH, 4), 2 * WIDTH)


@pytest.fixture(scope="module")
def comparing():
    """(score of one image within a group, images): a network that compares."""
    discriminator = Discriminator(WIDTH, compares=True)
    images = jax.random.uniform(jax.random.key(0), (6, SIZE, SIZE, 3), minval=-1.0)
    params = jax.jit(discriminator.init)(jax.random.key(1), images[0])
    return (lambda image: discriminator.apply(params, image)), images


def test_scores_depend_on_the_group_and_on_nothing_else(comparing):
    score, images = comparing
    judge = jax.jit(judge_in_groups(score, 3))
    scores = judge(images)
    np.testing.assert_allclose(judge(images[3:]), scores[3:], rtol=1e-5, atol=1e-6)
    turned = jnp.array([2, 0, 1])
    np.testing.assert_allclose(judge(images[turned]), scores[turned], rtol=1e-5, atol=1e-6)
    others = judge(images[jnp.array([0, 1, 5])])
    assert abs(others[0] - scores[0]) > 1e-4


def test_deviation_is_that_of_the_group(comparing):
    """Of a group of copies it is zero, and a copied group has what the group has."""
    score, images = comparing
    copies = jnp.stack([images[0], images[0], images[1], images[1]])
    by_two, by_four = (jax.jit(judge_in_groups(score, size))(copies) for size in (2, 4))
    alone = jax.jit(judge_in_groups(score, 2))(copies[jnp.array([0, 0, 2, 2])])
    np.testing.assert_allclose(by_two, alone, rtol=1e-5)
    pair = jax.jit(judge_in_groups(score, 2))(images[:2])
    np.testing.assert_allclose(by_four[::2], pair, rtol=1e-5)
    assert np.abs(by_four - by_two).min() > 1e-5


def test_penalty_is_that_of_the_group_s_scores(comparing):
    score, images = comparing
    over = functools.partial(judge_in_groups, group_size=3)
    expected = jax.jit(jax.grad(lambda images: over(score)(images).sum()))(images)
    penalty = jax.jit(lambda images: gradient_penalty(score, images, over))(images)
    np.testing.assert_allclose(penalty, (expected**2).sum((1, 2, 3)).mean(), rtol=1e-5)


def test_groups_have_to_divide_the_images(comparing):
    score, images = comparing
    with pytest.raises(ValueError, match="must divide the number of images, 6, got 4"):
        judge_in_groups(score, 4)(images)
