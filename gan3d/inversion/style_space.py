"""The styles of a generator in coordinates in which they are spread evenly.

w is far from round: the mapping network stretches some directions and flattens others. In the
coordinates c of

    w = mean + basis @ c        basis = U sqrt(S),  Cov(w) = U S U^T

the styles of random latents have mean 0 and covariance I, so one step size serves all directions
and |c|² is the squared Mahalanobis distance from the latent distribution. Source of the use of it
as a prior: Wulff & Torralba 2020, "Improving inversion and generation diversity in StyleGAN using a
Gaussianized latent space".
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan3d.trained import TrainedGenerator

if TYPE_CHECKING:
    from jaxtyping import Array, Float

_SAMPLES = 10_000
_LEAST_VARIANCE = 1e-6  # of the largest one: directions below it are not directions of w at all


class StyleSpace(NamedTuple):
    """Coordinates c of w.

    Attributes:
      mean: of w.
      basis: columns are principal directions, one standard deviation long.
      inverse: c = inverse @ (w - mean).

    >>> space = StyleSpace(jnp.ones(1), basis=jnp.full((1, 1), 2.0), inverse=jnp.full((1, 1), 0.5))
    >>> print(space.decode(jnp.array([-1.0])), space.encode(jnp.array([3.0])))
    [-1.] [1.]
    """

    mean: Float[Array, "W"]
    basis: Float[Array, "W K"]
    inverse: Float[Array, "K W"]

    def encode(self, w: Float[Array, "... W"]) -> Float[Array, "... K"]:
        """c of w; what lies outside all directions of w is dropped."""
        return (w - jnp.broadcast_to(self.mean, w.shape)) @ self.inverse.T

    def decode(self, coordinates: Float[Array, "... K"]) -> Float[Array, "... W"]:
        """w of c."""
        offset = coordinates @ self.basis.T
        return jnp.broadcast_to(self.mean, offset.shape) + offset


# Bounded, because every entry keeps its generator alive.
@functools.lru_cache(maxsize=8)
def style_space(generator: TrainedGenerator) -> StyleSpace:
    """The coordinates of a generator's w, from the styles of latents that never change."""
    z = generator.sample(jax.random.key(0), _SAMPLES)
    w = np.asarray(generator.styles(z).levels[:, 0], np.float64)
    mean = w.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(w - mean, rowvar=False).reshape(len(mean), -1))
    kept = variances > _LEAST_VARIANCE * variances.max()
    lengths, directions = np.sqrt(variances[kept]), directions[:, kept]
    arrays = (mean, directions * lengths, (directions / lengths).T)
    return StyleSpace(*(jnp.asarray(array, jnp.float32) for array in arrays))
