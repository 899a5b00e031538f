"""A learned viewpoint prior: how p_v differs from the one that was assumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class ViewQuantiles(nn.Module):
    """A monotone map of [-1, 1] onto itself per angle, piecewise linear; the identity at first.

    Applied to uniform quantiles it is the quantile function of a piecewise constant density: each
    of K pieces has probability 1 / K, and its width is learned. Differentiable in the widths, so
    that the gradient of a picture with respect to its viewpoint trains it.

    Attributes:
      pieces: K.

    >>> network = ViewQuantiles(pieces=4)
    >>> quantiles = jnp.array([0.25, -1.0])
    >>> params = network.init(jax.random.key(0), quantiles)
    >>> print(network.apply(params, quantiles))
    [ 0.25 -1.  ]
    """

    pieces: int = 16

    @nn.compact
    def __call__(self, quantiles: Float[Array, "2"]) -> Float[Array, "2"]:
        logits = self.param("logits", nn.initializers.zeros, (2, self.pieces))
        widths = 2 * jax.nn.softmax(logits, axis=-1)
        ends = jnp.cumsum(widths, axis=-1) - 1
        place = (quantiles + 1) * (self.pieces / 2)
        piece = jnp.clip(jnp.floor(place), 0, self.pieces - 1).astype(jnp.int32)[:, None]
        width = jnp.take_along_axis(widths, piece, axis=1)[:, 0]
        end = jnp.take_along_axis(ends, piece, axis=1)[:, 0]
        return end - width * (piece[:, 0] + 1 - place)
