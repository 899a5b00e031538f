"""Texture look-up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def sample_texture(
    texture: Float[Array, "Th Tw C"], uv: Float[Array, "... 2"]
) -> Float[Array, "... C"]:
    """Bilinear look-up; coordinates beyond the outer texel centres take the border's value.

    Args:
      texture: texels; texel (row i, column j) has its centre at ((j + 0.5) / Tw, (i + 0.5) / Th).
      uv: coordinates in [0, 1], u to the right, v down.

    Returns:
      Values at uv. Differentiable in the texture and, between texel centres, in uv.

    >>> texture = jnp.array([[[0.0], [1.0]]])
    >>> print(sample_texture(texture, jnp.array([0.5, 0.5])))
    [0.5]
    """
    if texture.ndim != 3:
        raise ValueError(f"texture must have shape [Th, Tw, C], got {list(texture.shape)}")
    if uv.shape[-1] != 2:
        raise ValueError(f"uv must have shape [..., 2], got {list(uv.shape)}")
    texture, uv = jnp.asarray(texture), jnp.asarray(uv)
    height, width = texture.shape[:2]
    left, right, x = _neighbours(uv[..., 0], width)
    top, bottom, y = _neighbours(uv[..., 1], height)
    upper = texture[top, left] * (1 - x) + texture[top, right] * x
    lower = texture[bottom, left] * (1 - x) + texture[bottom, right] * x
    return upper * (1 - y) + lower * y


def _neighbours(coordinate, size):
    """Indices of the two nearest texels and the fraction between them."""
    position = jnp.clip(coordinate * size - 0.5, 0, size - 1)
    low = jnp.clip(jnp.floor(position), 0, max(size - 2, 0)).astype(jnp.int32)
    return low, jnp.minimum(low + 1, size - 1), (position - low)[..., None]
