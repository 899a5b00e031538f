"""Does the latent 3D agree with the real camera? A pose regressor is the judge.

A network learns to read yaw and pitch off generated pictures and is tested on ground-truth views,
which it has never seen. It does well only if the generator's viewpoint means what the real one
means *and* its pictures look like real ones. The same network trained on true scenes is the
ceiling; always answering the median pose is the baseline.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gan3d.evaluation.pose_network import PoseRegressor, angle_between, view_direction
from gan3d.scene import View

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8


def pose_errors(
    regressor: PoseRegressor, images: UInt8[np.ndarray, "N H H 3"], views: View
) -> dict[str, float]:
    """Errors of the regressor's answers to pictures whose true viewpoints are known.

    Args:
      regressor: trained on other pictures.
      images: ground-truth pictures, of the size trained on.
      views: the viewpoints [N] they were taken from, radians.

    Returns:
      As `compare_poses`.

    Raises:
      ValueError: images and views are not of the shapes above.
    """
    num = len(_angles("views", views).yaw)
    if len(images) != num:
        raise ValueError(f"images must be as many as the {num} views, got {len(images)}")
    return compare_poses(regressor.estimate(images), views)


def compare_poses(estimated: View, views: View) -> dict[str, float]:
    """Errors of estimated viewpoints [N] against the true ones [N], radians.

    Unsupervised 3D is known up to a rotation of the world at best, hence the errors that are left
    without a constant offset of yaw and of pitch too. The offset is the regressor's: besides such a
    rotation it holds what the regressor learnt of generated pictures that true ones do not share.

    Returns:
      By name, in degrees:

      yaw_mae_degrees, pitch_mae_degrees: mean absolute differences, of yaw the short way round.
      pose_mae_degrees: mean angle between the viewing directions.
      aligned_yaw_mae_degrees and so on: the same after the offset has been subtracted.
      yaw_offset_degrees, pitch_offset_degrees: median of estimated - true.
      yaw_correlation: see `circular_correlation`; nan if one of both does not vary.

    Raises:
      ValueError: the views are not finite, or not of equal numbers.

    >>> from gan3d.scene import View
    >>> views = View(yaw=np.radians([-40.0, 0.0, 60.0]), pitch=np.zeros(3))
    >>> errors = compare_poses(View(views.yaw + np.radians(10), views.pitch), views)
    >>> print(round(errors["yaw_mae_degrees"], 3), round(errors["yaw_offset_degrees"], 3))
    10.0 10.0
    >>> print(round(errors["aligned_yaw_mae_degrees"], 3))
    0.0
    """
    estimated, views = _angles("estimated", estimated), _angles("views", views)
    if len(estimated.yaw) != len(views.yaw):
        rule = f"estimated must be as many as the {len(views.yaw)} views"
        raise ValueError(f"{rule}, got {len(estimated.yaw)}")
    offset = View(
        circular_median(estimated.yaw - views.yaw), np.median(estimated.pitch - views.pitch)
    )
    aligned = View(estimated.yaw - offset.yaw, estimated.pitch - offset.pitch)
    return {
        **_mean_errors(estimated, views),
        **{f"aligned_{key}": value for key, value in _mean_errors(aligned, views).items()},
        "yaw_offset_degrees": math.degrees(offset.yaw),
        "pitch_offset_degrees": math.degrees(offset.pitch),
        "yaw_correlation": circular_correlation(estimated.yaw, views.yaw),
    }


def constant_pose_errors(views: View) -> dict[str, float]:
    """What always answering the median yaw and the median pitch of the views [N] scores.

    Returns:
      yaw_mae_degrees, pitch_mae_degrees and pose_mae_degrees, see `compare_poses`.

    >>> from gan3d.scene import View
    >>> yaw = np.radians(np.linspace(-90, 90, 181))
    >>> print(round(constant_pose_errors(View(yaw, 0 * yaw))["yaw_mae_degrees"], 2))
    45.25
    """
    views = _angles("views", views)
    yaw, pitch = circular_median(views.yaw), np.median(views.pitch)
    return _mean_errors(View(np.full_like(views.yaw, yaw), np.full_like(views.pitch, pitch)), views)


def circular_median(angles: Float[np.ndarray, "N"]) -> float:
    """The one of the angles that has the least mean distance, round the circle, to all of them.

    Takes time quadratic in N.

    Returns:
      In [-pi, pi], radians.
    """
    best = min(angles, key=lambda angle: np.abs(_wrapped(angles - angle)).sum())
    return float(_wrapped(best))


def circular_correlation(a: Float[np.ndarray, "N"], b: Float[np.ndarray, "N"]) -> float:
    """Correlation of two angles, radians: 1 for b = a + constant, -1 for b = constant - a.

        det(A^T B) / sqrt(det(A^T A) det(B^T B))        rows of A: (cos a, sin a), B alike

    Negative if one angle runs the wrong way round, as yaw does where shapes are mirrored or hollow.
    Source: Fisher & Lee 1983, "A correlation coefficient for circular data", their rho_T.

    Returns:
      In [-1, 1]; nan if one angle does not vary (by more than half turns).
    """
    rows_a, rows_b = (np.stack([np.cos(x), np.sin(x)], axis=-1) for x in (a, b))
    own = np.linalg.det(rows_a.T @ rows_a), np.linalg.det(rows_b.T @ rows_b)
    if min(own) < 1e-12 * len(a) ** 2:
        return math.nan
    return float(np.linalg.det(rows_a.T @ rows_b) / math.sqrt(own[0] * own[1]))


def _mean_errors(estimated: View, views: View) -> dict[str, float]:
    apart = angle_between(view_direction(estimated), view_direction(views))
    errors = {
        "yaw": np.abs(_wrapped(estimated.yaw - views.yaw)),
        "pitch": np.abs(estimated.pitch - views.pitch),
        "pose": np.asarray(apart, np.float64),
    }
    return {f"{name}_mae_degrees": math.degrees(error.mean()) for name, error in errors.items()}


def _wrapped(angle):
    """The same angle in [-pi, pi)."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


def _angles(name: str, view: View) -> View:
    """The view as float64 arrays [N]."""
    view = View(*(np.asarray(angle, np.float64) for angle in view))
    if view.yaw.ndim != 1 or view.yaw.shape != view.pitch.shape or not len(view.yaw):
        shapes = f"{list(view.yaw.shape)} and {list(view.pitch.shape)}"
        raise ValueError(f"{name} must hold yaw and pitch [N] with N >= 1, got {shapes}")
    for angle in view:
        if not np.isfinite(angle).all():
            raise ValueError(f"{name} must be finite, got {angle[~np.isfinite(angle)][0]}")
    return view
