"""Families of images against true ones: sliced Wasserstein, Fréchet and kernel distance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from gan3d.evaluation.image_distances import (
    frechet_distance,
    kernel_distance,
    subset_kernel_distance,
)
from gan3d.evaluation.progress import Progress, Report, paced
from gan3d.evaluation.sliced_wasserstein import check_images, patch_distances

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

MIN_IMAGES = 4  # with features: the least that has a half with a kernel distance


class Features(Protocol):
    """Such as `inception_features`."""

    def __call__(
        self, images: UInt8[np.ndarray, "N R R 3"], *, progress: Progress | None
    ) -> Float[np.ndarray, "N D"]: ...


def image_scores(
    families: Mapping[str, UInt8[np.ndarray, "N R R 3"]],
    truth: UInt8[np.ndarray, "N R R 3"],
    features: Features | None,
    rng: np.random.Generator,
    report: Report | None = None,
) -> dict[str, dict[str, float]]:
    """Scores of every family against the truth; low is good.

    Two samples of one distribution have an FID and SWD above zero, the more so the fewer images
    there are. Scores of equally many images compare, and a second sample of the truth among the
    families shows the least that can be reached.

    Args:
      families: images by name; R a power of two, at least 16.
      truth: as many images, of the same size; not the ones that a family was trained on, if
        copying them should not pay.
      features: what FID and KID are measured on; None leaves both out. Then N >= 4.
      rng: consumed. All families are measured with the same random numbers.
      report: called with a line of progress now and then.

    Returns:
      By family:

      swd, swd_R, ..., swd_16: sliced Wasserstein distance, times 1000, of the patches: mean of the
        levels, and each one by its size in pixels.
      fid, kid: Fréchet and kernel distance of the features.
      kid_std: standard deviation of the KID over random halves of the images, about the standard
        error of kid, see `subset_kernel_distance`.

    Raises:
      ValueError: images of another type or shape, too few, or not as many as true ones.

    >>> truth = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
    >>> families = {"copies": truth, "darker": truth // 2}
    >>> means = lambda images, progress: images.mean(axis=(1, 2))  # or `inception_features`
    >>> scores = image_scores(families, truth, means, np.random.default_rng(1))
    >>> print(scores["copies"]["swd"], round(scores["copies"]["fid"], 3))
    0.0 0.0
    >>> print(scores["darker"]["fid"] > 1000)
    True
    """
    truth = check_images("truth", truth)
    families = {name: _family(name, images, truth) for name, images in families.items()}
    if features is not None and len(truth) < MIN_IMAGES:
        raise ValueError(f"truth must hold at least {MIN_IMAGES} images, got {len(truth)}")
    part = paced(report, "images")
    true_features = features and features(truth, progress=part("features of the truth"))
    seed = rng.integers(2**63)
    scores = {}
    for index, (name, images) in enumerate(families.items()):
        part("patches of families")(index, len(families))
        scores[name] = _patch_scores(images, truth, np.random.default_rng(seed))
        if features is not None:
            found = features(images, progress=part(f"features of {name}"))
            scores[name] |= _feature_scores(found, true_features, np.random.default_rng(seed))
    return scores


def _patch_scores(images, truth, rng) -> dict[str, float]:
    distances = patch_distances(images, truth, rng)
    levels = {f"swd_{size}": distance for size, distance in distances.levels.items()}
    return {"swd": distances.mean, **levels}


def _feature_scores(found, true, rng) -> dict[str, float]:
    halves = subset_kernel_distance(found, true, rng, subset_size=len(true) // 2)
    return {
        "fid": frechet_distance(found, true),
        "kid": kernel_distance(found, true),
        "kid_std": halves.std,
    }


def _family(name: str, images, truth: np.ndarray) -> np.ndarray:
    images = check_images(f"family {name!r}", images)
    if len(images) != len(truth):
        raise ValueError(
            f"family {name!r} must have as many images as the truth, {len(truth)}, because the "
            f"number biases the distances; got {len(images)}"
        )
    if images.shape != truth.shape:
        raise ValueError(
            f"family {name!r} must have the truth's size, {truth.shape[1]} pixels, "
            f"got {images.shape[1]}"
        )
    return images
