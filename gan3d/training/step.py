"""One training step, in pure pieces.

D first, then G against the new D. Both see the same rendered images: they are drawn once, G's
gradient with respect to them is pulled back through the renderer by one vector-Jacobian product,
and the penalties differentiate D alone. No second derivative crosses the renderer. Where D sees
augmented images, the penalties are those at the augmented images, and G's gradient is pulled back
through the augmentation before the renderer.

In pieces, because compiled one by one steps with and without penalties share all programs but one,
and because a batch that does not fit the memory goes through the same programs in parts. Where the
host would be slower than the arithmetic they are compiled as one, see `training.parallel`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from gan3d.config import Config
from gan3d.losses import penalty_fraction
from gan3d.training.assemble import Parts
from gan3d.training.augment import adapted, share_augmentations
from gan3d.training.blur import blurred_score
from gan3d.training.drawing import Drawn, draw_images, draw_latents
from gan3d.training.gradients import discriminator_gradients, generator_image_gradients
from gan3d.training.state import TrainState
from gan3d.training.transfer import network_age

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int, UInt8

Step = Callable[[TrainState, "UInt8[Array, 'B R R 3']", Any], tuple[TrainState, dict[str, Any]]]


class Moment(NamedTuple):
    """What a step's randomness and schedules depend on; the same on all devices.

    Attributes:
      images_seen: before the step.
      key: the run's; images seen and places in the batch decide what is drawn from it.
      part: index of the microbatch.
      augment_probability: see `TrainState`.
    """

    images_seen: Int[Array, ""]
    key: Array
    part: Int[Array, ""]
    augment_probability: Float[Array, ""] | None = None


class StepPrograms(NamedTuple):
    """The pieces of a step, as one device sees them.

    A *total* is the pair (gradients, metrics), a sum over microbatches, of one device; the updates
    average it over microbatches and devices, so that a step communicates once per player.

    Attributes:
      draw: (generator's parameters, moment, real images) -> (generated images and priors, as many
        as real ones; their pull-back; metrics).
      discriminator_gradients: (D's parameters, moment, real, generated) -> total.
      penalised_gradients: the same, with the gradient penalties. XLA runs convolutions inside a
        conditional ten times slower.
      update_discriminator: (D's parameters, optimizer's state, probability of the augmentations,
        total) -> (the first three after the step, metrics).
      image_gradients: (D's parameters, moment, real, generated) -> (gradient of G's loss with
        respect to the generated images, the loss).
      generator_gradients: (pull-back, gradient with respect to the images) -> gradients.
      update_generator: (images seen, G's parameters, their average, optimizer's state, total) ->
        (the first four after the step, metrics).
      add: sum of two totals.
    """

    draw: Callable[..., Any]
    discriminator_gradients: Callable[..., Any]
    penalised_gradients: Callable[..., Any]
    update_discriminator: Callable[..., Any]
    image_gradients: Callable[..., Any]
    generator_gradients: Callable[..., Any]
    update_generator: Callable[..., Any]
    add: Callable[..., Any]


def step_programs(parts: Parts, axis_name: str | None = None) -> StepPrograms:
    """The pieces of a run's training step.

    Args:
      parts: from `assemble`.
      axis_name: of the device axis over which the updates average, or None.
    """
    config = parts.config

    def place(part):
        """Number of shares of the global batch, and which of them a microbatch is."""
        num_devices = jax.lax.psum(1, axis_name) if axis_name else 1
        device = jax.lax.axis_index(axis_name) if axis_name else 0
        return num_devices * config.microbatches, device * config.microbatches + part

    def augmentations(moment, num_images):
        """Of real images, and of generated ones; one draw per image serves both players."""
        if not config.augment_target:
            return (lambda images: images,) * 2
        first = place(moment.part)[1] * num_images
        return share_augmentations(_step_key(moment), moment.augment_probability, first)

    def draw(params, moment, real):
        latents = draw_latents(parts, _step_key(moment), len(real), *place(moment.part))
        age = network_age(config, moment.images_seen)
        images = lambda params: draw_images(parts, params, latents, age)  # noqa: E731
        return jax.vjp(images, params, has_aux=True)

    def discriminator_total(penalise):
        def gradients(params, moment, real, fake):
            age = network_age(config, moment.images_seen)
            score, precise = (blurred_score(parts, age, exact) for exact in (False, True))
            fraction = penalty_fraction(age, config.penalty_floor, config.penalty_decay_images)
            of_real, of_fake = augmentations(moment, len(real))
            real, fake = of_real(_scaled(real)), of_fake(fake)
            return discriminator_gradients(
                parts, score, params, real, fake, precise if penalise else None, fraction
            )

        return gradients

    def mean(total):
        if axis_name and jax.lax.psum(1, axis_name) > 1:
            # As one array: one message instead of one per parameter.
            flat, unflatten = ravel_pytree(total)
            total = unflatten(jax.lax.pmean(flat, axis_name))
        return jax.tree.map(lambda x: x / config.microbatches, total)

    def update_discriminator(params, optimizer_state, probability, total):
        gradients, metrics = mean(total)
        optimizer = parts.discriminator_optimizer
        updates, optimizer_state = optimizer.update(gradients, optimizer_state)
        if config.augment_target:
            metrics["augment_probability"] = probability
            probability = adapted(config, probability, metrics["overfitting"])
        return optax.apply_updates(params, updates), optimizer_state, probability, metrics

    def image_gradients(params, moment, real, fake):
        score = blurred_score(parts, network_age(config, moment.images_seen))
        of_real, of_fake = augmentations(moment, len(real))
        fake, pull_back = jax.vjp(of_fake, fake)
        real = of_real(_scaled(real))
        gradient, loss = generator_image_gradients(parts, score, params, real, fake)
        return pull_back(gradient)[0], loss

    def generator_gradients(pull_back, image_gradients):
        return pull_back(Drawn(image_gradients, jnp.ones(())))[0]

    def update_generator(images_seen, params, average, optimizer_state, total):
        gradients, metrics = mean(total)
        optimizer = parts.generator_optimizer
        updates, optimizer_state = optimizer.update(gradients, optimizer_state)
        params = optax.apply_updates(params, updates)
        images_seen = images_seen + config.batch
        age = network_age(config, images_seen)
        decay = ema_decay(config.batch, age, config.ema_halflife_images)
        average = optax.incremental_update(params, average, 1 - decay)
        return images_seen, params, average, optimizer_state, metrics

    return StepPrograms(
        draw=draw,
        discriminator_gradients=discriminator_total(penalise=False),
        penalised_gradients=discriminator_total(penalise=True),
        update_discriminator=update_discriminator,
        image_gradients=image_gradients,
        generator_gradients=generator_gradients,
        update_generator=update_generator,
        add=lambda a, b: jax.tree.map(jnp.add, a, b),
    )


def take_step(
    programs: StepPrograms,
    state: TrainState,
    microbatches: Sequence[UInt8[Array, "... b R R 3"]],
    key: Array,
    penalise: bool,
) -> tuple[TrainState, dict[str, Any]]:
    """Runs the pieces in their order, over all microbatches of a batch.

    Args:
      programs: from `step_programs`, as they are or mapped over devices.
      state: before the step.
      microbatches: the parts of the batch of real images, config.microbatches of them.
      key: the run's key.
      penalise: whether this step computes the gradient penalties, see `penalised`.

    Returns:
      The state after the step, and metrics, averaged over the batch.
    """
    seen, d_params = state.images_seen, state.discriminator_params
    probability = state.augment_probability
    gradients = programs.penalised_gradients if penalise else programs.discriminator_gradients
    moments = [Moment(seen, key, np.int32(part), probability) for part in range(len(microbatches))]
    indexed = list(zip(moments, microbatches, strict=True))
    total = None
    for moment, real in indexed:
        drawn = programs.draw(state.generator_params, moment, real)
        total = _added(programs, total, gradients(d_params, moment, real, drawn[0].images))
    d_params, d_state, probability, d_metrics = programs.update_discriminator(
        d_params, state.discriminator_opt, probability, total
    )

    # Backwards, as the last microbatch is still there; of the others, what their backward pass
    # needs would not have fitted the memory, and they are drawn once more.
    total = None
    for moment, real in reversed(indexed):
        drawn = drawn or programs.draw(state.generator_params, moment, real)
        (fake, _), pull_back, metrics = drawn
        by_images, loss = programs.image_gradients(d_params, moment, real, fake)
        of_part = programs.generator_gradients(pull_back, by_images), {"loss_g": loss, **metrics}
        total = _added(programs, total, of_part)
        drawn = pull_back = None
    seen, g_params, average, g_state, g_metrics = programs.update_generator(
        seen, state.generator_params, state.ema_params, state.generator_opt, total
    )
    state = TrainState(seen, g_params, d_params, average, g_state, d_state, probability)
    return state, {**g_metrics, **d_metrics}


def _added(programs: StepPrograms, total, more):
    return more if total is None else programs.add(total, more)


def make_step(parts: Parts, penalise: bool = True) -> Step:
    """The whole step on one device as one pure function (state, images, key) -> (state, metrics).

    Training maps it over devices, see `training.parallel`; this is for those who trace a step.

    Args:
      parts: from `assemble`.
      penalise: whether this step computes the gradient penalties, see `penalised`.

    Returns:
      The step. images are uint8 [config.batch, R, R, 3]; key is the run's key, into which the step
      folds images seen.
    """
    programs = step_programs(parts)

    def step(state: TrainState, images, key):
        return take_step(
            programs, state, jnp.split(images, parts.config.microbatches), key, penalise
        )

    return step


def penalised(config: Config, images_seen: int) -> bool:
    """Whether the step that starts at `images_seen` computes the gradient penalties."""
    return (images_seen // config.batch) % config.penalty_interval == 0


def _step_key(moment: Moment) -> Array:
    return jax.random.fold_in(moment.key, moment.images_seen)


def _scaled(images: UInt8[Array, "b R R 3"]) -> Float[Array, "b R R 3"]:
    """Of 8 bits to [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1


def ema_decay(batch, images_seen, halflife_images):
    """0.5^(batch / halflife), with a shorter half-life while few images have been seen."""
    halflife = jnp.minimum(halflife_images, 0.1 * images_seen.astype(jnp.float32) + 1)
    return 0.5 ** (batch / halflife)
