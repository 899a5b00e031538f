"""How right is what was reconstructed from one picture, where the truth is known?

A reconstruction is a scene and the viewpoint from which it is thought to be seen. Its depth is
compared in the input's own view, where no frame of the world is needed; its viewpoint with the true
one; its colours in the input view, and where both cameras turn by the same angles.

Shape letters: N pictures, R their side.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan3d.evaluation.depth import mean_angle_deviation, scale_invariant_depth_error
from gan3d.evaluation.geometry import COVERED, evaluation_stage, silhouette_iou
from gan3d.evaluation.pose_network import angle_between, view_direction
from gan3d.scene import Scene, Stage, View, render_scene

if TYPE_CHECKING:
    from jaxtyping import Float

TURNS_DEGREES = (-30.0, 30.0)  # of both cameras, for views that the input does not show
_BATCH = 16


class PosedScenes(NamedTuple):
    """Scenes [N], each with the viewpoint [N] that its picture was taken from.

    Attributes:
      scenes: m, batched.
      views: v, radians.
      stage: how the scenes are shown; its resolution is that of the compared pictures.
    """

    scenes: Scene
    views: View
    stage: Stage


def reconstruction_errors(
    found: PosedScenes, truth: PosedScenes, turns_degrees: Sequence[float] = TURNS_DEGREES
) -> dict[str, Float[np.ndarray, "N"]]:
    """Errors of every reconstruction.

    Args:
      found: reconstructions, with the viewpoints they were found with.
      truth: as many true scenes with theirs, under the same lens.
      turns_degrees: yaws by which both cameras are turned for the novel views.

    Returns:
      By name:

      side, mad_degrees: of depth maps of 64 x 64 pixels, see `gan3d.evaluation.depth`; nan where
      the silhouettes do not overlap. iou: of the opacities, see `silhouette_iou`. pose_degrees:
      angle between the viewing directions. psnr, novel_psnr: dB, of the whole picture in the input
      view, and of the mean squared error over the novel views.

    Raises:
      ValueError: there are not as many reconstructions as truths, or their lenses differ.

    >>> from gan3d.scene import View
    >>> truth = PosedScenes(scenes, View(np.array([0.0, 0.4]), np.zeros(2)), stage)
    >>> found: PosedScenes = truth._replace(views=View(np.zeros(2), np.zeros(2)))
    >>> errors = reconstruction_errors(found, truth)
    >>> print(errors["pose_degrees"].round(1), bool(errors["side"][0] < errors["side"][1]))
    [ 0.  22.9] True
    >>> print(constant_depth_errors(truth).keys())
    dict_keys(['side', 'mad_degrees'])
    """
    num = len(truth.views.yaw)
    if len(found.views.yaw) != num:
        raise ValueError(f"found must be as many as the {num} truths, got {len(found.views.yaw)}")
    if found.stage.fov != truth.stage.fov or found.stage.resolution != truth.stage.resolution:
        raise ValueError("found and truth must have stages of one field of view and resolution")
    errors = _depth_errors(*(_seen(posed, depth=True) for posed in (found, truth)), truth.stage)
    directions = [np.asarray(view_direction(posed.views)) for posed in (found, truth)]
    errors["pose_degrees"] = np.degrees(np.asarray(angle_between(*directions)))
    errors["psnr"] = _psnr(_squared_errors(found, truth, 0.0))
    novel = [_squared_errors(found, truth, math.radians(turn)) for turn in turns_degrees]
    errors["novel_psnr"] = _psnr(np.mean(novel, axis=0))
    return errors


def constant_depth_errors(truth: PosedScenes) -> dict[str, Float[np.ndarray, "N"]]:
    """What one depth for every pixel scores, on the true silhouettes: side and mad_degrees."""
    seen = _seen(truth, depth=True)
    flat = _Seen(seen.image, seen.alpha, np.full_like(seen.depth, truth.stage.distance))
    errors = _depth_errors(flat, seen, truth.stage)
    return {name: errors[name] for name in ("side", "mad_degrees")}


class _Seen(NamedTuple):
    image: Float[np.ndarray, "N R R 3"]
    alpha: Float[np.ndarray, "N R R"]
    depth: Float[np.ndarray, "N R R"]


def _depth_errors(found: _Seen, truth: _Seen, stage: Stage) -> dict[str, np.ndarray]:
    rows = []
    for alpha, depth, true_alpha, true_depth in zip(
        found.alpha, found.depth, truth.alpha, truth.depth, strict=True
    ):
        mask = (alpha >= COVERED) & (true_alpha >= COVERED)
        rows.append(
            (
                scale_invariant_depth_error(depth, true_depth, mask),
                mean_angle_deviation(depth, true_depth, mask, stage.distance),
                silhouette_iou(alpha, true_alpha),
            )
        )
    return dict(zip(("side", "mad_degrees", "iou"), np.array(rows).T, strict=True))


def _squared_errors(found: PosedScenes, truth: PosedScenes, turn: float) -> np.ndarray:
    """Mean squared difference of the pictures when both cameras turn, [N]."""
    turned = [
        posed._replace(views=posed.views._replace(yaw=np.asarray(posed.views.yaw) + turn))
        for posed in (found, truth)
    ]
    a, b = (_seen(posed).image.astype(np.float64) for posed in turned)
    return ((a - b) ** 2).mean(axis=(1, 2, 3))


def _psnr(squared_errors: np.ndarray) -> np.ndarray:
    return 10 * np.log10(4 / np.maximum(squared_errors, 1e-12))


def _seen(posed: PosedScenes, depth: bool = False) -> _Seen:
    """Every scene from its viewpoint, a batch at a time; depth maps have their own resolution."""
    draw = _renderer(evaluation_stage(posed.stage) if depth else posed.stage)
    num, parts = len(posed.views.yaw), []
    for first in range(0, num, _BATCH):
        # The last batch is filled up with its last scene: one program serves all.
        some = np.minimum(np.arange(first, first + _BATCH), num - 1)
        batch = jax.tree.map(lambda a, some=some: np.asarray(a)[some], (posed.scenes, posed.views))
        parts.append(jax.device_get(draw(*batch)))
    return _Seen(*(np.concatenate(arrays)[:num] for arrays in zip(*parts, strict=True)))


# Bounded, because every entry keeps its stage and compiled program alive.
@functools.lru_cache(maxsize=8)
def _renderer(stage: Stage) -> Callable[[Scene, View], _Seen]:
    def show(scene: Scene, view: View) -> _Seen:
        shown = render_scene(scene, view, stage)
        # The depth is composited over the distance: a (z - D) + D.
        opaque = jnp.where(shown.alpha > 0, shown.alpha, 1.0)
        return _Seen(
            shown.image, shown.alpha, (shown.depth - stage.distance) / opaque + stage.distance
        )

    return jax.jit(jax.vmap(show))
