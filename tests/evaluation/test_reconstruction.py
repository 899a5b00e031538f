from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.data.heads import head_scenes
from gan3d.evaluation.reconstruction import (
    PosedScenes,
    constant_depth_errors,
    reconstruction_errors,
)
from gan3d.scene import View, make_stage

NUM = 3


@pytest.fixture(scope="module")
def truth():
    stage = make_stage(64, resolution=32, fov=0.35)
    views = View(np.array([-0.8, 0.0, 0.5], np.float32), np.array([0.1, 0.0, -0.2], np.float32))
    return PosedScenes(jax.device_get(head_scenes(0, jnp.arange(NUM))), views, stage)


def test_the_truth_has_no_errors(truth):
    errors = reconstruction_errors(truth, truth)
    for name, best in {"side": 0, "mad_degrees": 0, "iou": 1, "pose_degrees": 0}.items():
        np.testing.assert_allclose(errors[name], best, atol=1e-3)
    assert min(errors["psnr"].min(), errors["novel_psnr"].min()) > 100


def test_a_wrong_viewpoint_costs_its_angle(truth):
    views = truth.views._replace(yaw=truth.views.yaw + np.float32([0.0, 0.2, 0.0]))
    errors = reconstruction_errors(truth._replace(views=views), truth)
    np.testing.assert_allclose(errors["pose_degrees"], [0, np.degrees(0.2), 0], atol=1e-3)
    for name in ("side", "mad_degrees"):
        assert errors[name][1] > 0.005 and errors[name][0] < 1e-3
    assert errors["novel_psnr"][1] < 40 < errors["novel_psnr"][0]


def test_a_wrong_side_shows_in_novel_views_alone(truth):
    """The far half of the surface is another head's: what the input view does not show."""
    front = View(np.zeros(NUM, np.float32), np.zeros(NUM, np.float32))
    truth = truth._replace(views=front)
    scenes = truth.scenes._replace(texture=np.array(truth.scenes.texture))
    rows, columns = np.indices((64, 64)) - 31.5
    scenes.texture[:, np.abs(rows) + np.abs(columns) > 34] = 1.0  # behind, in the chart
    errors = reconstruction_errors(truth._replace(scenes=scenes), truth, turns_degrees=(150.0,))
    assert np.all(errors["novel_psnr"] < errors["psnr"] - 10)
    np.testing.assert_allclose(errors["side"], 0, atol=1e-5)


def test_one_depth_for_all_pixels_is_a_wall(truth):
    wall, flat = constant_depth_errors(truth), truth.scenes.surface * np.float32([1, 1, 0.3])
    squeezed = reconstruction_errors(
        truth._replace(scenes=truth.scenes._replace(surface=flat)), truth
    )
    assert set(wall) == {"side", "mad_degrees"}
    assert wall["side"][1] > squeezed["side"][1] > 0.001  # the frontal one
    assert 20 < wall["mad_degrees"].mean() < 60


def test_what_does_not_fit_is_refused(truth):
    fewer = jax.tree.map(lambda a: a[:2], truth._replace(stage=None))
    with pytest.raises(ValueError, match="found must be as many as the 3 truths, got 2"):
        reconstruction_errors(fewer._replace(stage=truth.stage), truth)
    other = dataclasses.replace(truth.stage, resolution=16)
    with pytest.raises(ValueError, match="one field of view and resolution"):
        reconstruction_errors(truth._replace(stage=other), truth)
