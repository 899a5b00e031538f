from __future__ import annotations

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.evaluation import geometry
from gan3d.evaluation.dashboard import degeneracy
from gan3d.evaluation.report import (
    geometry_report,
    measure,
    report_picture,
)
from gan3d.evaluation.table import format_table
from gan3d.evaluation.views import scene_views
from gan3d.render.templates import octahedral_direction
from gan3d.scene import Scene, make_stage, scene_vertices

SIZE = 32
FOV = math.radians(20.0)
BUMP_WIDTH, BUMP_HEIGHT = 0.12, 0.12


@pytest.fixture(scope="module")
def stage():
    return geometry.evaluation_stage(make_stage(surface_size=SIZE, resolution=32, fov=FOV))


def make_scenes(surfaces) -> Scene:
    surfaces = jnp.asarray(surfaces, jnp.float32)
    num = surfaces.shape[0]
    return Scene(surfaces, jnp.zeros((num, 4, 4, 3)), jnp.zeros((num, 4, 4, 3)))


def directions() -> np.ndarray:
    centres = (np.arange(SIZE) + 0.5) / SIZE
    return octahedral_direction(np.stack(np.meshgrid(centres, centres), axis=-1))


def spheres(*radii: float) -> Scene:
    return make_scenes([radius * directions() for radius in radii])


def sphere_with_nose(radius: float, height: float = BUMP_HEIGHT) -> Scene:
    unit = directions()
    bump = np.exp(-(unit[..., 0] ** 2 + unit[..., 1] ** 2) / (2 * BUMP_WIDTH**2))
    front = unit[..., 2] < 0
    return make_scenes([radius * unit - (height * bump * front)[..., None] * [0.0, 0.0, 1.0]])


def disc_map(radius: float, depth: float = 0.0, size: int = 32) -> geometry.CanonicalMaps:
    y, x = np.indices((size, size)) - (size - 1) / 2
    coverage = (np.hypot(x, y) <= radius).astype(float)
    return geometry.CanonicalMaps(
        coverage, coverage * (depth + 0.01 * x), np.zeros_like(coverage), coverage.mean()[None]
    )


def test_iou_of_known_arrays():
    a = np.array([[1.0, 0.5], [0.0, 0.0]])
    b = np.array([[0.5, 0.5], [0.25, 0.0]])
    assert geometry.silhouette_iou(a, b) == pytest.approx(1.0 / 1.75)
    assert geometry.silhouette_iou(a, b, threshold=0.5) == 1.0
    assert geometry.silhouette_iou(a, b, threshold=0.75) == 0.0
    assert geometry.silhouette_iou(a, a) == 1.0
    assert math.isnan(geometry.silhouette_iou(np.zeros((2, 2)), np.zeros((2, 2))))


def test_correlation_of_known_arrays():
    a = np.array([[1.0, 2.0], [3.0, 100.0]])
    mask = np.array([[True, True], [True, False]])
    assert geometry.correlation(a, 2 * a + 1, mask) == pytest.approx(1.0)
    assert geometry.correlation(a, -a, mask) == pytest.approx(-1.0)
    assert geometry.correlation(a, np.array([[1.0, 3.0], [2.0, -7]]), mask) == pytest.approx(0.5)
    assert math.isnan(geometry.correlation(a, np.ones((2, 2)), mask))
    assert math.isnan(geometry.correlation(a, a, np.zeros((2, 2), bool)))


def test_depth_scores_use_the_common_mask_only():
    a, b = disc_map(10, depth=0.0), disc_map(6, depth=0.3)
    assert geometry.depth_correlation(a, b) == pytest.approx(1.0)
    assert geometry.depth_rmse(a, b) == pytest.approx(0.3)
    assert math.isnan(geometry.depth_rmse(a, disc_map(-1)))


@pytest.mark.parametrize("radius", [0.4, 0.7])
@pytest.mark.parametrize("yaw", [0.0, -math.pi / 2, 2.0])
def test_maps_of_a_sphere_are_analytic(stage, radius, yaw):
    maps = geometry.canonical_maps([spheres(radius)], stage, yaw)

    # A sphere of radius r at distance D shows as a disc of radius D r / sqrt(D² - r²) in NDC; the
    # soft margin adds a linear ramp one pixel wide.
    distance, resolution = 1 / math.tan(FOV / 2), stage.resolution
    disc = distance * radius / math.sqrt(distance**2 - radius**2) * resolution / 2
    area = math.pi * (disc**2 + disc + 1 / 3)
    assert maps.coverage.sum() == pytest.approx(area, rel=0.02)
    assert maps.covered_share == pytest.approx([maps.coverage.mean()])

    y, x = (np.indices(maps.depth.shape) + 0.5) * 2 / resolution - 1
    inside = np.hypot(x, y) < 0.8 * radius
    # Where the ray (x, y, D) s meets the sphere about (0, 0, D).
    square = x**2 + y**2 + distance**2
    root = np.sqrt(np.where(inside, distance**4 - square * (distance**2 - radius**2), 0))
    expected = (distance**2 - root) / square * distance - distance
    np.testing.assert_allclose(maps.depth[inside], expected[inside], atol=0.012)
    assert geometry.depth_to_width(maps) == pytest.approx(0.5, abs=0.08)


def test_mean_and_spread_over_several_batches(stage):
    together = geometry.canonical_maps([spheres(0.4, 0.6)], stage, 0.0)
    apart = geometry.canonical_maps([spheres(0.4), spheres(0.6)], stage, 0.0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), together, apart)

    centre = stage.resolution // 2
    assert together.depth[centre, centre] == pytest.approx(-0.5, abs=0.01)
    assert together.depth_std[centre, centre] == pytest.approx(0.1, abs=0.005)
    assert len(together.covered_share) == 2 and np.all(np.diff(together.covered_share) > 0)
    assert geometry.diversity(together) > 0.05
    alike = geometry.canonical_maps([spheres(0.5, 0.5)], stage, 0.0)
    assert geometry.diversity(alike) < 0.005


def test_no_scene_is_an_error(stage):
    with pytest.raises(ValueError, match="at least one scene"):
        geometry.canonical_maps([], stage, 0.0)


def test_single_scenes_show_what_they_are(stage):
    """A white ball, and one whose front is pushed in, before a black background."""
    unit = directions()
    dented = 0.7 * unit * np.where(unit[..., 2:] < 0, [1, 1, -0.8], 1)
    scenes = make_scenes([0.7 * unit, dented])
    scenes = scenes._replace(
        texture=jnp.ones_like(scenes.texture), background=-jnp.ones_like(scenes.background)
    )
    views = scene_views([scenes], stage)
    np.testing.assert_allclose(views.background, -1, atol=1e-6)
    np.testing.assert_allclose(views.image[..., 0], 2 * views.alpha - 1, atol=1e-5)
    centre = stage.resolution // 2
    assert views.depth[0, centre, centre] == pytest.approx(-0.7, abs=0.01)
    assert views.depth[1, centre, centre] == pytest.approx(0.56, abs=0.02)
    assert np.all(views.depth[views.alpha == 0] == 0)

    vertices = np.asarray(jax.vmap(lambda s: scene_vertices(s, stage))(scenes.surface))
    both = degeneracy(views, vertices, stage.topology)
    assert both["hollow_share"] == 0.5
    assert both["object_contrast"] == pytest.approx(2, abs=0.1)
    assert both["flipped_faces"] == pytest.approx(0.25, abs=0.05)  # the dented half of one


def test_depth_is_signed_towards_the_camera(stage):
    with_nose = geometry.canonical_maps([sphere_with_nose(0.5)], stage, 0.0)
    plain = geometry.canonical_maps([spheres(0.5)], stage, 0.0)
    centre = stage.resolution // 2
    difference = with_nose.depth[centre, centre] - plain.depth[centre, centre]
    assert difference == pytest.approx(-BUMP_HEIGHT, abs=0.03)  # flattened by the coarse map


def test_right_profile_sees_the_front_on_its_left(stage):
    """yaw +90 puts the camera at +x, where the front (-z) is on the left."""
    bumpy = geometry.canonical_maps([sphere_with_nose(0.5, 0.3)], stage, math.pi / 2)
    plain = geometry.canonical_maps([spheres(0.5)], stage, math.pi / 2)
    added = (bumpy.coverage - plain.coverage).sum(axis=0)
    half = stage.resolution // 2
    assert added[:half].sum() > 10
    assert abs(added[half:].sum()) < 1


def test_relief_sees_a_nose_and_nothing_on_a_sphere(stage):
    bumpy = geometry.canonical_maps([sphere_with_nose(0.6)], stage, 0.0)
    plain = geometry.canonical_maps([spheres(0.6)], stage, 0.0)
    nose = geometry.nose_region(bumpy)
    middle = np.argwhere(nose).mean(axis=0)
    np.testing.assert_allclose(middle, (stage.resolution - 1) / 2, atol=1.5)
    assert geometry.protrusion(bumpy, nose) > BUMP_HEIGHT / 3
    assert abs(geometry.protrusion(plain, nose)) < 0.01
    dented = bumpy._replace(depth=-bumpy.depth)
    assert geometry.protrusion(dented, nose) == pytest.approx(-geometry.protrusion(bumpy, nose))
    assert geometry.relief_correlation(bumpy, bumpy) == pytest.approx(1.0)
    assert geometry.relief_correlation(bumpy, plain) < 0.7
    assert geometry.depth_correlation(bumpy, plain) > 0.9


def test_eyes_are_found_where_the_front_is_dented():
    size = 40
    y, x = np.indices((size, size)) - (size - 1) / 2
    mask = (np.hypot(x, y) <= 18).astype(float)
    dents = sum(np.exp(-((x - side * 5) ** 2 + (y + 3) ** 2) / 8) for side in (-1, 1))
    depth = 0.001 * (x**2 + y**2) + 0.05 * dents
    front = geometry.CanonicalMaps(mask, depth, np.zeros_like(mask), mask.mean()[None])
    eyes = geometry.eye_region(front)
    assert eyes[17, 14] and eyes[17, 25] and not eyes[17, 19] and not eyes[28].any()
    assert geometry.protrusion(front, eyes) < -0.015
    smooth = front._replace(depth=0.001 * (x**2 + y**2))
    assert geometry.protrusion(smooth, eyes) == pytest.approx(0, abs=1e-9)


def test_shape_statistics_of_spheres(stage):
    ellipsoid = make_scenes([directions() * [0.5, 0.7, 0.6]]).surface
    vertices = np.asarray(jax.vmap(lambda s: scene_vertices(s, stage))(ellipsoid))
    statistics = geometry.shape_statistics(vertices, stage.topology)
    assert statistics["width"] == pytest.approx(1.0, rel=0.02)
    assert statistics["height"] == pytest.approx(1.4, rel=0.02)
    assert statistics["length"] == pytest.approx(1.2, rel=0.02)
    assert 0.5 < statistics["mean_radius"] < 0.7
    assert statistics["flipped_faces"] == 0
    inside_out = geometry.shape_statistics(vertices * np.array([-1, 1, 1]), stage.topology)
    assert inside_out["flipped_faces"] == 1
    collapsed = geometry.shape_statistics(np.zeros_like(vertices), stage.topology)
    assert collapsed["mean_radius"] == 0


def test_report_scores_the_truth_itself_as_perfect_and_stays_valid_json(stage):
    truth = measure([sphere_with_nose(0.6), sphere_with_nose(0.62)], stage)
    families = {
        "same": truth,
        "sphere": measure([spheres(0.6)], stage),
        "vanished": measure([spheres(1e-7)], stage),
    }
    report = geometry_report(families, truth)
    assert report["same"]["profile_iou"] == pytest.approx(1.0)
    assert report["same"]["frontal_depth_correlation"] == pytest.approx(1.0)
    assert report["same"]["frontal_side_percent"] == report["same"]["profile_mad_degrees"] == 0
    assert 0 < report["sphere"]["frontal_mad_degrees"]
    flat = report["constant depth"]
    for key in ("frontal_side_percent", "profile_mad_degrees"):
        assert flat[key] > 2 * report["sphere"][key]
    assert "mmd" not in report["same"]
    assert report["sphere"]["relief_correlation"] < 0.7
    assert report["vanished"]["frontal_depth_rmse"] is None
    left, right = (report["sphere"][f"profile_{side}_iou"] for side in ("left", "right"))
    assert report["sphere"]["profile_iou"] == pytest.approx((left + right) / 2)
    json.dumps(report, allow_nan=False)

    table = format_table(report).splitlines()
    assert all(name in table[0] for name in (*families, "truth"))
    assert len({len(line) for line in table}) == 1
    picture = report_picture(families, truth)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
