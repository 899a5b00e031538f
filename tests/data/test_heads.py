from __future__ import annotations

import math

import jax
import numpy as np
import pytest

from gan3d.data import HeadsSource, head_scene, head_scenes, head_view
from gan3d.scene import ViewPrior, render_background

PRIOR = ViewPrior(yaw_range=math.radians(90), pitch_range=math.radians(15))
NUM = 64


@pytest.fixture(scope="module")
def family():
    return jax.tree.map(np.asarray, head_scenes(3, np.arange(NUM, dtype=np.int32)))


@pytest.fixture(scope="module")
def source():
    return HeadsSource(32, seed=3, num_heads=40, prior=PRIOR)


def lowest_depth(points, low, high, half_width=0.08):
    """Least z of the middle of a face between two heights: its profile."""
    x, y, z = points.reshape(-1, 3).T
    inside = (np.abs(x) < half_width) & (low < y) & (y < high) & (z < 0)
    return z[inside].min()


def test_scene_has_the_shapes_and_ranges_of_its_contract(family):
    assert family.surface.shape == (NUM, 64, 64, 3)
    assert family.texture.shape == (NUM, 64, 64, 3)
    assert family.background.shape == (NUM, 32, 32, 3)
    for field in family:
        assert field.dtype == np.float32
        assert np.isfinite(field).all()
    assert np.abs(family.texture).max() <= 1
    assert np.abs(family.background).max() <= 1


def test_scene_is_a_pure_function_of_seed_and_index(family):
    alone = head_scene(3, 5)
    for one, many in zip(alone, family, strict=True):
        np.testing.assert_allclose(one, many[5], atol=1e-5)
    other_seed = head_scene(4, 5)
    for one, other in zip(alone, other_seed, strict=True):
        assert np.abs(one - other).max() > 1e-2
    for field in family:
        assert np.abs(field[0] - field[1]).max() > 1e-2


def test_scene_does_not_depend_on_precision_settings(family):
    with jax.enable_x64(True):
        wide = head_scene(3, 5)
    for field, expected in zip(wide, family, strict=True):
        assert field.dtype == np.float32
        np.testing.assert_allclose(field, expected[5], atol=1e-5)


def test_heads_fit_the_picture_and_are_centred(family):
    radii = np.linalg.norm(family.surface, axis=-1)
    assert radii.max() < 0.95
    assert radii.min() > 0.35
    assert 0.65 < radii.mean() < 0.72
    middle = (family.surface.max((1, 2)) + family.surface.min((1, 2))) / 2
    np.testing.assert_allclose(middle.mean(0), 0, atol=0.06)


def test_surface_is_a_height_over_its_directions_in_front(family):
    """No fold: in the front of the map x grows with u and y grows with v."""
    front = family.surface[:, 16:48, 16:48]
    assert np.diff(front[..., 0], axis=2).min() > 0
    assert np.diff(front[..., 1], axis=1).min() > 0


def test_surface_closes_at_the_seam(family):
    """A border of the octahedral map continues into itself, reversed."""
    for border in (family.surface[:, 0], family.surface[:, -1]):
        gap = np.linalg.norm(border - border[:, ::-1], axis=-1)
        assert gap.max() < 0.12


def test_nose_is_the_foremost_point_of_the_front_and_shows_in_profile(family):
    for points in family.surface:
        x, y, z = points.reshape(-1, 3).T
        upper_face = y < 0.35
        tip = np.flatnonzero(upper_face)[z[upper_face].argmin()]
        assert abs(x[tip]) < 0.05
        assert 0.05 < y[tip] < 0.3
        nose = lowest_depth(points, 0.05, 0.3)
        assert lowest_depth(points, -0.16, -0.06) - nose > 0.05
        assert lowest_depth(points, 0.31, 0.37) - nose > 0.03
    protrusion = [
        lowest_depth(p, -0.16, -0.06) - lowest_depth(p, 0.05, 0.3) for p in family.surface
    ]
    assert np.mean(protrusion) > 0.1


def test_about_half_of_the_heads_have_ears(family):
    x, y, _ = np.moveaxis(family.surface, -1, 0)
    ear_height = np.where(np.abs(y - 0.06) < 0.08, x, 0).max((1, 2))
    temple = np.where(np.abs(y + 0.3) < 0.08, x, 0).max((1, 2))
    has_ears = ear_height - temple > 0.06
    assert 0.3 < has_ears.mean() < 0.7


def test_paint_puts_dark_and_white_where_the_eyes_are(family):
    brightness = family.texture.mean(-1)
    x, y, z = np.moveaxis(family.surface, -1, 0)
    eye = (np.abs(np.abs(x) - 0.2) < 0.1) & (np.abs(y + 0.06) < 0.06) & (z < 0)
    for bright, where in zip(brightness, eye, strict=True):
        assert bright[where].max() - bright[where].min() > 0.6


def test_views_follow_the_prior():
    draw = jax.jit(jax.vmap(lambda index: head_view(3, index, PRIOR)))
    view = jax.tree.map(np.asarray, draw(np.arange(2000, dtype=np.int32)))
    for angle, extent in ((view.yaw, PRIOR.yaw_range), (view.pitch, PRIOR.pitch_range)):
        assert np.abs(angle).max() <= extent
        assert abs(angle.mean()) < 0.06 * extent
        assert angle.std() == pytest.approx(extent / math.sqrt(3), rel=0.05)


def test_source_renders_the_same_picture_in_whatever_order_it_is_asked(source):
    forwards = source.batch(np.arange(40))
    other = HeadsSource(32, seed=3, num_heads=40, prior=PRIOR)
    np.testing.assert_array_equal(other[37], forwards[37])
    shuffled = np.random.default_rng(0).permutation(40)
    np.testing.assert_array_equal(other.batch(shuffled), forwards[shuffled])
    assert forwards.dtype == np.uint8
    assert forwards.shape == (40, 32, 32, 3)
    assert len(source) == 40


def test_source_knows_the_truth_behind_a_picture(source):
    """In its corners, beyond the head, a picture shows the true background from the true view."""
    background = render_background(source.scene(7).background, source.view(7), source.stage)
    expected = np.asarray((background + 1) * 127.5)
    difference = np.abs(source[7].astype(np.float32) - expected).max(-1)
    corners = difference[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.max() < 1.01
    assert 0.2 < np.mean(difference > 8) < 0.8


def test_source_returns_copies(source):
    first = source.batch(np.array([1, 2]))
    first[:] = 0
    assert source.batch(np.array([1, 2])).any()


def test_source_rejects_bad_arguments(source):
    with pytest.raises(IndexError, match=r"\[0, 40\)"):
        source[40]
    with pytest.raises(ValueError, match="num_heads must be at least 1, got 0"):
        HeadsSource(32, num_heads=0, prior=PRIOR)
