"""The augmentation of one image: what is drawn how often, and what a draw does."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import affine_transform

from gan3d.config import Config
from gan3d.training import augment as augmentation
from gan3d.training.augment import (
    MAX_PROBABILITY,
    Transformation,
    adapted,
    augment,
    draw_transformation,
    overfitting,
    share_augmentations,
    transform,
)

SIZE = 8
IDENTITY = Transformation(
    mirrored=np.bool_(False),
    scale=np.float32(1),
    angle=np.float32(0),
    translation=np.zeros(2, np.float32),
    brightness=np.float32(0),
    contrast=np.float32(1),
    saturation=np.float32(1),
)
# Of the logarithms, where factors are drawn.
DEVIATIONS = {
    "scale": augmentation.SCALE,
    "angle": augmentation.ROTATION,
    "translation": augmentation.TRANSLATION,
    "brightness": augmentation.BRIGHTNESS,
    "contrast": augmentation.CONTRAST,
    "saturation": augmentation.SATURATION,
}

compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
transformed = compiled(transform)
augmented = compiled(jax.vmap(augment, in_axes=(0, None, None)))
drawn = compiled(jax.vmap(draw_transformation, in_axes=(0, None)))


@pytest.fixture(scope="module")
def image():
    """Nothing in it is symmetric."""
    return np.random.default_rng(0).uniform(-1, 1, (SIZE, SIZE, 3)).astype(np.float32)


def keys(num: int, seed: int = 0):
    return jax.random.split(jax.random.key(seed), num)


def changed(draws) -> dict[str, np.ndarray]:
    """Which of the draws are not the identity, by transformation."""
    differs = lambda x, same: (np.asarray(x) != same).reshape(len(x), -1).any(1)  # noqa: E731
    return {name: differs(x, getattr(IDENTITY, name)) for name, x in draws._asdict().items()}


def test_probability_zero_changes_no_bit(image):
    results = augmented(keys(64), image, 0.0)
    np.testing.assert_array_equal(results, np.broadcast_to(image, results.shape))


@pytest.mark.parametrize("probability", [0.5, 1.0])
def test_each_transformation_acts_as_often_as_it_should_and_on_its_own(probability):
    num = 4000
    acts = changed(drawn(keys(num), probability))
    for name, which in acts.items():
        share = probability / 2 if name == "mirrored" else probability
        assert abs(which.mean() - share) <= 4 * (share * (1 - share) / num) ** 0.5, name
    varying = np.stack([which for which in acts.values() if which.std()])
    correlations = np.corrcoef(varying) - np.eye(len(varying))
    assert np.abs(correlations).max() < 5 / num**0.5


def test_the_draws_are_gaussian_and_of_the_right_size():
    """A Gaussian's kurtosis is 3; a uniform distribution's 1.8, and it would leak."""
    draws = drawn(keys(4000, seed=1), 1.0)
    for name, deviation in DEVIATIONS.items():
        values = np.asarray(getattr(draws, name)).reshape(4000, -1)
        factor = name in ("scale", "contrast", "saturation")
        values = (np.log2(values) if factor else values) / deviation
        np.testing.assert_allclose(values.std(0), 1, atol=0.06, err_msg=name)
        np.testing.assert_allclose(values.mean(0), 0, atol=0.08, err_msg=name)
        np.testing.assert_allclose((values**4).mean(0), 3, atol=0.6, err_msg=name)
    assert abs(np.corrcoef(np.asarray(draws.translation).T)[0, 1]) < 0.08


def test_mirrored(image):
    result = transformed(image, IDENTITY._replace(mirrored=np.bool_(True)))
    np.testing.assert_array_equal(result, image[:, ::-1])


def test_translated_by_whole_pixels(image):
    """By 3 to the right and 2 up; the border continues as its reflection."""
    by = IDENTITY._replace(translation=np.array([3, -2], np.float32) / SIZE)
    expected = np.pad(image, ((0, 2), (3, 0), (0, 0)), mode="symmetric")[2:, :SIZE]
    np.testing.assert_array_equal(transformed(image, by), expected)


def test_rotated_by_a_right_angle(image):
    """From right to down, clockwise."""
    result = transformed(image, IDENTITY._replace(angle=np.float32(np.pi / 2)))
    np.testing.assert_allclose(result, np.rot90(image, -1), atol=1e-5)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("scale", [0.6, 1.3])
def test_the_warp_is_scipys(image, mirrored, scale):
    """Mirrored, scaled, rotated, then moved: the order of the fields."""
    angle, shift = 0.4, np.array([0.11, -0.35])
    by = IDENTITY._replace(
        mirrored=np.bool_(mirrored), scale=np.float32(scale), angle=np.float32(angle),
        translation=shift.astype(np.float32),
    )  # fmt: skip
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    forward = rotation @ np.diag([-scale if mirrored else scale, scale])
    backward = np.linalg.inv(forward)[::-1, ::-1]  # of (row, column), as scipy has it
    centre = (SIZE - 1) / 2
    offset = centre - backward @ (centre + SIZE * shift[::-1])
    expected = [
        affine_transform(image[..., c], backward, offset, order=1, mode="reflect") for c in range(3)
    ]
    np.testing.assert_allclose(transformed(image, by), np.stack(expected, -1), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"brightness": 0.25}, lambda x: x + 0.25),
        ({"contrast": 2.0}, lambda x: 2 * x),
        ({"saturation": 0.0}, lambda x: x.mean(-1, keepdims=True) + 0 * x),
        ({"saturation": 2.0}, lambda x: 2 * x - x.mean(-1, keepdims=True)),
        ({"brightness": -0.5, "contrast": 1.5}, lambda x: 1.5 * (x - 0.5)),
    ],
)
def test_colours(image, change, expected):
    by = IDENTITY._replace(**{name: np.float32(value) for name, value in change.items()})
    np.testing.assert_allclose(transformed(image, by), expected(image), atol=1e-6)


@pytest.mark.parametrize("shape", [(SIZE, SIZE + 1, 3), (SIZE, SIZE), (SIZE, SIZE, 4)])
def test_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"image must have shape \[R, R, 3\], got \[8, "):
        augment(jax.random.key(0), jnp.zeros(shape), 0.5)


@pytest.mark.parametrize("probability", [0.0, 0.8])
def test_gradient_is_that_of_finite_differences(image, probability):
    """The augmentation is affine in the image: a difference of any width is exact."""
    weights = np.random.default_rng(1).normal(size=image.shape).astype(np.float32)
    value = lambda key, x: (augment(key, x, probability) * weights).sum()  # noqa: E731
    key = keys(8, seed=2)
    slopes = compiled(jax.vmap(jax.grad(value, 1), in_axes=(0, None)))(key, image)
    units = np.eye(image.size, dtype=np.float32).reshape(-1, *image.shape)
    values = compiled(jax.vmap(jax.vmap(value, in_axes=(None, 0)), in_axes=(0, None)))
    differences = (values(key, image + units) - values(key, image - units)) / 2
    np.testing.assert_allclose(slopes.reshape(len(key), -1), differences, atol=1e-4)
    assert np.abs(slopes).max() > 0.1


def test_orientation_does_not_leak():
    """Half of all images mirrored would make left and right the same for D; a quarter does not.

    The part of the image that changes its sign in the mirror keeps its sign in the mean: 1 - p of
    it remains, less what the other transformations smear.
    """
    across = np.linspace(-1, 1, SIZE, dtype=np.float32)
    image = np.broadcast_to(across[None, :, None], (SIZE, SIZE, 3)) + 0.2
    mean = np.asarray(augmented(keys(2000, seed=3), image, 0.5)).mean(0)
    odd = lambda x: (x - x[:, ::-1]) / 2  # noqa: E731
    remaining = (odd(mean) * odd(image)).sum() / (odd(image) ** 2).sum()
    assert 0.35 < remaining < 0.6
    assert np.abs(mean - image).mean() < 0.6 * np.abs(mean - image[:, ::-1]).mean()


@pytest.fixture(scope="module")
def of_batch(image):
    """(first, images, images seen) -> a share of real and of generated images, augmented."""

    def both(first, images, images_seen):
        step_key = jax.random.fold_in(jax.random.key(5), images_seen)
        return [f(images) for f in share_augmentations(step_key, jnp.float32(0.8), first)]

    return compiled(both)


def test_shares_of_a_batch_have_the_draws_of_the_whole(of_batch, image):
    images = np.stack([image] * 4)
    whole = np.stack(of_batch(0, images, 64))
    shares = [np.stack(of_batch(first, images[:2], 64)) for first in (0, 2)]
    np.testing.assert_allclose(np.concatenate(shares, axis=1), whole, atol=1e-6)


def test_every_image_of_every_step_has_a_draw_of_its_own(of_batch, image):
    results = [of_batch(0, np.stack([image] * 4), seen) for seen in (64, 68)]
    flat = np.reshape(results, (16, -1))
    distances = np.abs(flat[:, None] - flat[None]).max(-1) + np.eye(16)
    assert distances.min() > 1e-3


def test_overfitting_is_the_share_of_pairs_told_apart():
    real = jnp.array([3.0, 1.0, 0.5, 0.2])
    fake = jnp.array([1.0, 0.0, 0.0, 0.9])
    assert overfitting(real, fake) == 0.5
    assert overfitting(real - 100, fake - 100) == 0.5
    assert overfitting(real + 1, fake) == 1
    assert overfitting(fake, fake) == 0


def test_the_probability_moves_towards_the_target_within_its_range():
    config = Config(batch=16, augment_target=0.6, augment_images=1600)
    moved = lambda p, r: float(adapted(config, jnp.float32(p), jnp.float32(r)))  # noqa: E731
    assert moved(0.3, 0.9) == pytest.approx(0.31)
    assert moved(0.3, 0.2) == pytest.approx(0.29)
    assert moved(0.3, 0.6) == pytest.approx(0.3)
    assert moved(0.0, -0.5) == 0
    assert moved(0.795, 1.0) == pytest.approx(MAX_PROBABILITY)
    p, twice = 0.0, dataclasses.replace(config, batch=32)
    for _ in range(10):
        p = float(adapted(twice, jnp.float32(p), jnp.float32(1)))
    assert p == pytest.approx(0.2)
