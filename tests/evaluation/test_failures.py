from __future__ import annotations

import numpy as np
import pytest

from gan3d.evaluation.failures import LIMITS, failure_rates
from gan3d.evaluation.views import SceneViews
from gan3d.render import sphere_mesh

BALL, TOPOLOGY = sphere_mesh(9)
SIZE = 32
OFFSETS = (np.indices((SIZE, SIZE)) - (SIZE - 1) / 2) * 2 / SIZE


def scene(radius=0.6, bulge=1.0, contrast=1.0, vertices=BALL):
    """A ball's front, or a dented one, before a noisy background, and a mesh."""
    alpha = (np.hypot(*OFFSETS) <= radius).astype(float)
    depth = -bulge * np.sqrt(np.maximum(radius**2 - (OFFSETS**2).sum(axis=0), 0))
    background = np.random.default_rng(0).uniform(-1, 0, (SIZE, SIZE, 3))
    image = background + contrast * alpha[..., None]
    return (image, background, alpha, depth), vertices


def rates(*scenes):
    views = SceneViews(*map(np.stack, zip(*(views for views, _ in scenes), strict=True)))
    return failure_rates(views, np.stack([vertices for _, vertices in scenes]), TOPOLOGY)


def spiky():
    vertices = BALL.copy()
    vertices[TOPOLOGY.weld[20:24]] *= 12
    return vertices


# Each fails in one way, and some of them in others as well.
FAILURES = {
    "vanished": scene(radius=0.2),
    "filling": scene(radius=1.5),
    "flat": scene(bulge=0.05),
    "hollow": scene(bulge=-1.0),
    "folded": scene(vertices=BALL * np.array([-1, 1, 1])),
    "collapsed": scene(vertices=BALL * np.array([1, 1e-3, 1e-3])),
    "spiky": scene(vertices=spiky()),
    "camouflaged": scene(contrast=0.02),
}


def test_every_limit_has_a_case():
    assert FAILURES.keys() == LIMITS.keys()


def test_a_ball_fails_in_nothing():
    assert set(rates(scene()).values()) == {0.0}


@pytest.mark.parametrize("name", FAILURES)
def test_a_scene_counts_by_itself(name):
    """Three sound scenes beside it do not hide it."""
    found = rates(scene(), FAILURES[name], scene(), scene())
    assert found["failed"] == found[f"failed_{name}"] == 0.25


def test_a_scene_that_fails_twice_counts_once():
    found = rates(scene(), scene(bulge=-1.0, contrast=0.02))
    assert found["failed_hollow"] == found["failed_camouflaged"] == found["failed"] == 0.5
