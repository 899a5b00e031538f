"""Layers that the networks share.

Weights are stored at unit variance and scaled when used (equalised learning rate: Karras et al.
2018, "Progressive growing of GANs"), so that one Adam step is the same fraction of every weight.

Parameters, styles and statistics are float32 whatever the type in which features are computed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float

_LEAK = 0.2


def activate(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Leaky ReLU with unit gain for a unit-variance input."""
    return nn.leaky_relu(x, _LEAK) * jnp.sqrt(2 / (1 + _LEAK**2)).astype(x.dtype)


def cast(x: Float[Array, "..."], dtype: Any) -> Float[Array, "..."]:
    """To a type; None = as it is."""
    return x if dtype is None else x.astype(dtype)


def channels(width: int, resolution: int) -> int:
    """Feature channels at a resolution: halved with each doubling, within [8, 2 width]."""
    return max(8, min(2 * width, 16 * width // resolution))


class Dense(nn.Module):
    """Equalised dense layer.

    Attributes:
      features: outputs.
      bias_init: start value of the bias.
      rate: learning-rate multiplier.
    """

    features: int
    bias_init: float = 0.0
    rate: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "I"]) -> Float[Array, "O"]:
        fan_in = x.shape[-1]
        shape = (fan_in, self.features)
        kernel = self.param("kernel", nn.initializers.normal(1 / self.rate), shape)
        bias = self.param("bias", nn.initializers.constant(self.bias_init / self.rate), shape[1:])
        return x @ (kernel * (self.rate * fan_in**-0.5)) + bias * self.rate


class Conv(nn.Module):
    """Equalised convolution of [H, W, I], stride 1.

    Attributes:
      features: output channels.
      size: kernel size, odd.
      padding: "zero", "edge" or "octahedral" (the chart's borders fold onto themselves).
      gain: standard deviation of the output for a unit-variance input at the start.
      dtype: of the features; None = as they come.
    """

    features: int
    size: int = 3
    padding: str = "zero"
    gain: float = 1.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "H W I"]) -> Float[Array, "H W O"]:
        x = cast(x, self.dtype)
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.normal(1.0), shape)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:])
        scale = self.gain * (shape[0] * shape[1] * shape[2]) ** -0.5
        y = convolve(x, cast(kernel * scale, self.dtype), self.padding)
        return y + cast(bias, self.dtype)[None, None]


class StyledConv(nn.Module):
    """Convolution modulated by a style (Karras et al. 2020, "Analyzing and improving StyleGAN").

    Modulation and demodulation scale the input and output channels instead of the kernel, so a
    batch shares one convolution; the result is the same.

    Attributes: as of `Conv`, and
      demodulate: keep the output's variance whatever the style.
      zero_init: start with an all-zero kernel.
    """

    features: int
    size: int = 3
    padding: str = "zero"
    demodulate: bool = True
    zero_init: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "H W I"], w: Float[Array, "L"]) -> Float[Array, "H W O"]:
        x = cast(x, self.dtype)
        shape = (self.size, self.size, x.shape[-1], self.features)
        init = nn.initializers.zeros if self.zero_init else nn.initializers.normal(1.0)
        kernel = self.param("kernel", init, shape)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:])
        kernel = kernel * (shape[0] * shape[1] * shape[2]) ** -0.5
        style = Dense(x.shape[-1], bias_init=1.0, name="style")(w)
        modulated = x * cast(style, self.dtype)[None, None]
        y = convolve(modulated, cast(kernel, self.dtype), self.padding)
        if self.demodulate:
            power = (style**2) @ (kernel**2).sum((0, 1))
            y = y * cast(jax.lax.rsqrt(power + 1e-8), self.dtype)[None, None]
        return y + cast(bias, self.dtype)[None, None]


class Noise(nn.Module):
    """Adds noise, one plane for all channels, of a learned strength that starts at zero."""

    @nn.compact
    def __call__(self, x: Float[Array, "H W C"], key: Array | None) -> Float[Array, "H W C"]:
        strength = self.param("strength", nn.initializers.zeros, ())
        if key is None:
            return x
        return x + strength.astype(x.dtype) * jax.random.normal(key, (*x.shape[:2], 1), x.dtype)


def convolve(x: Float[Array, "H W I"], kernel: Float[Array, "K K I O"], padding: str):
    """Same-size convolution."""
    margin = kernel.shape[0] // 2 if padding != "zero" else 0
    x = pad(x, margin, padding) if margin else x
    dimensions = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(x[None], kernel, (1, 1), "SAME", dimension_numbers=dimensions)[
        0
    ]
    # Cropping a "SAME" convolution is several times faster on CPU than a "VALID" one.
    return y[margin:-margin, margin:-margin] if margin else y


def pad(x: Float[Array, "H W C"], margin: int, padding: str) -> Float[Array, "H+2m W+2m C"]:
    """Extends a map beyond its borders by margin >= 1: its edge, or across the chart's folds.

    In the octahedral chart each border is glued to itself, mirrored about its midpoint: beyond
    pixel (i, 0) lies (n - 1 - i, 0), then (n - 1 - i, 1).
    """
    if padding == "edge":
        return jnp.pad(x, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    if padding != "octahedral":
        raise ValueError(f"padding must be zero, edge or octahedral, got {padding!r}")
    turned = x[::-1]
    x = jnp.concatenate([turned[:, :margin][:, ::-1], x, turned[:, -margin:][:, ::-1]], axis=1)
    turned = x[:, ::-1]
    return jnp.concatenate([turned[:margin][::-1], x, turned[-margin:][::-1]], axis=0)


def upsample(x: Float[Array, "H W C"], padding: str = "edge") -> Float[Array, "2H 2W C"]:
    """Doubles a map bilinearly (texel centres at half-integers)."""
    x = pad(x, 1, "edge" if padding == "zero" else padding)
    x = _double(x)
    return _double(x.swapaxes(0, 1)).swapaxes(0, 1)


def _double(x):
    """Doubles axis 0 of a map that carries one pixel of padding there."""
    before, centre, after = x[:-2], x[1:-1], x[2:]
    pair = jnp.stack([0.25 * before + 0.75 * centre, 0.75 * centre + 0.25 * after], axis=1)
    return pair.reshape(-1, *x.shape[1:])


def downsample(x: Float[Array, "H W C"]) -> Float[Array, "H/2 W/2 C"]:
    """Halves a map by 2 x 2 means."""
    height, width, depth = x.shape
    return x.reshape(height // 2, 2, width // 2, 2, depth).mean((1, 3))
