"""The discriminator D: sees images only, never poses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax.numpy as jnp

from gan3d.models.layers import Conv, Dense, activate, channels, downsample

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Discriminator(nn.Module):
    """Residual network without normalisation (as R3GAN: Huang et al. 2024), down to 4 x 4.

    Attributes:
      width: half the largest number of feature channels.
      dtype: of the features; None = the image's. The score is computed in float32 from them.

    >>> network = Discriminator(width=4)
    >>> params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((8, 8, 3)))
    >>> judge = jax.jit(jax.vmap(lambda image: network.apply(params, image)))
    >>> scores = judge(jnp.zeros((2, 8, 8, 3)))
    >>> print(scores.shape)
    (2,)
    """

    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, image: Float[Array, "H W 3"]) -> Float[Array, ""]:
        size = image.shape[0]
        x = self._conv(channels(self.width, size), 1)(image)
        while size > 4:
            size //= 2
            x = self._block(x, channels(self.width, size))
        x = activate(self._conv(x.shape[-1])(x)).reshape(-1)
        x = x if self.dtype is None else x.astype(jnp.float32)
        x = activate(Dense(2 * self.width)(x))
        return Dense(1)(x)[0]

    def _block(self, x, features):
        """Halves the size; the second convolution runs on the small map to save work."""
        residual = self._conv(x.shape[-1])(activate(x))
        residual = self._conv(features)(activate(downsample(residual)))
        return (self._conv(features, 1)(downsample(x)) + residual) * 0.5**0.5

    def _conv(self, features, size=3):
        return Conv(features, size, dtype=self.dtype)
