from __future__ import annotations

import math

import numpy as np
import pytest

from gan3d.evaluation.depth import (
    depth_normals,
    mean_angle_deviation,
    scale_invariant_depth_error,
)

SIZE, DISTANCE = 24, 4.0
FULL = np.ones((SIZE, SIZE), bool)


def plane(normal, offset: float = DISTANCE) -> np.ndarray:
    """Camera depth of the plane n . p = n . (0, 0, offset)."""
    rows, columns = np.indices((SIZE, SIZE))
    x, y = ((2 * at + 1 - SIZE) / SIZE / DISTANCE for at in (columns, rows))
    normal = np.asarray(normal, float)
    return normal[2] * offset / (normal[0] * x + normal[1] * y + normal[2])


def bumpy(seed: int = 0) -> np.ndarray:
    return DISTANCE + 0.3 * np.random.default_rng(seed).uniform(-1, 1, (SIZE, SIZE))


def test_side_does_not_see_scale_and_sees_everything_else():
    a, b = bumpy(0), bumpy(1)
    assert scale_invariant_depth_error(a, a, FULL) == 0
    assert scale_invariant_depth_error(a, 3 * a, FULL) == pytest.approx(0, abs=1e-12)
    error = scale_invariant_depth_error(a, b, FULL)
    assert error > 0.01
    assert scale_invariant_depth_error(2 * a, b, FULL) == pytest.approx(error)
    assert scale_invariant_depth_error(b, a, FULL) == pytest.approx(error)
    assert scale_invariant_depth_error(a + 1, a, FULL) > 1e-3


def test_side_by_hand_and_on_the_mask_only():
    a, b = np.array([[math.e, 1.0, 5.0]]), np.array([[1.0, math.e, -1.0]])
    mask = np.array([[True, True, False]])
    assert scale_invariant_depth_error(a, b, mask) == pytest.approx(1.0)  # of +1 and -1
    assert math.isnan(scale_invariant_depth_error(a, b, np.zeros((1, 3), bool)))


@pytest.mark.parametrize("normal", [(0, 0, -1), (0.5, 0, -1), (0.2, -0.4, -1)])
def test_normals_of_a_plane_are_exact_and_face_the_camera(normal):
    expected = np.asarray(normal) / np.linalg.norm(normal)
    inner = depth_normals(plane(normal), DISTANCE)[1:-1, 1:-1]
    np.testing.assert_allclose(inner, np.broadcast_to(expected, inner.shape), atol=1e-9)


@pytest.mark.parametrize(("first", "second"), [(0.0, 20.0), (-15.0, 15.0), (0.0, 1e-5)])
def test_mad_of_two_tilted_planes_is_the_angle(first, second):
    normals = [(math.sin(math.radians(a)), 0, -math.cos(math.radians(a))) for a in (first, second)]
    depths = [plane(normal) for normal in normals]
    deviation = mean_angle_deviation(*depths, FULL, DISTANCE)
    assert deviation == pytest.approx(second - first, rel=1e-4)
    nearer = mean_angle_deviation(0.7 * depths[0], depths[1], FULL, DISTANCE)
    assert nearer == pytest.approx(second - first, rel=1e-4)


def test_mad_does_not_reach_over_the_edge_of_the_mask():
    flat = plane((0, 0, -1))
    stepped, mask = flat.copy(), FULL.copy()
    stepped[:, 12:], mask[:, 12:] = 9.0, False
    assert mean_angle_deviation(stepped, flat, mask, DISTANCE) == pytest.approx(0, abs=1e-9)
    assert mean_angle_deviation(stepped, flat, FULL, DISTANCE) > 1
    thin = np.zeros_like(FULL)
    thin[:, 5:7] = True
    assert math.isnan(mean_angle_deviation(flat, flat, thin, DISTANCE))


def test_errors_name_argument_and_value():
    depth = bumpy()
    cases = {
        r"depth_b must be \(24, 24\)": lambda: scale_invariant_depth_error(depth, depth[1:], FULL),
        "depth_a must be positive on the mask, got -": lambda: mean_angle_deviation(
            -depth, depth, FULL, DISTANCE
        ),
        "distance must be positive, got 0": lambda: depth_normals(depth, 0),
        r"depth must be \[H, W\].*\(24,\)": lambda: depth_normals(depth[0], DISTANCE),
    }
    for message, call in cases.items():
        with pytest.raises(ValueError, match=message):
            call()
