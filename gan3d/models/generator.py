"""The generator G: a latent becomes a displacement map, a texture and a background."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from gan3d.models.layers import Conv, Dense, StyledConv, activate, channels, upsample
from gan3d.models.mapping import MappingNetwork

if TYPE_CHECKING:
    from jaxtyping import Array, Float

_START = 4  # side of the learned constant that synthesis starts from


class Maps(NamedTuple):
    """What G paints.

    Attributes:
      displacement: of the start shape's points, world units.
      texture: colours in [-1, 1].
      background: colours in [-1, 1].
    """

    displacement: Float[Array, "S S 3"]
    texture: Float[Array, "T T 3"]
    background: Float[Array, "B B 3"]


class Generator(nn.Module):
    """Style-modulated synthesis over the mesh's chart, and a separate background branch.

    The shape is a *pyramid*: every level adds a displacement map of its resolution, finer levels
    with smaller gains, so that coarse form is learned first and fine detail stays shallow. The
    paper names the pyramid; levels and gains are ours.

    Attributes:
      surface_size: side of the displacement map, a power of two.
      texture_size: side of the texture, a power of two.
      background_size: side of the background, a power of two.
      latent_size: leading entries of z, which shape the object.
      background_latent_size: remaining entries of z, which paint the background.
      mapping_layers: layers of the mapping network.
      width: half the largest number of feature channels.
      displacement_gain: world units per unit of the coarsest displacement map.
      pyramid_decay: gain of each level relative to the one below.
      padding: of the chart, see `layers.pad`.
    """

    surface_size: int
    texture_size: int
    background_size: int
    latent_size: int
    background_latent_size: int
    mapping_layers: int
    width: int
    displacement_gain: float = 0.25
    pyramid_decay: float = 0.5
    padding: str = "octahedral"

    @nn.compact
    def __call__(self, z: Float[Array, "Z"]) -> Maps:
        w = MappingNetwork(self.latent_size, self.mapping_layers, name="mapping")(
            z[: self.latent_size]
        )
        displacement, texture = self._object(w)
        background = Background(self.background_size, max(8, self.width // 4), name="background")(
            z[self.latent_size :]
        )
        return Maps(displacement, texture, background)

    def _object(self, w):
        size, gain = _START, self.displacement_gain
        x = self.param("start", nn.initializers.normal(1.0), (size, size, self._channels(size)))
        displacement = jnp.zeros((size, size, 3), x.dtype)
        texture = jnp.zeros((size, size, 3), x.dtype)
        while True:
            x = activate(StyledConv(self._channels(size), padding=self.padding)(x, w))
            if size <= self.surface_size:
                head = StyledConv(3, 1, demodulate=False, zero_init=True, name=f"shape_{size}")
                displacement = displacement + gain * head(x, w)
            if size <= self.texture_size:
                head = StyledConv(3, 1, demodulate=False, name=f"texture_{size}")
                texture = texture + head(x, w)
            size, gain = 2 * size, gain * self.pyramid_decay
            if size > max(self.surface_size, self.texture_size):
                return displacement, jnp.tanh(texture)
            # Fewer channels first, then more pixels: a quarter of the work.
            x = activate(StyledConv(self._channels(size), padding=self.padding)(x, w))
            x = upsample(x, self.padding)
            if size <= self.surface_size:
                displacement = upsample(displacement, self.padding)
            if size <= self.texture_size:
                texture = upsample(texture, self.padding)

    def _channels(self, size):
        return channels(self.width, size)


class Background(nn.Module):
    """A low-capacity painter of backgrounds: too coarse to paint the object.

    Attributes:
      size: side of the background, a power of two.
      width: feature channels.
    """

    size: int
    width: int

    @nn.compact
    def __call__(self, z: Float[Array, "Z"]) -> Float[Array, "B B 3"]:
        x = activate(Dense(_START * _START * self.width)(z)).reshape(_START, _START, self.width)
        while x.shape[0] < self.size:
            x = upsample(activate(Conv(self.width, padding="edge")(x)))
        return jnp.tanh(Conv(3, 1)(x))
