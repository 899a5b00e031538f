"""One training step, pure, as one device sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gan3d.config import Config
from gan3d.losses import ADVERSARIAL, gradient_penalty
from gan3d.models import Randomness
from gan3d.priors import crease_term, laplacian_term, size_term, smoothness_fraction
from gan3d.scene import draw_quantiles, render_scene, scene_vertices
from gan3d.training.assemble import Parts, generate, latent_size, place_views
from gan3d.training.blur import blurred_score
from gan3d.training.state import TrainState

if TYPE_CHECKING:
    from jaxtyping import Array, Float, UInt8

# Folded into a step's key for style mixing and noise.
_RANDOMNESS_STREAM = 2**32 - 2

Score = Callable[[Any, "Float[Array, 'R R 3']"], "Float[Array, '']"]
Step = Callable[[TrainState, "UInt8[Array, 'B R R 3']", Any], tuple[TrainState, dict[str, Any]]]


def make_step(parts: Parts, axis_name: str | None = None, penalise: bool = True) -> Step:
    """The function (state, images, key) -> (state, metrics).

    D first, then G against the new D. Both see the same rendered images: they are drawn once, G's
    gradient with respect to them is pulled back through the renderer by one vector-Jacobian
    product, and the penalties differentiate D alone. No second derivative crosses the renderer.

    Args:
      parts: from `assemble`.
      axis_name: of the device axis over which gradients are averaged, or None.
      penalise: whether this step computes the gradient penalties. Steps with and without are two
        programs, see `penalised`: XLA runs convolutions inside a conditional ten times slower.

    Returns:
      The step. images are uint8 [b, R, R, 3], this device's share; key is the run's key, into
      which the step folds images seen. Latents are drawn for the global batch and sliced, so the
      number of devices changes nothing. Metrics are scalars, averaged.
    """
    config = parts.config

    def step(state: TrainState, images, key):
        average = (lambda x: jax.lax.pmean(x, axis_name)) if axis_name else (lambda x: x)
        num_devices = jax.lax.psum(1, axis_name) if axis_name else 1
        index = jax.lax.axis_index(axis_name) if axis_name else 0
        key = jax.random.fold_in(key, state.images_seen)
        real = images.astype(jnp.float32) / 127.5 - 1
        latents = draw_latents(parts, key, images.shape[0], num_devices, index)

        draw = lambda params: draw_images(parts, params, latents, state.images_seen)  # noqa: E731
        fake, pull_back, prior_metrics = jax.vjp(draw, state.generator_params, has_aux=True)

        score = blurred_score(parts, state.images_seen)
        d_grads, d_metrics = discriminator_gradients(
            parts, score, state.discriminator_params, real, fake.images, penalise
        )
        d_grads = average(d_grads)
        d_updates, d_opt = parts.discriminator_optimizer.update(d_grads, state.discriminator_opt)
        d_params = optax.apply_updates(state.discriminator_params, d_updates)

        g_loss, g_images = generator_image_gradients(parts, score, d_params, real, fake.images)
        (g_grads,) = pull_back(Drawn(g_images, jnp.ones_like(fake.prior)))
        g_grads = average(g_grads)
        g_updates, g_opt = parts.generator_optimizer.update(g_grads, state.generator_opt)
        g_params = optax.apply_updates(state.generator_params, g_updates)

        images_seen = state.images_seen + images.shape[0] * num_devices
        decay = ema_decay(images.shape[0] * num_devices, images_seen, config.ema_halflife_images)
        state = TrainState(
            images_seen=images_seen,
            generator_params=g_params,
            discriminator_params=d_params,
            ema_params=optax.incremental_update(g_params, state.ema_params, 1 - decay),
            generator_opt=g_opt,
            discriminator_opt=d_opt,
        )
        return state, average({"loss_g": g_loss, **d_metrics, **prior_metrics})

    return step


class Latents(NamedTuple):
    """What a batch of generated images is drawn from."""

    z: Any
    view_quantiles: Any
    random: Randomness | None


class Drawn(NamedTuple):
    """Generated images, and the weighted sum of the priors on their shapes."""

    images: Any
    prior: Any


def draw_latents(parts: Parts, key, batch: int, num_devices, index) -> Latents:
    """This device's share of the global batch's latents, so that devices change nothing."""
    z_key, view_key = jax.random.split(key)
    total = batch * num_devices
    z = jax.random.normal(z_key, (total, latent_size(parts)))
    quantiles = draw_quantiles(view_key, (total,)).T
    random = _draw_randomness(parts, jax.random.fold_in(key, _RANDOMNESS_STREAM), total)
    share = lambda a: jax.lax.dynamic_slice_in_dim(a, index * batch, batch)  # noqa: E731
    return Latents(*jax.tree.map(share, (z, quantiles, random)))


def _draw_randomness(parts: Parts, key, num: int) -> Randomness | None:
    """Second latents, crossovers and noise of `num` images; None if the run has none of these."""
    if not parts.config.noise and not parts.config.style_mixing:
        return None
    z_key, mix_key, level_key, noise_key = jax.random.split(key, 4)
    levels = parts.generator.num_levels
    mixed = jax.random.uniform(mix_key, (num,)) < parts.config.style_mixing
    crossover = jnp.where(mixed, jax.random.randint(level_key, (num,), 1, levels), levels)
    z = jax.random.normal(z_key, (num, latent_size(parts)))
    return Randomness(z, crossover, jax.random.split(noise_key, num))


def draw_images(parts: Parts, params, latents: Latents, images_seen):
    """x = R(G(z), v) for a batch -> (Drawn, metrics); the priors' weights follow images seen."""
    config, stage = parts.config, parts.stage
    scenes = jax.vmap(lambda z, random: generate(parts, params, z, random))(
        latents.z, latents.random
    )
    views = place_views(parts, params, latents.view_quantiles.T)
    pictures = jax.vmap(lambda scene, view: render_scene(scene, view, stage))(scenes, views)
    start = scene_vertices(jnp.asarray(parts.start_surface), stage)
    terms = {
        "size": jax.vmap(lambda v: size_term(v, config.size_min, config.size_max)),
        "laplacian": jax.vmap(lambda v: laplacian_term(v - start, stage.topology)),
        "crease": jax.vmap(lambda v: crease_term(v, stage.topology)),
    }
    values = {name: term(pictures.vertices).mean() for name, term in terms.items()}
    smoothness = smoothness_fraction(
        images_seen,
        config.smoothness_hold_images,
        config.smoothness_halflife_images,
        config.smoothness_floor,
    )
    weights = {
        "size": config.size_weight,
        "laplacian": smoothness * config.laplacian_weight,
        "crease": smoothness * config.crease_weight,
    }
    prior = sum(weights[name] * value for name, value in values.items())
    radius = jnp.linalg.norm(jax.lax.stop_gradient(pictures.vertices), axis=-1).mean()
    metrics = {**values, "coverage": pictures.alpha.mean(), "radius": radius}
    return Drawn(pictures.image, prior), metrics


def penalised(config: Config, images_seen: int) -> bool:
    """Whether the step that starts at `images_seen` computes the gradient penalties."""
    return (images_seen // config.batch) % config.penalty_interval == 0


def discriminator_gradients(parts: Parts, score: Score, params, real, fake, penalise: bool):
    """Gradients of D's loss; penalties are weighted by the interval at which they are asked for."""
    config, loss = parts.config, ADVERSARIAL[parts.config.loss]
    fake = jax.lax.stop_gradient(fake)

    def total(params):
        one = lambda x: score(params, x)  # noqa: E731
        real_scores, fake_scores = jnp.split(jax.vmap(one)(jnp.concatenate([real, fake])), 2)
        value = loss.discriminator(real_scores, fake_scores)
        norm = lambda gamma, x: gradient_penalty(one, x) if gamma and penalise else jnp.zeros(())  # noqa: E731
        # Scaled by the interval, a metric's mean over many steps is the mean norm.
        r1 = config.penalty_interval * norm(config.r1_gamma, real)
        r2 = config.penalty_interval * norm(config.r2_gamma, fake)
        metrics = {
            "loss_d": value,
            "score_real": real_scores.mean(),
            "score_fake": fake_scores.mean(),
            "r1": r1,
            "r2": r2,
        }
        return value + 0.5 * (config.r1_gamma * r1 + config.r2_gamma * r2), metrics

    return jax.grad(total, has_aux=True)(params)


def generator_image_gradients(parts: Parts, score: Score, params, real, fake):
    """G's adversarial loss and its gradient with respect to the generated images."""
    loss = ADVERSARIAL[parts.config.loss]
    scores = jax.vmap(lambda x: score(params, x))

    def adversarial(fake):
        real_scores = scores(real) if parts.config.loss == "relativistic" else jnp.zeros(len(real))
        return loss.generator(real_scores, scores(fake))

    return jax.value_and_grad(adversarial)(fake)


def ema_decay(batch, images_seen, halflife_images):
    """0.5^(batch / halflife), with a shorter half-life while few images have been seen."""
    halflife = jnp.minimum(halflife_images, 0.1 * images_seen.astype(jnp.float32) + 1)
    return 0.5 ** (batch / halflife)
