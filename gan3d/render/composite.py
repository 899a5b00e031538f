"""Layers over a background."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def composite(
    values: Float[Array, "L H W C"],
    alpha: Float[Array, "L H W"],
    background: Float[Array, "H W C"] | None = None,
) -> tuple[Float[Array, "H W C"], Float[Array, "H W"]]:
    """Mattes each layer over those behind it, and all over the background.

    color = a0 c0 + (1 - a0) (a1 c1 + (1 - a1) (... background)),  alpha = 1 - product of (1 - a).
    Source: Porter & Duff 1984, "Compositing digital images", the operator *over*.

    Args:
      values: colours (or any attribute) of the layers, front to back, not premultiplied.
      alpha: opacity of the layers.
      background: what lies behind. None: the object's own mean colour is returned, not
        premultiplied, and zero where alpha is zero.

    Returns:
      (color, alpha), alpha being the object's opacity with and without background.

    >>> red, blue = jnp.array([1.0, 0.0, 0.0]), jnp.array([0.0, 0.0, 1.0])
    >>> layer, opacity = red[None, None, None], jnp.full((1, 1, 1), 0.25)  # one pixel
    >>> color, alpha = composite(layer, opacity, background=blue[None, None])
    >>> print(color[0, 0], alpha[0, 0])
    [0.25 0.   0.75] 0.25
    """
    if values.shape[:-1] != alpha.shape or values.ndim != 4:
        raise ValueError(
            "values must have shape [L, H, W, C] and alpha [L, H, W], "
            f"got {list(values.shape)} and {list(alpha.shape)}"
        )
    # Stacked copies: their transpose is a short sum, that of a broadcast a reduction, slow on CPU.
    per_channel = lambda a: jnp.stack([a] * values.shape[-1], axis=-1)  # noqa: E731
    color = jnp.zeros(values.shape[1:], values.dtype)
    total = jnp.zeros(alpha.shape[1:], alpha.dtype)
    for layer, opacity in zip(values, alpha, strict=True):
        share = (1 - total) * opacity
        color = color + per_channel(share) * layer
        total = total + share
    if background is not None:
        return color + per_channel(1 - total) * background, total
    drawn = total > 0
    return jnp.where(drawn[..., None], color / per_channel(jnp.where(drawn, total, 1)), 0), total
