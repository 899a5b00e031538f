from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from gan3d.evaluation.sliced_wasserstein import (
    enlarged,
    laplacian_pyramid,
    normalized_patches,
    patch_distances,
    random_directions,
    random_places,
    sliced_wasserstein,
)


def pictures(num: int = 24, size: int = 64, seed: int = 0) -> np.ndarray:
    """Coloured discs with sharp edges and a fine grain."""
    rng = np.random.default_rng(seed)
    at = (np.arange(size) + 0.5) / size
    images = np.empty((num, size, size, 3))
    for image in images:
        image[:] = rng.uniform(0, 255, 3)
        for _ in range(8):
            y, x = rng.uniform(0, 1, 2)
            inside = (at[:, None] - y) ** 2 + (at - x) ** 2 < rng.uniform(0.05, 0.3) ** 2
            image[inside] = rng.uniform(0, 255, 3)
        image += rng.normal(0, 8, image.shape)
    return np.clip(images, 0, 255).astype(np.uint8)


def blurred(images: np.ndarray, pixels: float) -> np.ndarray:
    return scipy.ndimage.gaussian_filter(images, (0, pixels, pixels, 0))


def distances(a: np.ndarray, b: np.ndarray, seed: int = 0, patches: int = 64, directions: int = 64):
    return patch_distances(a, b, np.random.default_rng(seed), patches, directions)


def slow_patches(images: np.ndarray, places) -> np.ndarray:
    """Patches of each channel, normalised one by one, as rows of 3 * 7 * 7 numbers."""
    corners = list(zip(*places, strict=True))
    channels = []
    for channel in range(3):
        patches = [image[r : r + 7, c : c + 7, channel] for image in images for r, c in corners]
        values = np.array(patches, float)
        channels.append((values - values.mean()) / values.std())
    return np.stack(channels, axis=1).reshape(len(images) * len(corners), -1)


@pytest.mark.parametrize("patches", [5, 1000])
def test_against_a_slow_twin_of_one_projection(patches):
    a, b = pictures(3, 16, seed=1), pictures(3, 16, seed=2)
    found = distances(a, b, seed=7, patches=patches, directions=1)
    rng = np.random.default_rng(7)
    places = random_places(16, patches, rng)
    assert len(set(zip(*places, strict=True))) == min(patches, 100)
    direction = random_directions(1, 147, rng)[0]
    # The pyramid of 16 pixels is the images themselves.
    rows = [slow_patches(images, places) @ direction for images in (a, b)]
    expected = 1000 * scipy.stats.wasserstein_distance(*rows)
    assert found.mean == pytest.approx(expected, rel=1e-4)
    assert found.levels == {16: found.mean}


def test_sliced_wasserstein_of_shifted_points_is_the_mean_projected_shift():
    points = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    directions = random_directions(100, 3, np.random.default_rng(1))
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-6)
    shift = np.array([1, -2, 0.5], np.float32)
    found = sliced_wasserstein(points, np.roll(points, 7, axis=0) + shift, directions)
    assert found == pytest.approx(np.abs(directions @ shift).mean(), rel=1e-5)


def test_pyramid_levels_add_up_to_the_images():
    images = pictures(2)
    levels = laplacian_pyramid(images)
    assert [level.shape[1] for level in levels] == [64, 32, 16]
    total = levels[-1]
    for level in levels[-2::-1]:
        total = enlarged(total) + level
    np.testing.assert_allclose(total, images, atol=1e-3)


def test_pyramid_has_no_detail_where_there_is_none():
    grey = np.full((1, 32, 32, 3), 93, np.uint8)
    fine, coarse = laplacian_pyramid(grey)
    assert not fine.any()
    np.testing.assert_array_equal(coarse, grey[:, ::2, ::2])


def test_patches_are_normalized_per_channel():
    level = laplacian_pyramid(pictures(4, 32))[0]
    patches = normalized_patches(level, random_places(32, 9, np.random.default_rng(0)))
    channels = patches.reshape(4 * 9, 3, 49)
    np.testing.assert_allclose(channels.mean(axis=(0, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(channels.std(axis=(0, 2)), 1, rtol=1e-5)


def test_a_set_is_at_no_distance_from_itself_in_any_order():
    images = pictures()
    assert distances(images, images).mean == 0
    other = pictures(seed=1)
    found, shuffled = distances(images, other), distances(images[::-1], other)
    assert found.mean > 10
    assert shuffled.mean == pytest.approx(found.mean, rel=1e-4)
    assert distances(images, images[::-1]).mean < 1e-3 * found.mean
    assert list(found.levels) == [64, 32, 16]
    assert found.mean == pytest.approx(np.mean(list(found.levels.values())))


def test_blur_shows_at_the_finest_level_and_hardly_at_the_coarsest():
    images = pictures()
    mild, strong = (distances(blurred(images, pixels), images).levels for pixels in (0.5, 1))
    assert 20 < 2 * mild[64] < strong[64]
    assert mild[16] < 0.1 * mild[64] and strong[16] < 0.1 * strong[64]
    assert mild[16] < mild[32] < mild[64]


def test_tint_and_contrast_do_not_show():
    images = pictures(size=32)
    faint = (images // 4 * 2 + np.array([5, 60, 110])).astype(np.uint8)
    assert distances(faint, images).mean < 0.1 * distances(pictures(size=32, seed=1), images).mean


def test_more_images_of_one_distribution_come_closer():
    few, many = (distances(pictures(n, 32, 1), pictures(n, 32, 2)).mean for n in (10, 160))
    assert many < 0.6 * few


def test_images_without_detail_have_a_distance():
    grey = np.full((24, 32, 32, 3), 93, np.uint8)
    found = distances(grey, pictures(size=32))
    assert all(np.isfinite(value) and value > 100 for value in found.levels.values())
    assert distances(grey, grey + np.uint8(9)).mean == 0


def test_errors_name_argument_and_value():
    good = pictures(2, 16)
    cases = {
        r"images_a must be \[N, R, R, 3\], got shape \(2, 16, 15, 3\)": (good[:, :, 1:], good),
        "images_b must be uint8, got float64": (good, good / 255),
        "images_a must hold at least 1 image, got 0": (good[:0], good[:0]),
        "images_a must have a power of two, .* got 8": (good[:, :8, :8], good),
        "images_b must have a power of two, .* got 24": (good, np.zeros((2, 24, 24, 3), np.uint8)),
        r"images_b must have the shape of images_a.*\(1, 16, 16, 3\)": (good, good[1:]),
        "patches must be at least 1, got 0": (good, good, 0, 0),
        "directions must be at least 1, got -1": (good, good, 0, 1, -1),
    }
    for message, arguments in cases.items():
        with pytest.raises(ValueError, match=message):
            distances(*arguments)
