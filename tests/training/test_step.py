"""One training step against gradients written out by hand."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan3d.config import Config
from gan3d.models import GROUP_AXIS
from gan3d.priors import crease_term, laplacian_term, size_term, tangential_term
from gan3d.scene import render_scene, scene_vertices
from gan3d.training.assemble import assemble, generate, init_state, latent_size
from gan3d.training.gradients import discriminator_gradients, generator_image_gradients
from gan3d.training.step import ema_decay, make_step, penalised

BATCH, RESOLUTION = 4, 8
CONFIG = Config(
    batch=BATCH,
    resolution=RESOLUTION,
    surface_size=8,
    texture_size=8,
    background_size=8,
    latent_size=6,
    background_latent_size=4,
    mapping_layers=1,
    generator_width=8,
    discriminator_width=8,
    r1_gamma=0.7,
    r2_gamma=0.3,
    penalty_interval=3,
    # A half of them is left after three steps.
    penalty_floor=0.25,
    penalty_decay_images=6 * BATCH,
    start_radius=0.5,
    size_min=0.52,
    smoothness_hold_images=BATCH,
    smoothness_halflife_images=2 * BATCH,
)

# Little is computed here: most of the time goes into compilation.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def recording(rate: float) -> optax.GradientTransformation:
    """Gradient descent whose state is the last gradient."""
    return optax.GradientTransformation(
        init=lambda params: jax.tree.map(jnp.zeros_like, params),
        update=lambda grads, state, params=None: (jax.tree.map(lambda g: -rate * g, grads), grads),
    )


def softplus(x):
    return jnp.log1p(jnp.exp(x))


class Once(NamedTuple):
    """A step from `before` to `after`, and what it was given."""

    before: Any
    after: Any
    metrics: dict[str, Any]
    images: np.ndarray
    key: Any


@pytest.fixture(scope="module")
def parts():
    return dataclasses.replace(
        assemble(CONFIG),
        generator_optimizer=recording(0.01),
        discriminator_optimizer=recording(0.1),
    )


@pytest.fixture(scope="module")
def state(parts):
    """A state in the middle of a training: no parameter is zero, and EMA is something else."""
    state = init_state(parts, 0)
    leaves, tree = jax.tree.flatten((state.generator_params, state.discriminator_params))
    rng = np.random.default_rng(1)
    noise = [x + 0.1 * rng.normal(size=x.shape).astype(np.float32) for x in leaves]
    generator_params, discriminator_params = tree.unflatten(noise)
    return state.replace(
        images_seen=jnp.int32(3 * BATCH),
        generator_params=generator_params,
        discriminator_params=discriminator_params,
        ema_params=jax.tree.map(lambda x: -x, generator_params),
    )


@pytest.fixture(scope="module")
def images():
    shape = (BATCH, RESOLUTION, RESOLUTION, 3)
    return np.random.default_rng(2).integers(0, 256, shape, np.uint8)


@pytest.fixture(scope="module")
def once(parts, state, images):
    key = jax.random.key(3)
    after, metrics = compiled(make_step(parts))(state, images, key)
    return Once(state, after, metrics, images, key)


@pytest.fixture(scope="module")
def drawn(parts, once):
    """Generator params -> (images, prior) of the step's latents and views."""
    key = jax.random.fold_in(once.key, once.before.images_seen)
    z_key, view_key = jax.random.split(key)
    z = jax.random.normal(z_key, (BATCH, latent_size(parts)))
    view = parts.prior.sample(view_key, (BATCH,))

    def draw(params):
        """One example after the other: nothing of the step's own batching."""
        start = scene_vertices(jnp.asarray(parts.start_surface), parts.stage)
        topology = parts.stage.topology

        def draw_one(latent):
            z, view = latent
            result = render_scene(generate(parts, params, z), view, parts.stage)
            prior = CONFIG.size_weight * size_term(result.vertices, 0.52, CONFIG.size_max)
            # One half-life has passed.
            prior += CONFIG.laplacian_weight / 2 * laplacian_term(result.vertices - start, topology)
            prior += CONFIG.crease_weight / 2 * crease_term(result.vertices, topology)
            prior += CONFIG.tangential_weight / 2 * tangential_term(result.vertices, start)
            return result.image, prior

        images, prior = jax.lax.map(draw_one, (z, view))
        return images, prior.mean()

    return draw


@pytest.fixture(scope="module")
def composed(parts, once, drawn):
    """The generator's whole loss by plain autodiff: (value, gradient, images)."""
    real = scaled(once.images)

    def loss(params):
        fake, prior = drawn(params)
        real_scores = scores(parts, once.after.discriminator_params, real)
        fake_scores = scores(parts, once.after.discriminator_params, fake)
        return softplus(real_scores - fake_scores).mean() + prior, (fake, prior)

    value, grads = compiled(jax.value_and_grad(loss, has_aux=True))(once.before.generator_params)
    (total, (fake, prior)) = value
    return total - prior, grads, fake


def scaled(images: np.ndarray) -> jax.Array:
    return jnp.asarray(images.astype(np.float32) * 2 / 255 - 1)


def score(parts):
    return lambda params, x: parts.discriminator.apply({"params": params}, x)


def scores(parts, params, images):
    return jax.vmap(lambda x: score(parts)(params, x))(images)


def assert_gradients_agree(actual, expected, tolerance: float) -> None:
    """Every leaf to `tolerance` of its largest entry."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, a), b in zip(
        jax.tree.leaves_with_path(actual), jax.tree.leaves(expected), strict=True
    ):
        # The relativistic loss does not see D's last bias: its gradient is zero but for rounding.
        largest = max(np.abs(b).max(), 1e-3)
        np.testing.assert_allclose(a, b, atol=tolerance * largest, err_msg=str(path))


def discriminator_loss(parts, params, real, fake, penalty_weight: float):
    """Relativistic loss and weighted penalties, written out."""
    adversarial = softplus(scores(parts, params, fake) - scores(parts, params, real)).mean()
    if not penalty_weight:
        return adversarial
    slope = jax.grad(lambda x: scores(parts, params, x).sum())
    square = lambda x: (slope(x) ** 2).sum((1, 2, 3)).mean()  # noqa: E731
    penalty = CONFIG.r1_gamma / 2 * square(real) + CONFIG.r2_gamma / 2 * square(fake)
    return adversarial + penalty_weight * penalty


def test_generator_gradient_is_that_of_the_whole_loss(once, composed):
    """One pull-back of the images' gradient, against autodiff of everything at once."""
    loss, grads, _ = composed
    assert_gradients_agree(once.after.generator_opt, grads, 1e-5)
    np.testing.assert_allclose(once.metrics["loss_g"], loss, rtol=1e-5)


def test_images_are_compared_with_their_own_kind_alone(images, composed):
    """Both players' gradients where D judges pairs, against a loop over the pairs."""
    parts = assemble(dataclasses.replace(CONFIG, mbstd_group_size=2))
    params = compiled(lambda: init_state(parts, seed=1))().discriminator_params
    real, fake = scaled(images), composed[2]

    def pairs(params, images):
        judge = jax.vmap(functools.partial(score(parts), params), axis_name=GROUP_AXIS)
        return jnp.concatenate([judge(images[i : i + 2]) for i in range(0, BATCH, 2)])

    def d_loss(params):
        slope = jax.grad(lambda x: pairs(params, x).sum())
        square = lambda x: (slope(x) ** 2).sum((1, 2, 3)).mean()  # noqa: E731
        penalty = CONFIG.r1_gamma / 2 * square(real) + CONFIG.r2_gamma / 2 * square(fake)
        adversarial = softplus(pairs(params, fake) - pairs(params, real)).mean()
        return adversarial + CONFIG.penalty_interval * penalty

    def g_loss(fake):
        return softplus(pairs(params, real) - pairs(params, fake)).mean()

    of_d = compiled(
        lambda p: discriminator_gradients(parts, score(parts), p, real, fake, score(parts))
    )
    assert_gradients_agree(of_d(params)[0], compiled(jax.grad(d_loss))(params), 1e-4)
    of_g = compiled(lambda x: generator_image_gradients(parts, score(parts), params, real, x))
    assert_gradients_agree(of_g(fake)[0], compiled(jax.grad(g_loss))(fake), 1e-4)


def test_discriminator_gradient_is_that_of_the_whole_loss(parts, once, composed):
    real, fake = scaled(once.images), composed[2]
    loss = compiled(
        jax.grad(lambda p: discriminator_loss(parts, p, real, fake, CONFIG.penalty_interval / 2))
    )
    expected = loss(once.before.discriminator_params)
    assert_gradients_agree(once.after.discriminator_opt, expected, 1e-5)


def test_steps_between_have_no_penalty(parts, state, images):
    real, fake = scaled(images), scaled(images[::-1] // 2)
    params = state.discriminator_params
    actual, metrics = compiled(
        lambda p: discriminator_gradients(parts, score(parts), p, real, fake, penalty_score=None)
    )(params)
    expected = compiled(jax.grad(lambda p: discriminator_loss(parts, p, real, fake, 0)))(params)
    assert_gradients_agree(actual, expected, 1e-5)
    assert metrics["r1"] == metrics["r2"] == 0


def test_penalties_are_due_at_multiples_of_the_interval():
    due = [penalised(CONFIG, BATCH * step) for step in range(7)]
    assert due == [True, False, False, True, False, False, True]
    every = dataclasses.replace(CONFIG, penalty_interval=1)
    assert all(penalised(every, BATCH * step) for step in range(4))


def test_players_move_along_their_gradients(once):
    for name, rate in (("generator", 0.01), ("discriminator", 0.1)):
        before = getattr(once.before, f"{name}_params")
        grads = getattr(once.after, f"{name}_opt")
        expected = jax.tree.map(lambda p, g, rate=rate: p - rate * g, before, grads)
        after = getattr(once.after, f"{name}_params")
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after, expected)


def test_clock_and_metrics(once):
    assert once.after.images_seen == once.before.images_seen + BATCH
    assert all(np.shape(value) == () and np.isfinite(value) for value in once.metrics.values())
    assert 0.05 < once.metrics["coverage"] < 0.9
    assert once.metrics["r1"] > 0 and once.metrics["r2"] > 0


def test_average_follows_its_half_life(once):
    """At 16 images the half-life is 0.1 * 16 + 1 images, not yet the configured one."""
    decay = 0.5 ** (BATCH / 2.6)
    np.testing.assert_allclose(ema_decay(BATCH, jnp.int32(16), 5000), decay, rtol=1e-6)
    late = ema_decay(32, jnp.int32(1_000_000), 5000)
    np.testing.assert_allclose(late, 0.5 ** (32 / 5000), rtol=1e-6)
    jax.tree.map(
        lambda old, new, ema: np.testing.assert_allclose(
            ema, decay * old + (1 - decay) * new, atol=1e-5
        ),
        once.before.ema_params,
        once.after.generator_params,
        once.after.ema_params,
    )


def test_nonsaturating_generator_needs_no_real_images(parts, state, images):
    parts = dataclasses.replace(parts, config=dataclasses.replace(CONFIG, loss="nonsaturating"))
    params, fake = state.discriminator_params, scaled(images)
    gradients = compiled(
        lambda real: generator_image_gradients(parts, score(parts), params, real, fake)
    )
    slope, value = gradients(fake[::-1])
    np.testing.assert_allclose(value, softplus(-scores(parts, params, fake)).mean(), rtol=1e-5)
    other_slope, other_value = gradients(jnp.zeros_like(fake))
    assert value == other_value
    np.testing.assert_array_equal(slope, other_slope)


def test_size_constraint_brings_the_radius_into_its_range():
    config = dataclasses.replace(
        CONFIG, resolution=8, surface_size=4, texture_size=4, background_size=4,
        margin_pixels=0.0, size_weight=1e4, start_radius=0.3, size_min=0.55,
        generator_learning_rate=1e-2,
    )  # fmt: skip
    parts = assemble(config)
    state, key = init_state(parts, 0), jax.random.key(4)
    images = np.zeros((BATCH, 8, 8, 3), np.uint8)
    step = compiled(make_step(parts, penalise=False))
    radii = []
    for _ in range(40):
        state, metrics = step(state, images, key)
        assert metrics["r1"] == metrics["r2"] == 0
        radii.append(float(metrics["radius"]))
    assert radii[0] < 0.31
    assert 0.54 < radii[-1] < config.size_max
