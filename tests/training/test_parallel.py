"""Two virtual devices, and microbatches, take the same step as one device and the whole batch."""

from __future__ import annotations

import dataclasses
import types

import jax
import numpy as np
import pytest
from jax.tree_util import DictKey

from gan3d.config import Config
from gan3d.training.ahead import compilers
from gan3d.training.assemble import assemble, init_state
from gan3d.training.joined import split_all
from gan3d.training.parallel import (
    in_pieces,
    parallel_programs,
    parallel_step,
    replicate,
    shard_batch,
    whole_programs,
)
from gan3d.training.step import make_step

BATCH, RESOLUTION = 4, 8
CONFIG = Config(
    batch=BATCH,
    resolution=RESOLUTION,
    surface_size=8,
    texture_size=8,
    background_size=8,
    latent_size=8,
    background_latent_size=4,
    generator_width=8,
    discriminator_width=8,
    mapping_layers=1,
    penalty_interval=1,
    augment_target=0.7,
    augment_images=1000,
)
LAST_BIAS = (DictKey("Dense_1"), DictKey("bias"))


@pytest.fixture(scope="module")
def parts():
    return assemble(CONFIG)


@pytest.fixture(scope="module")
def state(parts):
    """A state in the middle of a training, on the host.

    Adam's very first steps have the size of the learning rate however small a gradient is: they
    would turn rounding where a gradient vanishes into whole steps. Later on they do not.
    """
    state = init_state(parts, 0)
    rng = np.random.default_rng(1)
    noisy = lambda x: np.asarray(x) + 0.1 * rng.normal(size=x.shape).astype(np.float32)  # noqa: E731

    def warmed(optimizer):
        adam, *rest = optimizer
        second_moment = jax.tree.map(lambda x: np.full_like(x, 1e-3), adam.nu)
        return (adam._replace(count=np.int32(1000), nu=second_moment), *rest)

    state = state.replace(
        generator_params=jax.tree.map(noisy, state.generator_params),
        discriminator_params=jax.tree.map(noisy, state.discriminator_params),
        generator_opt=warmed(state.generator_opt),
        discriminator_opt=warmed(state.discriminator_opt),
        augment_probability=np.float32(0.5),
    )
    return jax.tree.map(np.asarray, state)


@pytest.fixture(scope="module")
def batches():
    shape = (2, BATCH, RESOLUTION, RESOLUTION, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.fixture(scope="module")
def compiled_quickly():
    """Compiling takes longer than two steps, and `pmap` takes no options for it."""
    name = "jax_disable_most_optimizations"
    before = jax.config.read(name)
    jax.config.update(name, True)
    yield
    jax.config.update(name, before)


@pytest.fixture(scope="module")
def on_one(parts, state, batches, compiled_quickly):
    """[(state, metrics)] after each of two steps."""
    step, history = jax.jit(make_step(parts)), []
    for images in batches:
        state, metrics = step(state, images, jax.random.key(1))
        history.append(jax.tree.map(np.asarray, (state, metrics)))
    return history


def steps_on(num_devices, parts, state, batches, make_programs=parallel_programs):
    """[(state, metrics)] after each of two steps on virtual devices."""
    devices = jax.devices()[:num_devices]
    with compilers(num_threads=2) as pool:
        step = parallel_step(parts, devices, make_programs(parts, devices), pool)
        state, history = replicate(state, devices), []
        for images in batches:
            state, metrics = step(state, shard_batch(images, num_devices), jax.random.key(1), True)
            assert_copies_agree(state, devices)
            history.append(jax.tree.map(np.asarray, (split_all(state), metrics)))
    return history


def assert_copies_agree(state, devices):
    """Bit for bit: a state that is the same on all devices must not drift apart on them."""
    for path, leaf in jax.tree.leaves_with_path(state):
        first, *others = (np.asarray(shard.data) for shard in leaf.addressable_shards)
        assert len(others) == len(devices) - 1
        for other in others:
            np.testing.assert_array_equal(other, first, err_msg=jax.tree_util.keystr(path))


@pytest.fixture(scope="module")
def on_two(parts, state, batches, compiled_quickly):
    return steps_on(2, parts, state, batches)


@pytest.fixture(scope="module")
def in_microbatches(parts, state, batches, compiled_quickly):
    """Two devices, with two microbatches of one image each."""
    config = dataclasses.replace(CONFIG, microbatches=2)
    return steps_on(2, dataclasses.replace(parts, config=config), state, batches)


@pytest.fixture(scope="module")
def as_one_program(parts, state, batches, compiled_quickly):
    """Two devices, as accelerators do it."""
    return steps_on(2, parts, state, batches, whole_programs)


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("way", ["on_two", "in_microbatches", "as_one_program"])
def test_shares_of_a_batch_take_the_same_step_as_the_whole(on_one, request, way, step):
    """Parameters, moments and average, every leaf to 1e-5 of its largest entry; and metrics."""
    (one, metrics_of_one), (two, metrics_of_two) = on_one[step], request.getfixturevalue(way)[step]
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for (path, a), b in zip(jax.tree.leaves_with_path(one), jax.tree.leaves(two), strict=True):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(b, a, atol=1e-5 * np.abs(a).max(), err_msg=name)
    assert metrics_of_one.keys() == metrics_of_two.keys()
    for name, value in metrics_of_one.items():
        np.testing.assert_allclose(metrics_of_two[name], value, rtol=1e-5, err_msg=name)


def test_every_parameter_has_a_gradient(on_two):
    """Or else the comparison would compare nothing. Without momentum mu is the gradient."""
    after, _ = on_two[-1]
    assert after.images_seen == 2 * BATCH
    for optimizer in (after.generator_opt, after.discriminator_opt):
        for path, gradient in jax.tree.leaves_with_path(optimizer[0].mu):
            # The relativistic loss does not see a constant that D adds to all its scores.
            if path[-2:] != LAST_BIAS:
                assert np.abs(gradient).max() > 1e-6, path


def test_state_keeps_its_shapes(state, on_two):
    after, metrics = on_two[-1]
    assert jax.tree.map(np.shape, after) == jax.tree.map(np.shape, state)
    assert all(value.shape == () for value in metrics.values())


@pytest.mark.parametrize(
    ("platform", "microbatches", "pieces"),
    [("cpu", 1, True), ("gpu", 1, False), ("gpu", 2, True), ("tpu", 1, False)],
)
def test_accelerators_run_one_program_unless_memory_is_short(platform, microbatches, pieces):
    config = dataclasses.replace(CONFIG, microbatches=microbatches)
    assert in_pieces(config, [types.SimpleNamespace(platform=platform)]) == pieces


def test_shards_are_the_batch_in_order(batches):
    shards = shard_batch(batches[0], 2)
    assert shards.shape == (2, BATCH // 2, RESOLUTION, RESOLUTION, 3)
    np.testing.assert_array_equal(np.concatenate(shards), batches[0])


def test_a_batch_that_does_not_divide_is_refused(batches):
    with pytest.raises(ValueError, match="batch must be divisible by 3 devices, got 4"):
        shard_batch(batches[0], 3)


@pytest.mark.parametrize("num_shards", [1, 4])
def test_a_wrong_number_of_shards_is_refused(parts, state, batches, num_shards):
    step = parallel_step(parts, jax.devices()[:2])
    message = f"images must have a leading axis of 2 devices, got {num_shards}"
    with pytest.raises(ValueError, match=message):
        step(state, shard_batch(batches[0], num_shards), jax.random.key(1), True)


def test_replicas_look_like_the_original_on_every_device():
    devices = jax.devices()[:2]
    tree = {"a": np.arange(6.0).reshape(2, 3), "b": np.int32(7)}
    copies = replicate(tree, devices)
    for name, value in tree.items():
        np.testing.assert_array_equal(copies[name], value)
        assert copies[name].devices() == set(devices)
        assert copies[name].is_fully_replicated
