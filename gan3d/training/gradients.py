"""Gradients of both players' losses, from the images that D sees.

Shape letters: R resolution.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gan3d.losses import ADVERSARIAL, gradient_penalty
from gan3d.models import judge_in_groups
from gan3d.training.assemble import Parts
from gan3d.training.augment import overfitting

Score = Callable[[Any, "Float[Array, 'R R 3']"], "Float[Array, '']"]


def discriminator_gradients(
    parts: Parts,
    score: Score,
    params,
    real,
    fake,
    penalty_score: Score | None,
    penalty_weight=1.0,
):
    """Gradients of D's loss and metrics.

    Args:
      parts: from `assemble`.
      score: of D, in the run's precision.
      params: of D.
      real: images in [-1, 1], as D sees them.
      fake: as many generated ones.
      penalty_score: of D in float32, for the penalties, which are weighted by their interval in
        steps; None = no penalties.
      penalty_weight: factor of both penalties.
    """
    config, loss = parts.config, ADVERSARIAL[parts.config.loss]
    over_images = functools.partial(judge_in_groups, group_size=config.mbstd_group_size)

    def total(params):
        one = lambda x: score(params, x)  # noqa: E731
        real_scores, fake_scores = jnp.split(over_images(one)(jnp.concatenate([real, fake])), 2)
        value = loss.discriminator(real_scores, fake_scores)

        def norm(gamma, images):
            if not gamma or penalty_score is None:
                return jnp.zeros(())
            # Scaled by the interval, a metric's mean over many steps is the mean norm.
            slope = gradient_penalty(lambda x: penalty_score(params, x), images, over_images)
            return config.penalty_interval * slope

        r1, r2 = norm(config.r1_gamma, real), norm(config.r2_gamma, fake)
        metrics = {
            "loss_d": value,
            "score_real": real_scores.mean(),
            "score_fake": fake_scores.mean(),
            "r1": r1,
            "r2": r2,
        }
        if config.augment_target:
            metrics["overfitting"] = overfitting(real_scores, fake_scores)
        penalty = 0.5 * penalty_weight * (config.r1_gamma * r1 + config.r2_gamma * r2)
        return value + penalty, metrics

    return jax.grad(total, has_aux=True)(params)


def generator_image_gradients(parts: Parts, score: Score, params, real, fake):
    """Gradient of G's adversarial loss with respect to the generated images, and the loss."""
    loss = ADVERSARIAL[parts.config.loss]
    scores = judge_in_groups(lambda x: score(params, x), parts.config.mbstd_group_size)

    def adversarial(fake):
        real_scores = scores(real) if parts.config.loss == "relativistic" else jnp.zeros(len(real))
        return loss.generator(real_scores, scores(fake))

    value, gradient = jax.value_and_grad(adversarial)(fake)
    return gradient, value
