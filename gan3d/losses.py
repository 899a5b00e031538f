"""Adversarial losses on the discriminator's outputs, and penalties on its gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

__all__ = ["ADVERSARIAL", "AdversarialLoss", "gradient_penalty", "penalty_fraction"]


class AdversarialLoss(NamedTuple):
    """Losses of both players as functions of D's outputs (D(real) [B], D(fake) [B]).

    >>> loss: AdversarialLoss = ADVERSARIAL["relativistic"]
    >>> real, fake = jnp.array([2.0, 1.0]), jnp.array([-1.0, 0.0])
    >>> print(f"D {loss.discriminator(real, fake):.2f}, G {loss.generator(real, fake):.2f}")
    D 0.18, G 2.18
    """

    discriminator: Callable[[Array, Array], Array]
    generator: Callable[[Array, Array], Array]


RELATIVISTIC = AdversarialLoss(
    # Relativistic pairing, Jolicoeur-Martineau 2019 and Huang et al. 2024 (R3GAN):
    # E softplus(-(D(x_r) - D(x_f))), and with the signs turned for G.
    discriminator=lambda real, fake: jax.nn.softplus(fake - real).mean(),
    generator=lambda real, fake: jax.nn.softplus(real - fake).mean(),
)

NONSATURATING = AdversarialLoss(
    # Goodfellow et al. 2014: E softplus(D(x_f)) + E softplus(-D(x_r)); G: E softplus(-D(x_f)).
    discriminator=lambda real, fake: (jax.nn.softplus(fake) + jax.nn.softplus(-real)).mean(),
    generator=lambda real, fake: jax.nn.softplus(-fake).mean() + 0 * real.mean(),
)

ADVERSARIAL = {"relativistic": RELATIVISTIC, "nonsaturating": NONSATURATING}
"""The adversarial losses by the names that `Config.loss` takes."""


def gradient_penalty(
    score: Callable[[Array], Array],
    images: Float[Array, "B H W C"],
    over: Callable[[Callable[..., Any]], Callable[..., Any]] = jax.vmap,
) -> Float[Array, ""]:
    """E |grad_x D(x)|^2 (Mescheder et al. 2018): R1 on real images, R2 on generated ones.

    The images are constants here: of the renderer that drew them no derivative is taken.

    Args:
      score: D for one image.
      images: a batch.
      over: maps a function of one image over the batch. Where images are judged in groups, an
        image's gradient is that of its whole group's scores.

    >>> score = lambda image: 3 * image[0, 0, 0] - image[1, 1, 2]
    >>> print(gradient_penalty(score, jnp.zeros((2, 4, 4, 3))))  # 3^2 + 1^2
    10.0
    """
    gradients = over(jax.grad(score))(jax.lax.stop_gradient(images))
    return jnp.mean(jnp.sum(gradients**2, axis=(1, 2, 3)))


def penalty_fraction(
    images_seen: Int[Array, ""], floor: float, decay_images: int
) -> Float[Array, ""]:
    """What is left of the penalty weights: falls from 1 to the floor by equal factors, then stays.

    A smooth discriminator leads the way at the start; one that stays smooth never sees the detail
    that is still wrong (Huang et al. 2024, R3GAN, lower theirs to a tenth along a cosine).

    Args:
      images_seen: so far.
      floor: least fraction, in (0, 1]; 1 = constant weights.
      decay_images: images seen until it is reached.

    >>> for images_seen in (0, 500, 1000, 2000):
    ...     print(f"{penalty_fraction(jnp.array(images_seen), floor=0.01, decay_images=1000):.3f}")
    1.000
    0.100
    0.010
    0.010
    """
    return floor ** jnp.minimum(images_seen / decay_images, 1)
