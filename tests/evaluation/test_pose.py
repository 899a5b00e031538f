from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.evaluation.pose import (
    circular_correlation,
    circular_median,
    compare_poses,
    constant_pose_errors,
    pose_errors,
)
from gan3d.evaluation.pose_network import (
    PoseNetwork,
    direction_view,
    train_pose_regressor,
    view_direction,
)
from gan3d.render import orbit_camera
from gan3d.scene import View, ViewPrior

SIZE = 16
ROUND = ViewPrior(math.pi, math.radians(40))
TINY = PoseNetwork(width=16, stem=8)


def blobs(views: View) -> jax.Array:
    """A blob at the clock's hour that yaw tells, the redder the higher the camera."""
    centre = (jnp.arange(SIZE) + 0.5) / SIZE * 2 - 1
    x = centre[None, None, :] - 0.6 * jnp.sin(views.yaw)[:, None, None]
    y = centre[None, :, None] + 0.6 * jnp.cos(views.yaw)[:, None, None]
    bright = jnp.exp(-(x**2 + y**2) / 0.08)
    red = (0.5 + views.pitch / 1.5)[:, None, None]
    return 2 * jnp.stack([bright * red, bright * (1 - red), bright], axis=-1) - 1


@functools.cache
def pictures(num: int, seed: int):
    """Pictures in 8 bits and their views."""
    views = ROUND.sample(jax.random.key(seed), (num,))
    return np.rint(127.5 * (np.asarray(blobs(views)) + 1)).astype(np.uint8), views


@functools.cache
def trained():
    return train_pose_regressor(*pictures(512, 0), jax.random.key(0), steps=300, network=TINY)


@functools.cache
def brief(seed: int):
    """A regressor that has hardly learnt anything, and its lines of progress."""
    lines = []
    regressor = train_pose_regressor(
        *pictures(512, 0), jax.random.key(seed), steps=7, batch=4, network=TINY, report=lines.append
    )
    return regressor, lines


@pytest.fixture(scope="module")
def truth():
    """Pictures that no regressor was trained on, and their views."""
    return pictures(200, 99)


def random_views(num: int = 300, seed: int = 0) -> View:
    rng = np.random.default_rng(seed)
    return View(rng.uniform(-math.pi, math.pi, num), rng.uniform(-0.6, 0.6, num))


def test_directions_are_where_the_orbit_camera_stands():
    for yaw, pitch in ((0.0, 0.0), (0.7, 0.2), (-2.5, -0.4), (1.6, 1.2)):
        camera = orbit_camera(yaw, pitch)
        eye = -camera.rotation.T @ camera.translation
        np.testing.assert_allclose(
            view_direction(View(yaw, pitch)), eye / np.linalg.norm(eye), atol=1e-6
        )


def test_angles_of_a_direction_do_not_depend_on_its_length():
    views = random_views()
    found = direction_view(3.7 * view_direction(views))
    np.testing.assert_allclose(found.yaw, views.yaw, atol=1e-5)
    np.testing.assert_allclose(found.pitch, views.pitch, atol=1e-5)


def test_it_reads_the_pose_off_new_pictures_all_the_way_round(truth):
    errors = pose_errors(trained(), *truth)
    baseline = constant_pose_errors(truth[1])
    assert errors["pose_mae_degrees"] < 8 < 60 < baseline["pose_mae_degrees"]
    assert errors["pitch_mae_degrees"] < 5 < 15 < baseline["pitch_mae_degrees"]
    assert errors["yaw_correlation"] > 0.95
    estimated = trained().estimate(truth[0])
    behind = np.abs(truth[1].yaw) > math.radians(160)
    wrapped = np.abs(np.angle(np.exp(1j * (estimated.yaw - truth[1].yaw))))[behind]
    assert behind.sum() > 10 and np.degrees(wrapped).mean() < 12


def test_a_turned_world_shows_as_an_offset_and_no_more(truth):
    images, views = truth
    errors = pose_errors(trained(), images, View(views.yaw - math.radians(50), views.pitch))
    assert errors["yaw_offset_degrees"] == pytest.approx(50, abs=4)
    assert errors["yaw_mae_degrees"] == pytest.approx(50, abs=4)
    aligned, right = errors["aligned_pose_mae_degrees"], pose_errors(trained(), *truth)
    assert aligned == pytest.approx(right["aligned_pose_mae_degrees"], abs=0.01)


def test_a_mirrored_world_shows_as_a_negative_correlation(truth):
    images, views = truth
    errors = pose_errors(trained(), images, View(-views.yaw, views.pitch))
    assert errors["yaw_correlation"] < -0.95
    assert errors["aligned_yaw_mae_degrees"] > 45


def test_equal_keys_give_equal_regressors():
    first, again, other = brief(0)[0], brief.__wrapped__(0)[0], brief(1)[0]
    for a, b in zip(*map(jax.tree.leaves, (first.params, again.params)), strict=True):
        np.testing.assert_array_equal(a, b)
    kernels = [regressor.params["Conv_0"]["kernel"] for regressor in (first, other)]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.1


def test_an_estimate_does_not_depend_on_the_pictures_beside_it(truth):
    images = np.concatenate([truth[0]] * 2)  # more than are estimated at a time
    together = trained().estimate(images)
    assert together.yaw.shape == (400,)
    np.testing.assert_allclose(together.yaw[:200], together.yaw[200:], atol=1e-4)
    alone = trained().estimate(images[7:8])
    np.testing.assert_allclose(together.pitch[7], alone.pitch[0], atol=1e-5)


def test_progress_is_reported():
    lines = brief(0)[1]
    assert lines[0].startswith("pose, step 2/7: loss ") and lines[0].endswith(" degrees")
    assert lines[-1].startswith("pose, step 7/7: loss ") and len(lines) == 5


def test_errors_by_hand_and_the_short_way_round():
    truth = View(np.radians([170.0, 0.0]), np.radians([0.0, 10.0]))
    found = View(np.radians([-170.0, 10.0]), np.radians([0.0, 10.0]))
    errors = compare_poses(found, truth)
    assert errors["yaw_mae_degrees"] == pytest.approx(15)
    assert errors["pitch_mae_degrees"] == 0
    # On the circle of latitude 10 degrees, 10 degrees of yaw are a chord of 2 cos 10 sin 5.
    chord = 2 * math.cos(math.radians(10)) * math.sin(math.radians(5))
    second = math.degrees(2 * math.asin(chord / 2))
    assert errors["pose_mae_degrees"] == pytest.approx((20 + second) / 2, rel=1e-4)


def test_alignment_removes_exactly_a_constant_offset():
    truth = random_views()
    turned = View(truth.yaw + math.radians(130), truth.pitch - math.radians(7))
    errors = compare_poses(turned, truth)
    assert errors["yaw_offset_degrees"] == pytest.approx(130)
    assert errors["pitch_offset_degrees"] == pytest.approx(-7)
    assert errors["yaw_mae_degrees"] == pytest.approx(130)
    for name in ("yaw", "pitch", "pose"):
        assert errors[f"aligned_{name}_mae_degrees"] == pytest.approx(0, abs=1e-3)
    # A few wild answers do not move it, as they would move a mean.
    turned.yaw[:60] = 0.0
    assert compare_poses(turned, truth)["yaw_offset_degrees"] == pytest.approx(130)


def test_constant_answers_to_uniform_yaw_are_45_degrees_off():
    yaw = np.radians(np.linspace(-90, 90, 1001))
    errors = constant_pose_errors(View(yaw, np.zeros_like(yaw)))
    assert errors["yaw_mae_degrees"] == pytest.approx(45, abs=0.1)
    assert errors["pose_mae_degrees"] == pytest.approx(45, abs=0.1)
    assert errors["pitch_mae_degrees"] == 0
    # No other constant is better, and the middle may be behind the object.
    errors = constant_pose_errors(View(yaw + math.pi, np.zeros_like(yaw)))
    assert errors["yaw_mae_degrees"] == pytest.approx(45, abs=0.1)


def test_circular_median_against_a_fine_search():
    rng = np.random.default_rng(1)
    angles = np.concatenate([rng.normal(3.1, 0.5, 41), rng.uniform(-9, 9, 20)])

    def cost(centre):
        return np.abs(np.angle(np.exp(1j * (angles - centre)))).sum()

    best = min(map(cost, np.linspace(-math.pi, math.pi, 5000)))
    found = circular_median(angles)
    assert cost(found) <= best and -math.pi <= found <= math.pi


def test_circular_correlation_tells_the_sense_of_turning():
    angles = random_views().yaw
    assert circular_correlation(angles + 2, angles) == pytest.approx(1)
    assert circular_correlation(2 - angles, angles) == pytest.approx(-1)
    assert abs(circular_correlation(random_views(seed=5).yaw, angles)) < 0.1
    assert math.isnan(circular_correlation(np.ones(300), angles))
    small = 0.01 * np.random.default_rng(0).normal(size=(2, 300))
    noisy = small[0] + 0.5 * small[1]
    expected = np.corrcoef(noisy, small[0])[0, 1]  # of small angles it is Pearson's
    assert circular_correlation(noisy, small[0]) == pytest.approx(expected, abs=0.01)


def test_bad_input_is_named(truth):
    images, views = truth
    train = functools.partial(train_pose_regressor, key=jax.random.key(0), network=TINY)
    short, bad = View(views.yaw[:3], views.pitch[:3]), View(np.array([np.nan]), np.zeros(1))
    cases = {
        "steps must be at least 1, got 0": lambda: train(images, views, steps=0),
        "batch must be at least 1, got 0": lambda: train(images, views, batch=0),
        "learning_rate must be positive, got 0": lambda: train(images, views, learning_rate=0.0),
        r"a power of two, at least 8, got uint8 \[200, 12, 16, 3\]": lambda: train(
            images[:, :12], views
        ),
        r"images must be uint8 .*, got uint8 \[16, 16, 3\]": lambda: train(images[0], views),
        r"images must be uint8 .*, got float32": lambda: train(images.astype(np.float32), views),
        r"yaw and pitch \[200\] like the images, got \[3\] and \[3\]": lambda: train(images, short),
        r"images must be uint8 \[N, 16, 16, 3\].*float32": lambda: trained().estimate(
            images.astype(np.float32)
        ),
        r"images must be uint8 .*\[200, 8, 8, 3\]": lambda: trained().estimate(images[:, ::2, ::2]),
        "images must be as many as the 3 views, got 200": lambda: pose_errors(
            trained(), images, short
        ),
        "estimated must be as many as the 200 views, got 3": lambda: compare_poses(short, views),
        "views must be finite, got nan": lambda: constant_pose_errors(bad),
        r"views must hold yaw and pitch \[N\] .*\[\] and \[\]": lambda: constant_pose_errors(
            View(0.0, 0.0)
        ),
    }
    for message, call in cases.items():
        with pytest.raises(ValueError, match=message):
            call()
