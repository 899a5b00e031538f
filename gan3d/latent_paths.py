"""Ways through the space of styles: between two, round through many, and levels of one in another.

The object's w is interpolated linearly: the mapping network has made that space even, while a
straight line between two z passes too near to the mean. The background has no mapping, its latent
is gaussian and is turned on the great circle, its length interpolated: a straight line would make
it shorter, and every background between grey.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import CubicSpline

from gan3d.trained import Styles

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["between", "closed_path", "mix"]

_TINY = 1e-6


def between(first: Styles, second: Styles, num: int) -> Styles:
    """`num` styles from the first to the second at equal steps, both included.

    Raises:
      ValueError: num is less than two.

    >>> from gan3d import Styles
    >>> styles = Styles(np.array([[[0.0]], [[4.0]]]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    >>> first, second = (Styles(*(part[i] for part in styles)) for i in (0, 1))
    >>> path = between(first, second, num=3)
    >>> print(path.levels.ravel(), path.background[1].round(2))  # the background's on a circle
    [0. 2. 4.] [0.71 0.71]
    """
    if num < 2:
        raise ValueError(f"num must be at least 2, the two ends, got {num}")
    t = np.linspace(0, 1, num, dtype=np.float32)
    levels = np.stack([(1 - s) * np.asarray(first.levels) + s * second.levels for s in t])
    return Styles(levels, great_circle(first.background, second.background, t))


def great_circle(
    first: Float[np.ndarray, "B"], second: Float[np.ndarray, "B"], t: Float[np.ndarray, "T"]
) -> Float[np.ndarray, "T B"]:
    """Vectors between two: the direction turns evenly, the length changes linearly."""
    ends = [np.asarray(end, np.float32) for end in (first, second)]
    lengths = [max(float(np.linalg.norm(end)), _TINY) for end in ends]
    (a, b), t = [end / length for end, length in zip(ends, lengths, strict=True)], t[:, None]
    angle = np.arccos(np.clip(a @ b, -1, 1))
    length = (1 - t) * lengths[0] + t * lengths[1]
    if np.sin(angle) < _TINY:  # of one direction, or of opposite ones, which have no such circle
        return (1 - t) * ends[0] + t * ends[1]
    return length * (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


def closed_path(styles: Styles, num: int) -> Styles:
    """`num` styles on a smooth closed path through all of a batch, evenly in its parameter.

    A periodic cubic spline; style i is passed at frame i num / N, and the last step leads back to
    the first style.

    Raises:
      ValueError: there are fewer than two styles, or fewer steps than styles.

    >>> from gan3d import Styles
    >>> styles = Styles(np.array([[[0.0]], [[4.0]]]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    >>> print(closed_path(styles, num=4).levels.ravel().round(3))
    [0. 2. 4. 2.]
    """
    stops = len(styles.levels)
    if stops < 2:
        raise ValueError(f"a path needs at least 2 latents, got {stops}")
    if num < stops:
        raise ValueError(f"num must be at least the number of latents, {stops}, got {num}")
    at = np.arange(num) * (stops / num)
    lengths = np.linalg.norm(styles.background, axis=-1, keepdims=True)
    direction = _periodic(styles.background, at)
    direction /= np.maximum(np.linalg.norm(direction, axis=-1, keepdims=True), _TINY)
    background = (
        direction * np.interp(at, np.arange(stops + 1), [*lengths[:, 0], lengths[0, 0]])[:, None]
    )
    return Styles(_periodic(styles.levels, at), background.astype(np.float32))


def _periodic(points: Float[np.ndarray, "N *S"], at: Float[np.ndarray, "T"]) -> np.ndarray:
    points = np.asarray(points)
    closed = np.concatenate([points, points[:1]])
    return CubicSpline(np.arange(len(closed)), closed, bc_type="periodic")(at).astype(np.float32)


def mix(first: Styles, second: Styles, levels: Sequence[int]) -> Styles:
    """The first style with some levels of the second; its background stays.

    >>> from gan3d import Styles
    >>> a, b = Styles(np.zeros((3, 1)), np.zeros(2)), Styles(np.ones((3, 1)), np.ones(2))
    >>> print(mix(a, b, levels=[1, 2]).levels.ravel())  # coarse of a, fine of b
    [0. 1. 1.]
    """
    chosen = np.isin(np.arange(first.levels.shape[-2]), levels)[:, None]
    return Styles(np.where(chosen, second.levels, first.levels), np.asarray(first.background))
