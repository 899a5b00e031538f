"""Networks that begin as another run's: what they compute, what is refused, what is said."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from saved_run import TINY, save_run

from gan3d.models import judge_in_groups
from gan3d.models.layers import downsample, upsample
from gan3d.training import transfer
from gan3d.training.assemble import Parts, assemble, init_state
from gan3d.training.directory import replace_arrays
from gan3d.training.run import flat_parameters, load_run
from gan3d.training.step import Moment, step_programs
from gan3d.training.transfer import (
    TransferError,
    check_start,
    first_state,
    grown_discriminator,
    grown_generator,
    network_age,
)

# D compares images, so that its last features are among what is carried over.
COMPARING = dataclasses.replace(TINY, mbstd_group_size=2)


def random_parameters(shapes, seed):
    random = np.random.default_rng(seed)
    draw = lambda leaf: jnp.asarray(random.standard_normal(leaf.shape), leaf.dtype)  # noqa: E731
    return jax.tree.map(draw, shapes)


def state_shapes(parts: Parts):
    return jax.eval_shape(lambda: init_state(parts, 0))


def scores(parts: Parts, params, images):
    judge = lambda image: parts.discriminator.apply({"params": params}, image)  # noqa: E731
    return np.asarray(jax.jit(judge_in_groups(judge, parts.config.mbstd_group_size))(images))


@pytest.mark.parametrize("resolution", [32, 64, 128])
def test_a_discriminator_that_grows_judges_the_means_of_pixels_as_before(resolution):
    small = assemble(COMPARING)
    large = assemble(dataclasses.replace(COMPARING, resolution=resolution))
    old = random_parameters(state_shapes(small).discriminator_params, seed=1)
    new = random_parameters(state_shapes(large).discriminator_params, seed=2)
    grown = grown_discriminator(new, old)
    assert jax.tree.map(jnp.shape, grown) == jax.tree.map(jnp.shape, new)
    images = 30 * jax.random.normal(jax.random.key(2), (4, resolution, resolution, 3))
    means = images
    while means.shape[1] > 32:
        means = jax.vmap(downsample)(means)
    expected = scores(small, old, means)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(scores(large, grown, images), expected, rtol=2e-4, atol=1e-4)


def test_every_layer_of_a_discriminator_that_grew_can_learn():
    large = assemble(dataclasses.replace(TINY, resolution=64))
    old = random_parameters(state_shapes(assemble(TINY)).discriminator_params, seed=1)
    new = random_parameters(state_shapes(large).discriminator_params, seed=2)
    params = grown_discriminator(new, old)
    image = jax.random.normal(jax.random.key(2), (64, 64, 3))
    score = lambda params: large.discriminator.apply({"params": params}, image)  # noqa: E731
    moved = jax.tree.map(lambda a, b: a - 1e-3 * b, params, jax.grad(score)(params))
    # The first convolution of the new block is behind one that is zero at first.
    for name, slope in flat_parameters(jax.jit(jax.grad(score))(moved)).items():
        assert np.abs(slope).max() > 0, name


def test_a_discriminator_for_smaller_images_keeps_all_but_the_features_of_pixels():
    small, large = (
        assemble(dataclasses.replace(COMPARING, resolution=resolution)) for resolution in (32, 64)
    )
    old = random_parameters(state_shapes(large).discriminator_params, seed=1)
    new = random_parameters(state_shapes(small).discriminator_params, seed=2)
    grown = flat_parameters(grown_discriminator(new, old))
    for name, value in grown.items():
        if name.startswith("Conv_0/"):
            source = flat_parameters(new)[name]
        elif name.startswith("Conv_"):
            conv, _, rest = name.removeprefix("Conv_").partition("/")
            source = flat_parameters(old)[f"Conv_{int(conv) + 3}/{rest}"]
        else:
            source = flat_parameters(old)[name]
        np.testing.assert_array_equal(value, source, err_msg=name)


@pytest.mark.parametrize("changes", [dict(surface_size=32, texture_size=32), dict(texture_size=64)])
def test_a_generator_that_grows_makes_the_same_maps_finer(changes):
    small, large = assemble(TINY), assemble(dataclasses.replace(TINY, noise=True, **changes))
    old = random_parameters(state_shapes(small).generator_params, seed=1)
    grown = grown_generator(random_parameters(state_shapes(large).generator_params, seed=2), old)
    z = jax.random.normal(jax.random.key(2), (6,))
    before, after = (
        jax.jit(parts.generator.apply)({"params": params}, z)
        for parts, params in ((small, old), (large, grown))
    )
    displacement, colour = before.displacement, jnp.arctanh(before.texture)
    while len(displacement) < large.config.surface_size:
        displacement = upsample(displacement, "octahedral")
    while len(colour) < large.config.texture_size:
        colour = upsample(colour, "octahedral")
    assert np.abs(displacement).max() > 0.1
    np.testing.assert_allclose(after.displacement, displacement, atol=1e-4)
    np.testing.assert_allclose(after.texture, jnp.tanh(colour), atol=1e-3)
    np.testing.assert_allclose(after.background, before.background, atol=1e-5)


def test_a_generator_that_loses_its_finest_level_keeps_the_others():
    large = assemble(TINY)
    small = assemble(dataclasses.replace(TINY, surface_size=8, texture_size=8))
    old = random_parameters(state_shapes(large).generator_params, seed=1)
    kept = flat_parameters(grown_generator(state_shapes(small).generator_params, old))
    assert "shape_8/kernel" in kept and "shape_16/kernel" not in kept
    for name, value in kept.items():
        np.testing.assert_array_equal(value, flat_parameters(old)[name])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "first"
    save_run(directory)
    return directory


@pytest.fixture(scope="module")
def export(run, tmp_path_factory):
    """config.json and parameters.npz, as `gan3d.deploy` writes them."""
    directory = tmp_path_factory.mktemp("exports") / "first"
    directory.mkdir()
    (directory / "config.json").write_bytes((run / "config.json").read_bytes())
    opened = load_run(run)
    arrays = flat_parameters(opened.ema_params)
    replace_arrays(directory / "parameters.npz", {**arrays, "images_seen": opened.images_seen})
    return directory


@pytest.fixture
def random_beginning(monkeypatch):
    """(parts, seed) -> the state without another run; random, as initialising takes a while."""

    def begin(parts, seed):
        return random_parameters(state_shapes(parts), seed)

    monkeypatch.setattr(transfer, "init_state", begin)
    return begin


def test_the_first_state_has_the_averaged_generator_and_the_discriminator(run, random_beginning):
    state, told = first_state(assemble(dataclasses.replace(TINY, seed=3, start_from=str(run))))
    opened = load_run(run)
    for params, source in (
        (state.generator_params, opened.ema_params),
        (state.ema_params, opened.ema_params),
        (state.discriminator_params, opened.discriminator_params),
    ):
        jax.tree.map(np.testing.assert_array_equal, params, source)
    fresh = random_beginning(assemble(TINY), 3)
    for name in ("images_seen", "generator_opt", "discriminator_opt"):
        jax.tree.map(np.testing.assert_array_equal, getattr(state, name), getattr(fresh, name))
    assert told == (f"beginning with the generator of {run} at 320 images; discriminator with it")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (dict(discriminator_width=8), "its width there is 4"),
        (dict(mbstd_group_size=2), "mbstd_group_size there is 1"),
    ],
)
def test_a_discriminator_that_does_not_fit_is_new(run, random_beginning, changes, reason):
    parts = assemble(dataclasses.replace(TINY, start_from=str(run), **changes))
    state, told = first_state(parts)
    assert told.endswith(f"; discriminator new, because {reason}")
    fresh = random_beginning(parts, 0).discriminator_params
    jax.tree.map(np.testing.assert_array_equal, state.discriminator_params, fresh)


def test_an_export_is_a_beginning_without_a_discriminator(export, random_beginning):
    state, told = first_state(assemble(dataclasses.replace(TINY, start_from=str(export))))
    assert told.endswith("320 images; discriminator new, because exports have none")
    opened = load_run(export)
    jax.tree.map(np.testing.assert_array_equal, state.generator_params, opened.ema_params)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(generator_width=8), "start_from: generator_width must be that of {run}, 4, got 8"),
        (dict(shape_latent_size=2), "start_from: shape_latent_size must be that of {run}, 0, got"),
        (dict(chart="azimuthal"), "start_from: chart must be that of {run}, octahedral, got azi"),
        (dict(pyramid=False), "start_from: pyramid must be that of {run}, True, got False"),
    ],
)
def test_a_generator_that_does_not_fit_is_refused(run, tmp_path, changes, message):
    config = dataclasses.replace(TINY, start_from=str(run), **changes)
    for refuse in (lambda: check_start(config, tmp_path), lambda: first_state(assemble(config))):
        with pytest.raises(TransferError) as error:
            refuse()
        assert str(error.value).startswith(message.format(run=run))


def test_without_the_pyramid_the_finest_map_must_be_the_same(tmp_path):
    flat = dataclasses.replace(TINY, pyramid=False)
    save_run(tmp_path / "flat", flat)
    finer = dataclasses.replace(flat, surface_size=32, start_from=str(tmp_path / "flat"))
    with pytest.raises(TransferError, match=r"surface_size must be that of .*, 16, got 32"):
        check_start(finer, tmp_path / "new")


def test_a_run_that_is_not_there_matters_until_one_has_begun(run, tmp_path):
    config = dataclasses.replace(TINY, start_from=str(tmp_path / "gone"))
    with pytest.raises(TransferError, match=r"start_from: there is no run .*gone"):
        check_start(config, tmp_path / "new")
    with pytest.raises(TransferError, match=r"start_from: there is no run .*gone"):
        first_state(assemble(config))
    check_start(config, run)  # which has a checkpoint


def test_schedules_of_the_beginning_are_over():
    images = jnp.int32(640)
    assert network_age(TINY, images) == 640
    old = network_age(dataclasses.replace(TINY, start_from="runs/other"), images)
    assert old.dtype == jnp.int32 and old > 10**9


def test_smoothness_penalties_and_blur_of_a_step_follow_the_networks_age():
    config = dataclasses.replace(TINY, blur_pixels=4.0, penalty_floor=0.1, size_weight=0.0)
    parts = assemble(config)
    new = step_programs(parts)
    old = step_programs(assemble(dataclasses.replace(config, start_from="runs/other")))
    shapes = state_shapes(parts)
    generator = random_parameters(shapes.generator_params, seed=0)
    discriminator = random_parameters(shapes.discriminator_params, seed=1)
    real = jax.random.randint(jax.random.key(0), (2, 32, 32, 3), 0, 256).astype(jnp.uint8)
    fake = jax.random.uniform(jax.random.key(1), (2, 32, 32, 3), minval=-1.0)

    def moment(images):
        return Moment(jnp.int32(images), jax.random.key(2), jnp.int32(0))

    def prior(step):
        return jax.jit(lambda params: step.draw(params, moment(0), real)[0].prior)(generator)

    def gradients(program, images):
        return ravel_pytree(jax.jit(program)(discriminator, moment(images), real, fake))[0]

    assert prior(new) > 0
    np.testing.assert_allclose(prior(old), config.smoothness_floor * prior(new), rtol=1e-4)
    for name in ("penalised_gradients", "image_gradients"):
        late = gradients(getattr(new, name), 10**9)
        largest = np.abs(late).max()
        begun = gradients(getattr(old, name), 0)
        np.testing.assert_allclose(begun, late, rtol=1e-4, atol=1e-5 * largest)
        assert np.abs(gradients(getattr(new, name), 0) - late).max() > 0.01 * largest


@pytest.mark.parametrize(("start_from", "halflife"), [("", 2.6), ("runs/other", 5000)])
def test_the_average_of_trained_networks_is_long_from_the_first_step(start_from, halflife):
    parts = assemble(dataclasses.replace(TINY, start_from=start_from))
    params, average = {"w": jnp.ones(2)}, {"w": jnp.zeros(2)}
    optimizer_state = parts.generator_optimizer.init(params)
    total = ({"w": jnp.zeros(2)}, {})
    update = step_programs(parts).update_generator
    _, _, average, _, _ = update(jnp.int32(0), params, average, optimizer_state, total)
    np.testing.assert_allclose(average["w"], 1 - 0.5 ** (16 / halflife), rtol=1e-3)
