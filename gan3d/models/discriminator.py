"""The discriminator D: sees images only, never poses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan3d.models.layers import Conv, Dense, activate, channels, downsample

if TYPE_CHECKING:
    from jaxtyping import Array, Float

GROUP_AXIS = "group"
"""Name of the mapped axis of the images that D judges together."""


class Discriminator(nn.Module):
    """Residual network without normalisation (as R3GAN: Huang et al. 2024), down to 4 x 4.

    Attributes:
      width: half the largest number of feature channels.
      dtype: of the features; None = the image's. The score is computed in float32 from them.
      compares: whether D sees how much the images of a group differ, as the standard deviation of
        its last features over them, averaged over all features: a generator that varies too little
        is found out (Karras et al. 2018, "Progressive growing of GANs", section 3). The group is
        the mapped axis `GROUP_AXIS`, see `judge_in_groups`.

    >>> network = Discriminator(width=4)
    >>> params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((8, 8, 3)))
    >>> judge = jax.jit(jax.vmap(lambda image: network.apply(params, image)))
    >>> scores = judge(jnp.zeros((2, 8, 8, 3)))
    >>> print(scores.shape)
    (2,)
    """

    width: int
    dtype: Any = None
    compares: bool = False

    @nn.compact
    def __call__(self, image: Float[Array, "H W 3"]) -> Float[Array, ""]:
        size = image.shape[0]
        x = self._conv(channels(self.width, size), 1)(image)
        while size > 4:
            size //= 2
            x = self._block(x, channels(self.width, size))
        if self.compares:
            x = jnp.concatenate([x, self._deviation(x)], axis=-1)
        x = activate(self._conv(channels(self.width, size))(x)).reshape(-1)
        x = x if self.dtype is None else x.astype(jnp.float32)
        x = activate(Dense(2 * self.width)(x))
        return Dense(1)(x)[0]

    def _block(self, x, features):
        """Halves the size; the second convolution runs on the small map to save work."""
        residual = self._conv(x.shape[-1])(activate(x))
        residual = self._conv(features)(activate(downsample(residual)))
        return (self._conv(features, 1)(downsample(x)) + residual) * 0.5**0.5

    def _deviation(self, x):
        """One more channel, everywhere the same; there is no group to be initialised in."""
        if self.is_initializing():
            return jnp.zeros_like(x[..., :1])
        x = x.astype(jnp.float32)
        centred = x - jax.lax.pmean(x, GROUP_AXIS)
        deviation = jnp.sqrt(jax.lax.pmean(centred**2, GROUP_AXIS) + 1e-8).mean()
        return jnp.full_like(x[..., :1], deviation).astype(self.dtype or x.dtype)

    def _conv(self, features, size=3):
        return Conv(features, size, dtype=self.dtype)


def judge_in_groups(function: Callable[..., Any], group_size: int) -> Callable[..., Any]:
    """`jax.vmap` of a function of one image, over groups of neighbours that D compares.

    Args:
      function: of an image, as D's score or its gradient.
      group_size: images that are judged together; 1 = every image alone.

    Raises:
      ValueError: when it is called, if `group_size` does not divide the number of images.

    >>> images = jnp.array([[0.0], [2.0], [5.0], [5.0]])
    >>> spread = lambda image: jax.lax.pmax(image, GROUP_AXIS) - jax.lax.pmin(image, GROUP_AXIS)
    >>> print(judge_in_groups(spread, 2)(images).ravel())
    [2. 2. 0. 0.]
    """
    if group_size == 1:
        return jax.vmap(function)
    of_group = jax.vmap(function, axis_name=GROUP_AXIS)

    def mapped(images):
        if len(images) % group_size:
            raise ValueError(
                f"group_size must divide the number of images, {len(images)}, got {group_size}"
            )
        groups = images.reshape(-1, group_size, *images.shape[1:])
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), jax.vmap(of_group)(groups))

    return mapped
