"""Augmentation within the step: what D sees, what G learns from it, and how p follows.

The discriminator is so simple that only the augmentation is under test.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.config import Config
from gan3d.training.assemble import assemble, init_state
from gan3d.training.augment import augment
from gan3d.training.checkpoint import CheckpointError, Checkpoints
from gan3d.training.state import TrainState
from gan3d.training.step import Moment, step_programs

BATCH, SIZE, SEEN = 4, 8, 64
CONFIG = Config(
    batch=BATCH,
    resolution=SIZE,
    surface_size=4,
    texture_size=4,
    background_size=4,
    generator_width=4,
    discriminator_width=4,
    penalty_interval=1,
    augment_target=0.6,
    augment_images=400,
)
PROBABILITY = np.float32(0.7)
KEY = jax.random.key(3)

compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class Quadratic:
    """Stands in for a discriminator: sum of parameters times squares."""

    def apply(self, variables, image):
        return (variables["params"] * image**2).sum()

    def clone(self, dtype):
        return self


@pytest.fixture(scope="module")
def parts():
    return dataclasses.replace(assemble(CONFIG), discriminator=Quadratic())


@pytest.fixture(scope="module")
def params():
    return 0.05 * np.random.default_rng(0).normal(size=(SIZE, SIZE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def real():
    return np.random.default_rng(1).integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def fake():
    return np.random.default_rng(2).uniform(-1, 1, (BATCH, SIZE, SIZE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def seen_by_d():
    """(real, generated) in [-1, 1] -> the same augmented, one image after the other."""
    stream = jax.random.fold_in(jax.random.fold_in(KEY, SEEN), np.uint32(2**32 - 3))
    streams = jax.random.split(stream)

    def batch(key, images):
        one = lambda pair: augment(jax.random.fold_in(key, pair[0]), pair[1], PROBABILITY)  # noqa: E731
        return jax.lax.map(one, (jnp.arange(BATCH), images))

    return lambda real, fake: (batch(streams[0], real), batch(streams[1], fake))


def scaled(real):
    return jnp.asarray(real.astype(np.float32) * 2 / 255 - 1)


def scores(params, images):
    return (params[None] * images**2).sum((1, 2, 3))


def moment(part: int = 0) -> Moment:
    return Moment(np.int32(SEEN), KEY, np.int32(part), PROBABILITY)


@pytest.fixture(scope="module")
def total(parts, params, real, fake):
    return compiled(step_programs(parts).penalised_gradients)(params, moment(), real, fake)


def test_discriminator_sees_augmented_images_alone(total, seen_by_d, params, real, fake):
    """Its loss, and the penalties: the gradient of its score is that at the augmented image."""

    def loss(params):
        real_seen, fake_seen = seen_by_d(scaled(real), fake)
        difference = scores(params, real_seen) - scores(params, fake_seen)
        norm = lambda x: ((2 * params[None] * x) ** 2).sum((1, 2, 3)).mean()  # noqa: E731
        value = jnp.log1p(jnp.exp(-difference)).mean()
        whole = (
            value + CONFIG.r1_gamma / 2 * norm(real_seen) + CONFIG.r2_gamma / 2 * norm(fake_seen)
        )
        return whole, {
            "loss_d": value,
            "overfitting": jnp.sign(difference).mean(),
            "r1": norm(real_seen),
            "r2": norm(fake_seen),
        }

    expected, expected_metrics = compiled(jax.grad(loss, has_aux=True))(params)
    gradients, metrics = total
    np.testing.assert_allclose(gradients, expected, atol=1e-5 * np.abs(expected).max())
    for name, value in expected_metrics.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)


def test_generator_s_gradient_comes_back_through_the_augmentation(
    parts, params, real, fake, seen_by_d
):
    def loss(fake):
        real_seen, fake_seen = seen_by_d(scaled(real), fake)
        return jnp.log1p(jnp.exp(scores(params, real_seen) - scores(params, fake_seen))).mean()

    value, slope = compiled(jax.value_and_grad(loss))(fake)
    actual, loss_g = compiled(step_programs(parts).image_gradients)(params, moment(), real, fake)
    np.testing.assert_allclose(loss_g, value, rtol=1e-5)
    np.testing.assert_allclose(actual, slope, atol=1e-5 * np.abs(slope).max())


@pytest.mark.parametrize(("num_devices", "microbatches"), [(2, 1), (2, 2)])
def test_shares_see_what_the_whole_batch_sees(
    total, parts, params, real, fake, num_devices, microbatches
):
    config = dataclasses.replace(CONFIG, microbatches=microbatches)
    programs = step_programs(dataclasses.replace(parts, config=config), "devices")
    shards = [x.reshape(num_devices, microbatches, -1, SIZE, SIZE, 3) for x in (real, fake)]
    gradients = compiled(
        jax.vmap(programs.penalised_gradients, in_axes=(None, None, 0, 0), axis_name="devices")
    )
    of_parts = [
        gradients(params, moment(part), *(x[:, part] for x in shards))
        for part in range(microbatches)
    ]
    mean = jax.tree.map(lambda *x: np.mean(x, axis=(0, 1)), *of_parts)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), mean, total)


@pytest.mark.parametrize(("sign", "change"), [(1, 0.01), (-1, -0.01)])
def test_the_probability_follows_the_discriminator(parts, params, fake, sign, change):
    """It rises while D tells real images from generated ones, and falls while it does not."""
    programs = step_programs(parts)
    params = np.full_like(params, sign)
    white, grey = np.full((BATCH, SIZE, SIZE, 3), 255, np.uint8), np.zeros_like(fake)
    none = moment()._replace(augment_probability=np.float32(0))
    total = compiled(programs.discriminator_gradients)(params, none, white, grey)
    assert total[1]["overfitting"] == sign
    optimizer = parts.discriminator_optimizer.init(params)
    _, _, probability, metrics = programs.update_discriminator(
        params, optimizer, jnp.float32(0.3), total
    )
    assert probability == pytest.approx(0.3 + change)
    assert metrics["augment_probability"] == pytest.approx(0.3)


@pytest.mark.parametrize("target", [0.0, 0.6])
def test_nothing_is_drawn_or_resampled_where_it_is_off(parts, params, real, fake, target):
    config = dataclasses.replace(CONFIG, augment_target=target)
    programs = step_programs(dataclasses.replace(parts, config=config))
    for program in (programs.penalised_gradients, programs.image_gradients):
        text = str(jax.make_jaxpr(program)(params, moment(), real, fake))
        assert [name in text for name in ("random_", "gather", "cos")] == [bool(target)] * 3


@flax.struct.dataclass
class StateBefore:
    """What checkpoints held before there was augmentation."""

    images_seen: Any
    generator_params: Any
    discriminator_params: Any
    ema_params: Any
    generator_opt: Any
    discriminator_opt: Any


def small_state(kind=TrainState, **more):
    fields = [field.name for field in dataclasses.fields(StateBefore)]
    return kind(**{name: np.full(2, i, np.float32) for i, name in enumerate(fields)}, **more)


def restored(directory, template):
    with Checkpoints(directory) as checkpoints:
        return checkpoints.restore_latest(template)[0]


def save(directory, state):
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(4, state)


@pytest.mark.parametrize("probability", [None, np.float32(0.123)])
def test_a_state_comes_back_with_its_probability(tmp_path, probability):
    state = small_state(augment_probability=probability)
    save(tmp_path, state)
    template = small_state(augment_probability=None if probability is None else np.float32(0))
    actual = restored(tmp_path, template)
    assert actual.augment_probability == probability
    assert jax.tree.structure(actual) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, actual, state)


def test_checkpoints_from_before_there_was_augmentation_are_continued(tmp_path):
    save(tmp_path, small_state(StateBefore))
    actual, expected = restored(tmp_path, small_state()), small_state()
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)
    with pytest.raises(CheckpointError, match=r"only the model has .*probability"):
        restored(tmp_path, small_state(augment_probability=np.float32(0)))


@pytest.mark.parametrize("target", [0.0, 0.6])
def test_a_run_starts_without_augmentation(target):
    parts = assemble(dataclasses.replace(CONFIG, augment_target=target))
    state = jax.eval_shape(lambda: init_state(parts, 0))
    if not target:
        assert state.augment_probability is None
    else:
        assert state.augment_probability.shape == ()
        assert state.augment_probability.dtype == np.float32
