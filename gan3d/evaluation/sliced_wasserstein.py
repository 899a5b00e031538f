"""Sliced Wasserstein distance between the patches of two sets of images, by scale.

It needs no trained network. Every level of a Laplacian pyramid holds the detail of one scale; on
each, the sets' 7×7 patches are compared as point clouds. A low distance at the coarse end speaks of
alike large structures, at the fine end of alike texture and sharpness of edges. Source: Karras et
al. 2018, "Progressive growing of GANs", section 5.

Every set is normalised by its own mean and standard deviation per level and colour channel, as
there: the distance does not see a tint or a lack of contrast, only how values are arranged.

Letters: N images; R their size in pixels; P patches per image; K directions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.ndimage import convolve1d

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, UInt8

PATCH_PIXELS = 7
COARSEST_PIXELS = 16
PATCHES = 128  # per image and level
DIRECTIONS = 512
UNITS_PER_DISTANCE = 1000.0  # the paper prints thousandths

_BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32) / 16
_DIRECTIONS_AT_ONCE = 32  # bounds the memory of the projections


class PatchDistances(NamedTuple):
    """Thousandths of the patches' standard deviation, 0 or more; see `patch_distances`.

    Attributes:
      mean: over the levels.
      levels: by the level's size in pixels, the finest first.
    """

    mean: float
    levels: dict[int, float]


def patch_distances(
    images_a: UInt8[np.ndarray, "N R R 3"],
    images_b: UInt8[np.ndarray, "N R R 3"],
    rng: np.random.Generator,
    patches: int = PATCHES,
    directions: int = DIRECTIONS,
) -> PatchDistances:
    """Sliced Wasserstein distance of the patches of every level from R down to 16 pixels.

    Patches are taken at the same random places of all images of both sets, and not, as in the
    paper, at places of each image's own. The result is then a property of two sets: zero for equal
    ones and, but for the rounding of a matrix product, blind to the order of their images;
    differences between places, which are large in aligned photographs, cannot pass for differences
    between the sets. A level with fewer than `patches` places is taken whole. 128 patches have 1.5
    times the area of 64×64 images, but a tenth of that of 256×256: there, raise `patches` if small
    flaws at fixed places matter.

    Two samples of one distribution are at a distance above zero, which falls with the number of
    images: compare values for equal numbers only, beside a second sample of the truth.

    Args:
      images_a: R a power of two, at least 16.
      images_b: likewise, equally many.
      rng: consumed. Equally seeded ones give comparable values: of equal places and directions.
      patches: per image and level, at least 1; each takes 0.6 kB of memory.
      directions: random projections per level, at least 1.

    Raises:
      ValueError: images of another shape or type, unequal shapes, or numbers out of range.

    >>> images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    >>> distances = patch_distances(images, images[::-1], np.random.default_rng(1))
    >>> print(list(distances.levels), f"{distances.mean:.2f}")  # the order does not matter
    [32, 16] 0.00
    """
    images_a, images_b = check_images("images_a", images_a), check_images("images_b", images_b)
    if images_a.shape != images_b.shape:
        raise ValueError(
            f"images_b must have the shape of images_a, {images_a.shape}, got {images_b.shape}"
        )
    for name, value in (("patches", patches), ("directions", directions)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    levels = {}
    for a, b in zip(laplacian_pyramid(images_a), laplacian_pyramid(images_b), strict=True):
        size = a.shape[1]
        places = random_places(size, patches, rng)
        rays = random_directions(directions, 3 * PATCH_PIXELS**2, rng)
        distance = sliced_wasserstein(
            normalized_patches(a, places), normalized_patches(b, places), rays
        )
        levels[size] = UNITS_PER_DISTANCE * distance
    return PatchDistances(float(np.mean(list(levels.values()))), levels)


def laplacian_pyramid(images: UInt8[np.ndarray, "N R R 3"]) -> list[Float32[np.ndarray, "N r r 3"]]:
    """What each scale adds to the next coarser one, finest first; the last, 16 pixels, is the rest.

    Source: Burt & Adelson 1983, "The Laplacian pyramid as a compact image code".
    """
    coarse = np.asarray(images, np.float32)
    levels = []
    while coarse.shape[1] > COARSEST_PIXELS:
        fine, coarse = coarse, _smooth(coarse)[:, ::2, ::2]
        levels.append(fine - enlarged(coarse))
    return [*levels, coarse]


def enlarged(images: Float[np.ndarray, "N r r 3"]) -> Float32[np.ndarray, "N 2r 2r 3"]:
    """The pyramid's interpolation to twice the size."""
    num, height, width, channels = images.shape
    spread = np.zeros((num, 2 * height, 2 * width, channels), np.float32)
    spread[:, ::2, ::2] = images
    # Three of four pixels are empty.
    return 4 * _smooth(spread)


def random_places(size: int, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the corners of different patches, all of them if there are no more."""
    starts = size - PATCH_PIXELS + 1
    chosen = rng.choice(starts**2, min(count, starts**2), replace=False)
    return chosen // starts, chosen % starts


def random_directions(count: int, dimension: int, rng: np.random.Generator) -> np.ndarray:
    """Unit vectors [count, dimension], uniform on the sphere."""
    rays = rng.standard_normal((count, dimension), np.float32)
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def normalized_patches(
    level: Float32[np.ndarray, "N r r 3"], places: tuple[np.ndarray, np.ndarray]
) -> Float32[np.ndarray, "N*P 147"]:
    """Patches at the places of every image, with mean 0 and deviation 1 per channel overall."""
    window = (PATCH_PIXELS, PATCH_PIXELS)
    windows = np.lib.stride_tricks.sliding_window_view(level, window, axis=(1, 2))
    patches = windows[:, *places].reshape(-1, 3, PATCH_PIXELS**2)
    # float64 where all patches meet: a float32 sum of so many would lose its last digits.
    means = patches.mean(axis=2, keepdims=True).mean(axis=0, dtype=np.float64)
    patches -= means.astype(np.float32)
    squares = np.einsum("mcp,mcp->mc", patches, patches).mean(axis=0, dtype=np.float64)
    std = np.sqrt(squares / PATCH_PIXELS**2)[:, None]
    # A channel without any detail stays 0.
    patches /= np.where(std > 0, std, 1).astype(np.float32)
    return patches.reshape(len(patches), -1)


def sliced_wasserstein(
    a: Float32[np.ndarray, "M D"],
    b: Float32[np.ndarray, "M D"],
    directions: Float32[np.ndarray, "K D"],
) -> float:
    """Mean over the directions of the Wasserstein-1 distance of the projected point clouds.

    On a line the best transport keeps the order, so sorting finds it. Source: Rabin et al. 2011,
    "Wasserstein barycenter and its application to texture mixing".
    """
    total = 0.0
    for start in range(0, len(directions), _DIRECTIONS_AT_ONCE):
        rays = directions[start : start + _DIRECTIONS_AT_ONCE]
        gaps = np.sort(rays @ a.T, axis=1) - np.sort(rays @ b.T, axis=1)
        total += float(np.abs(gaps).mean(axis=1).sum())
    return total / len(directions)


def check_images(name: str, images) -> np.ndarray:
    """The images as an array.

    Raises:
      ValueError: unless they are uint8 [N, R, R, 3], N >= 1, R a power of two and at least 16.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3:
        raise ValueError(f"{name} must be [N, R, R, 3], got shape {images.shape}")
    if images.dtype != np.uint8:
        raise ValueError(f"{name} must be uint8, got {images.dtype}")
    num, size = images.shape[:2]
    if num < 1:
        raise ValueError(f"{name} must hold at least 1 image, got {num}")
    if size < COARSEST_PIXELS or size & (size - 1):
        raise ValueError(
            f"{name} must have a power of two, at least {COARSEST_PIXELS}, as size; got {size}"
        )
    return images


def _smooth(images: np.ndarray) -> np.ndarray:
    rows = convolve1d(images, _BINOMIAL, axis=1, mode="mirror")
    return convolve1d(rows, _BINOMIAL, axis=2, mode="mirror")
