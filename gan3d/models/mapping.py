"""From the latent z to the style w."""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan3d.models.layers import Dense, activate

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class MappingNetwork(nn.Module):
    """Fully connected network on the normalised latent.

    Attributes:
      features: size of every layer and of w.
      num_layers: 0 returns the normalised latent.
      shape_features: leading entries of w that depend on as many leading entries of z alone, and
        the others on the others, by networks of their own; 0 = all depend on all.

    >>> network = MappingNetwork(features=4, num_layers=0)
    >>> print(network.apply({}, jnp.full(4, 3.0)))  # without layers, normalised only
    [1. 1. 1. 1.]
    >>> network = MappingNetwork(features=4, num_layers=2)
    >>> params = network.init(jax.random.key(0), jnp.ones(4))
    >>> print(network.apply(params, jnp.ones(4)).shape)
    (4,)
    """

    features: int
    num_layers: int
    shape_features: int = 0

    @nn.compact
    def __call__(self, z: Float[Array, "Z"]) -> Float[Array, "W"]:
        if not self.shape_features:
            return self._map(z, self.features)
        shape, paint = jnp.split(z, [self.shape_features])
        rest = self.features - self.shape_features
        return jnp.concatenate([self._map(shape, self.shape_features), self._map(paint, rest)])

    def _map(self, z: Float[Array, "P"], features: int) -> Float[Array, "F"]:
        w = z * jax.lax.rsqrt(jnp.mean(z**2) + 1e-8)
        for _ in range(self.num_layers):
            # The slow rate keeps w's distribution stable under the large style gradients.
            w = activate(Dense(features, rate=0.01)(w))
        return w
