"""Blur of what the discriminator sees early in training (Karras et al. 2021, StyleGAN3).

Without fine detail D cannot win by it before G has found the coarse form. Real and generated images
are blurred alike, and the blur fades to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from gan3d.training.assemble import Parts

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

_REACH = 3.0  # standard deviations that the kernel covers
_SMALLEST = 0.1  # pixels; a narrower Gaussian is one pixel


def blurred_score(
    parts: Parts, images_seen: Int[Array, ""], precise: bool = False
) -> Callable[[Any, Float[Array, "R R 3"]], Float[Array, ""]]:
    """(parameters, image) -> score of the discriminator, through the blur of this moment.

    Args:
      parts: from `assemble`.
      images_seen: the moment.
      precise: in float32 whatever the precision of the run.
    """
    config = parts.config
    discriminator = parts.discriminator.clone(dtype=None) if precise else parts.discriminator
    score = lambda params, image: discriminator.apply({"params": params}, image)  # noqa: E731
    if not config.blur_pixels:
        return score
    remaining = 1 - images_seen / config.blur_images
    deviation = jnp.maximum(config.blur_pixels * remaining, _SMALLEST)
    radius = min(math.ceil(_REACH * config.blur_pixels), config.resolution - 1)
    return lambda params, image: score(params, blur(image, deviation, radius))


def blur(
    image: Float[Array, "H W C"], deviation: Float[Array, ""], radius: int
) -> Float[Array, "H W C"]:
    """Gaussian blur; beyond the border the image continues with its edge.

    Args:
      image: any size.
      deviation: standard deviation, pixels; positive.
      radius: half the kernel's size, pixels; 3 deviations lose nothing that matters.
    """
    offsets = jnp.arange(-radius, radius + 1)
    kernel = jnp.exp(-0.5 * (offsets / deviation) ** 2)
    kernel = (kernel / kernel.sum()).astype(image.dtype)
    for _ in range(2):
        padded = jnp.pad(image, ((radius, radius), (0, 0), (0, 0)), mode="edge")
        taps = [padded[i : i + len(image)] * kernel[i] for i in range(2 * radius + 1)]
        image = sum(taps).swapaxes(0, 1)
    return image
