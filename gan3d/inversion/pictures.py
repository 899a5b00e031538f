"""Pictures as they are given: 8 bits or colours, one or a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, Float

MIN_SIDE = 8


def as_pictures(images) -> tuple[Float[Array, "N R R 3"], bool]:
    """Pictures as colours in [-1, 1] with a leading axis, and whether there was none.

    Raises:
      ValueError: they are no square pictures of three channels, in 8 bits or within [-1, 1].

    >>> pictures, is_single = as_pictures(np.full((8, 8, 3), 255, np.uint8))
    >>> print(pictures.shape, pictures.max(), is_single)
    (1, 8, 8, 3) 1.0 True
    """
    images = np.asarray(images)
    shape = images.shape
    square = images.ndim in (3, 4) and shape[-3] == shape[-2] >= MIN_SIDE and shape[-1] == 3
    if not square or not len(images):
        rule = "images must have shape [R, R, 3] or [N, R, R, 3] with N >= 1"
        raise ValueError(f"{rule} and R >= {MIN_SIDE}, got {list(shape)}")
    if images.dtype != np.uint8:
        if not np.issubdtype(images.dtype, np.floating):
            raise ValueError(f"images must be uint8 or floating point, got {images.dtype}")
        if not np.abs(images).max() <= 1:  # nan too
            low, high = images.min(), images.max()
            raise ValueError(f"images must be in [-1, 1], got values from {low} to {high}")
    colors = images / 127.5 - 1.0 if images.dtype == np.uint8 else images
    is_single = images.ndim == 3
    return jnp.asarray(colors[None] if is_single else colors, jnp.float32), is_single
