"""Layers over a background."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def composite(
    values: Float[Array, "2 H W C"],
    alpha: Float[Array, "2 H W"],
    background: Float[Array, "H W C"] | None = None,
) -> tuple[Float[Array, "H W C"], Float[Array, "H W"]]:
    """Mattes the margin over the surface and both over the background.

    color = a0 c0 + (1 - a0) (a1 c1 + (1 - a1) background),  alpha = a0 + (1 - a0) a1.

    Args:
      values: colours (or any attribute) of the layers, not premultiplied; 0 lies before 1.
      alpha: opacity of the layers.
      background: what lies behind. None: the object's own mean colour is returned, not
        premultiplied, and zero where alpha is zero.

    Returns:
      (color, alpha), alpha being the object's opacity with and without background.
    """
    if values.shape[:-1] != alpha.shape or alpha.shape[0] != 2:
        raise ValueError(
            "values must have shape [2, H, W, C] and alpha [2, H, W], "
            f"got {list(values.shape)} and {list(alpha.shape)}"
        )
    front, back = alpha[0], (1 - alpha[0]) * alpha[1]
    total = front + back
    color = front[..., None] * values[0] + back[..., None] * values[1]
    if background is not None:
        return color + (1 - total)[..., None] * background, total
    drawn = total > 0
    return jnp.where(drawn[..., None], color / jnp.where(drawn, total, 1)[..., None], 0), total
