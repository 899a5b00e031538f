"""How far a picture is from another, by pixels alone: no network that was trained on labels.

Shape letters: R side of the pictures, pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

from gan3d.models.layers import downsample

if TYPE_CHECKING:
    from jaxtyping import Array, Float

_COARSEST = 4  # side of the last level of the pyramid, pixels, at least


def pyramid_distance(
    image: Float[Array, "R R 3"], target: Float[Array, "R R 3"]
) -> Float[Array, ""]:
    """Mean absolute difference, averaged over a pyramid of pictures of half the size each.

    The full size holds the detail, the coarse ones pull from afar: an edge that is several pixels
    off has no gradient towards its place at full size, and one at a quarter of it.

    Args:
      image: colours in [-1, 1].
      target: colours in [-1, 1].

    Returns:
      In [0, 2].

    >>> black, white = -jnp.ones((16, 16, 3)), jnp.ones((16, 16, 3))
    >>> print(pyramid_distance(black, white), pyramid_distance(white, white))
    2.0 0.0
    """
    difference = image - target
    levels = [jnp.abs(difference).mean()]
    while difference.shape[0] >= 2 * _COARSEST:
        even = difference.shape[0] // 2 * 2
        difference = downsample(difference[:even, :even])
        levels.append(jnp.abs(difference).mean())
    return jnp.stack(levels).mean()


def psnr(images: Float[Array, "*N R R 3"], targets: Float[Array, "*N R R 3"]) -> Float[Array, "*N"]:
    """Peak signal-to-noise ratio of every picture, dB; colours in [-1, 1].

    >>> print(psnr(jnp.full((1, 2, 2, 3), 0.2), jnp.zeros((1, 2, 2, 3))).round(3))
    [20.]
    """
    error = ((images - targets) ** 2).mean(axis=(-3, -2, -1))
    return 10 * jnp.log10(4 / jnp.maximum(error, 1e-12))
