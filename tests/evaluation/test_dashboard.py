from __future__ import annotations

import math

import numpy as np
import pytest

from gan3d.evaluation.dashboard import degeneracy
from gan3d.evaluation.views import SceneViews
from gan3d.render import sphere_mesh

BALL, TOPOLOGY = sphere_mesh(17)
SIZE = 32


def look(depth, alpha=None, image=None, background=None) -> SceneViews:
    depth = np.asarray(depth, float)
    alpha = disc() if alpha is None else alpha
    grey = np.zeros((*alpha.shape, 3))
    image = grey if image is None else image
    background = grey if background is None else background
    return SceneViews(*(x[None] for x in (image, background, alpha, depth * (alpha > 0))))


def offsets() -> np.ndarray:
    return (np.indices((SIZE, SIZE)) - (SIZE - 1) / 2) * 2 / SIZE


def disc(radius: float = 0.6) -> np.ndarray:
    return (np.hypot(*offsets()) <= radius).astype(float)


def hemisphere(radius: float = 0.6) -> np.ndarray:
    return -np.sqrt(np.maximum(radius**2 - (offsets() ** 2).sum(axis=0), 0))


def measures(views=None, vertices=BALL, **options) -> dict[str, float]:
    views = look(hemisphere()) if views is None else views
    return degeneracy(views, vertices[None], TOPOLOGY, **options)


def test_a_ball_is_sound():
    ball = measures(vertices=0.66 * BALL, start_radius=0.6)
    assert ball["front_depth_to_width"] == pytest.approx(0.5, abs=0.1)
    assert ball["convexity"] > 0.98 and ball["hollow_share"] == 0
    assert ball["flipped_faces"] == ball["degenerate_faces"] == 0
    assert 1 < ball["edge_ratio"] < 2
    assert ball["size_against_start"] == pytest.approx(1.1, rel=0.01)
    assert math.isnan(measures()["size_against_start"])


def test_a_billboard_is_flat_wherever_it_stands():
    for place in (0.0, -0.5):
        assert measures(look(np.full((SIZE, SIZE), place)))["front_depth_to_width"] == 0


def test_a_hollow_face_is_counted_though_another_one_bulges():
    views = [look(sign * hemisphere()) for sign in (1, 1, 1, -1)]
    views = SceneViews(*map(np.concatenate, zip(*views, strict=True)))
    batch = degeneracy(views, np.stack([BALL] * 4), TOPOLOGY)
    assert batch["hollow_share"] == 0.25
    alone = measures(look(-hemisphere()))
    assert alone["convexity"] < -0.98 and alone["hollow_share"] == 1
    assert alone["front_depth_to_width"] == pytest.approx(0.5, abs=0.1)


def test_a_fin_stretches_edges():
    spiky = BALL.copy()
    spiky[TOPOLOGY.weld[40:50]] *= 8
    assert measures(vertices=spiky)["edge_ratio"] > 5 * measures()["edge_ratio"]
    assert measures(vertices=3 * spiky)["edge_ratio"] == pytest.approx(
        measures(vertices=spiky)["edge_ratio"]
    )


def test_a_mesh_turned_inside_out_is_flipped():
    assert measures(vertices=BALL * np.array([-1, 1, 1]))["flipped_faces"] == 1


def test_flattened_faces_are_degenerate():
    assert measures(vertices=BALL * np.array([1, 1e-3, 1e-3]))["degenerate_faces"] > 0.9
    assert measures(vertices=BALL * 1e-4)["degenerate_faces"] == 0  # small is not flat
    assert measures(vertices=BALL * 0)["degenerate_faces"] == 1


def test_an_object_painted_on_the_background_leaves_no_distance():
    rng = np.random.default_rng(0)
    painted = rng.uniform(-1, 1, (SIZE, SIZE, 3))
    camouflaged = measures(look(hemisphere(), image=painted, background=painted))
    assert camouflaged["background_distance"] == camouflaged["object_contrast"] == 0
    # White before black: the difference is 2 on the object's pixels.
    white = 2 * disc()[..., None] * np.ones(3) - 1
    shown = measures(look(hemisphere(), image=white, background=-np.ones_like(white)))
    assert shown["object_contrast"] == pytest.approx(2)
    assert shown["background_distance"] == pytest.approx(2 * math.sqrt(disc().mean()))
    assert math.isnan(measures()["background_distance"])  # without any colours


def test_coverage_and_vanished_objects():
    gone = measures(look(hemisphere(), alpha=np.zeros((SIZE, SIZE))))
    assert gone["coverage_high"] == 0
    for key in ("front_depth_to_width", "convexity", "hollow_share"):
        assert math.isnan(gone[key])
    assert measures()["coverage_median"] == pytest.approx(disc().mean())


def test_errors_name_argument_and_value():
    with pytest.raises(ValueError, match=r"vertices must be .* N = 1, got shape \(2, 289, 3\)"):
        degeneracy(look(hemisphere()), np.stack([BALL, BALL]), TOPOLOGY)
    with pytest.raises(ValueError, match="start_radius must be positive, got 0"):
        measures(start_radius=0)
