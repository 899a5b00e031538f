"""Adversarial losses on the discriminator's outputs, and penalties on its gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


class AdversarialLoss(NamedTuple):
    """Losses of both players as functions of D's outputs (D(real) [B], D(fake) [B])."""

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


def gradient_penalty(
    score: Callable[[Array], Array], images: Float[Array, "B H W C"]
) -> Float[Array, ""]:
    """E |grad_x D(x)|^2 (Mescheder et al. 2018): R1 on real images, R2 on generated ones.

    The images are constants here: of the renderer that drew them no derivative is taken.

    Args:
      score: D for one image.
      images: a batch.
    """
    gradients = jax.vmap(jax.grad(score))(jax.lax.stop_gradient(images))
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
    """
    return floor ** jnp.minimum(images_seen / decay_images, 1)
