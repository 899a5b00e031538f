from __future__ import annotations

import numpy as np
import pytest

from gan3d.latent_paths import between, closed_path, great_circle, mix
from gan3d.trained import Styles


@pytest.fixture
def styles():
    random = np.random.default_rng(0)
    draw = lambda *shape: random.standard_normal(shape).astype(np.float32)  # noqa: E731
    return Styles(draw(3, 4, 8), draw(3, 16))


def one(styles, i):
    return Styles(*(part[i] for part in styles))


def test_between_starts_and_ends_at_the_ends_with_equal_steps(styles):
    path = between(one(styles, 0), one(styles, 1), 5)
    for part, ends in zip(path, styles, strict=True):
        np.testing.assert_allclose(part[[0, -1]], ends[:2], atol=1e-5)
    np.testing.assert_allclose(np.diff(path.levels, 2, axis=0), 0, atol=1e-5)
    lengths = np.linalg.norm(path.background, axis=1)
    np.testing.assert_allclose(np.diff(lengths, 2), 0, atol=1e-5)
    direction = path.background / lengths[:, None]
    cosines = (direction[1:] * direction[:-1]).sum(1)
    np.testing.assert_allclose(cosines, cosines[0], atol=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_great_circle_of_one_line_is_the_line(sign):
    a, t = np.float32([1, 2, 2]), np.float32([0, 0.25, 1])
    expected = (1 - t[:, None]) * a + t[:, None] * sign * 2 * a
    np.testing.assert_allclose(great_circle(a, sign * 2 * a, t), expected, atol=1e-5)


def test_closed_path_passes_all_styles_and_closes_smoothly(styles):
    path = closed_path(styles, 60)
    for part, stops in zip(path, styles, strict=True):
        np.testing.assert_allclose(part[::20], stops, atol=1e-4)
        steps = np.roll(part, -1, axis=0) - part
        turns = np.linalg.norm((np.roll(steps, -1, axis=0) - steps).reshape(60, -1), axis=1)
        # The length of the background has kinks at the stops, all else is smooth everywhere.
        assert turns[-2:].max() < 0.4 * np.linalg.norm(steps.reshape(60, -1), axis=1).mean()


def test_mix_takes_the_levels_of_the_second(styles):
    first, second = one(styles, 0), one(styles, 1)
    mixed = mix(first, second, [0, 2])
    np.testing.assert_array_equal(mixed.levels[[0, 2]], second.levels[[0, 2]])
    np.testing.assert_array_equal(mixed.levels[[1, 3]], first.levels[[1, 3]])
    np.testing.assert_array_equal(mixed.background, first.background)
    np.testing.assert_array_equal(mix(first, second, range(4)).levels, second.levels)


@pytest.mark.parametrize(
    "misuse, message",
    [
        (lambda s: between(one(s, 0), one(s, 1), 1), "num must be at least 2, the two ends, got 1"),
        (lambda s: closed_path(s, 2), "at least the number of latents, 3, got 2"),
        (lambda s: closed_path(Styles(*(a[:1] for a in s)), 9), "at least 2 latents, got 1"),
    ],
)
def test_misuse(styles, misuse, message):
    with pytest.raises(ValueError, match=message):
        misuse(styles)
