"""The generator G: a latent becomes a displacement map, a texture and a background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan3d.models.layers import Conv, Dense, Noise, StyledConv, activate, channels, upsample
from gan3d.models.mapping import MappingNetwork

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

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


class Randomness(NamedTuple):
    """What G draws in training beside z (Karras et al. 2019, StyleGAN); never when sampling.

    Attributes:
      z: a second latent for the fine levels: style mixing.
      crossover: first of the levels that take the second latent's style; the number of levels, or
        more, mixes nothing.
      key: of the noise inputs.
    """

    z: Float[Array, "Z"]
    crossover: Int[Array, ""]
    key: Array


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
      shape_latent_size: of these, leading entries that the shape depends on alone, through half of
        the features and of their own part of w; the others can only paint. Paint depends on all, so
        that any joint distribution of shape and paint can still be had. 0 = all entries and all
        features do both.
      background_latent_size: remaining entries of z, which paint the background.
      mapping_layers: layers of the mapping network.
      width: half the largest number of feature channels.
      displacement_gain: world units per unit of the coarsest displacement map.
      pyramid_decay: gain of each level relative to the one below.
      padding: of the chart, see `layers.pad`.
      pyramid: False = only the finest displacement map, with the coarsest one's gain.
      noise: whether the levels have noise inputs; without `Randomness` they are silent.
      dtype: of the features; None = that of the parameters. Displacements and colours are added up
        in float32.

    >>> network = Generator(
    ...     surface_size=8, texture_size=8, background_size=4,
    ...     latent_size=3, background_latent_size=2, mapping_layers=1, width=4,
    ... )
    >>> z = jnp.ones(5)
    >>> params = jax.jit(network.init)(jax.random.key(0), z)
    >>> maps: Maps = jax.jit(network.apply)(params, z)
    >>> print(network.num_levels, maps.displacement.shape, maps.background.shape)
    2 (8, 8, 3) (4, 4, 3)

    Training mixes the styles of two latents, here from the second level on:

    >>> random = Randomness(-z, crossover=jnp.array(1), key=jax.random.key(1))
    >>> print(jax.eval_shape(network.apply, params, z, random).texture.shape)
    (8, 8, 3)
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
    pyramid: bool = True
    noise: bool = False
    dtype: Any = None
    shape_latent_size: int = 0

    @property
    def num_levels(self) -> int:
        """Levels of the object's synthesis: 4 x 4, 8 x 8 and so on."""
        return (max(self.surface_size, self.texture_size) // _START).bit_length()

    @nn.compact
    def __call__(
        self,
        z: Float[Array, "Z"],
        random: Randomness | None = None,
        styles: Float[Array, "L W"] | None = None,
    ) -> Maps:
        """G(z).

        Args:
          z: latent; the object's entries, then the background's.
          random: what training draws beside z.
          styles: w of every level (the w+ of inversion); None = those of z.
        """
        keys = None if random is None else jax.random.split(random.key, (self.num_levels, 2))
        if styles is None:
            styles = self._styles(z, random)
        displacement, texture = self._object(styles, keys)
        background = Background(self.background_size, max(8, self.width // 4), name="background")(
            z[self.latent_size :]
        )
        return Maps(displacement, texture, background)

    def _styles(self, z, random):
        mapping = MappingNetwork(
            self.latent_size, self.mapping_layers, self.shape_latent_size, name="mapping"
        )
        styles = [mapping(z[: self.latent_size])] * self.num_levels
        if random is None:
            return styles
        other = mapping(random.z[: self.latent_size])
        return [jnp.where(level < random.crossover, w, other) for level, w in enumerate(styles)]

    def _object(self, styles, keys):
        size = _START
        key = lambda *which: None if keys is None else keys[which]  # noqa: E731
        x = self.param("start", nn.initializers.normal(1.0), (size, size, self._channels(size)))
        displacement = jnp.zeros((size, size, 3), x.dtype)
        texture = jnp.zeros((size, size, 3), x.dtype)
        painted = None if self.dtype is None else jnp.float32
        for level, w in enumerate(styles):
            if level > 0:
                # Fewer channels first, then more pixels: a quarter of the work.
                size *= 2
                x = upsample(self._layer(x, w, size, key(level, 0)), self.padding)
                if size <= self.surface_size:
                    displacement = upsample(displacement, self.padding)
                if size <= self.texture_size:
                    texture = upsample(texture, self.padding)
            x = self._layer(x, w, size, key(level, 1))
            if size <= self.surface_size and self._gain(level, size):
                head = StyledConv(
                    3, 1, demodulate=False, zero_init=True, dtype=painted, name=f"shape_{size}"
                )
                displacement = displacement + self._gain(level, size) * head(*self._own(x, w))
            if size <= self.texture_size:
                head = StyledConv(3, 1, demodulate=False, dtype=painted, name=f"texture_{size}")
                texture = texture + head(x, w)
        return displacement, jnp.tanh(texture)

    def _layer(self, x, w, size, key):
        """A styled convolution to the channels of a size, its noise and its activation."""
        conv = lambda features: StyledConv(features, padding=self.padding, dtype=self.dtype)  # noqa: E731
        features = self._channels(size)
        if self.shape_latent_size:
            half = features // 2
            x = jnp.concatenate([conv(half)(*self._own(x, w)), conv(features - half)(x, w)], -1)
        else:
            x = conv(features)(x, w)
        return activate(Noise()(x, key) if self.noise else x)

    def _own(self, x, w):
        """The features that the shape is made of, and the style that they depend on."""
        if not self.shape_latent_size:
            return x, w
        return x[..., : x.shape[-1] // 2], w[: self.shape_latent_size]

    def _gain(self, level, size):
        if self.pyramid:
            return self.displacement_gain * self.pyramid_decay**level
        return self.displacement_gain if size == self.surface_size else 0.0

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
