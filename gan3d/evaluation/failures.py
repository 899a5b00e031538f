"""When does a generated scene count as a failure? Limits on the measures of `dashboard`.

The limits are ours, well outside of what sound shapes measure. The start sphere, the procedural
heads and the demo after 19,200 images have: coverage 0.28 to 0.39, depth over width 0.42 to 0.64,
no hollow front, edge ratio 1.2 to 1.7, contrast 0.5 to 1.1, size 1.0 to 1.13 of the start's; no
flipped or degenerate face, but 0.004 and 0.055 by the rim of the azimuthal chart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gan3d.evaluation.dashboard import degeneracy
from gan3d.evaluation.views import SceneViews

if TYPE_CHECKING:
    from jaxtyping import Float

    from gan3d.render import Topology


class Limit(NamedTuple):
    """Beyond this a scene, or the mean of many, is degenerate.

    Attributes:
      measure: name in `dashboard.degeneracy`.
      low: fails below, or None.
      high: fails above, or None.
    """

    measure: str
    low: float | None
    high: float | None

    def crossed(self, value: float) -> bool:
        """Whether the value lies outside; never if it is nan."""
        return (self.low is not None and value < self.low) or (
            self.high is not None and value > self.high
        )


LIMITS = {
    # A ball of a third of the picture's height: half the least area that the size term permits.
    "vanished": Limit("coverage_median", 0.1, None),
    # A ball that just fits covers 79%; without a silhouette nothing tells shape from texture.
    "filling": Limit("coverage_median", None, 0.95),
    # A quarter of the depth of the flattest sound shape, and so of a face modelled as a relief.
    "flat": Limit("front_depth_to_width", 0.1, None),
    # Single hollow samples come and go; a quarter of them is a mode that the generator has learned.
    "hollow": Limit("hollow_share", None, 0.25),
    # Nostrils and the back of an ear take a few faces; a fold takes a strip of the mesh.
    "folded": Limit("flipped_faces", None, 0.05),
    # The azimuthal chart's rim takes 2 / surface_size of the faces by construction, or 7%.
    "collapsed": Limit("degenerate_faces", None, 0.3),
    # One edge of a hundred is as long as five others: fins and spikes, not features.
    "spiky": Limit("edge_ratio", None, 5.0),
    # One fortieth of the range of colours: the eye hardly tells it from the background.
    "camouflaged": Limit("object_contrast", 0.05, None),
}


def failure_rates(
    views: SceneViews, vertices: Float[np.ndarray, "N V 3"], topology: Topology
) -> dict[str, float]:
    """Shares of scenes that are degenerate by themselves, whatever the others are like.

    Args:
      views: of N scenes from the front, from `scene_views`.
      vertices: of their meshes, world coordinates.
      topology: of the meshes.

    Returns:
      failed: share of scenes beyond any of `LIMITS`; failed_vanished and so on: beyond this one.

    >>> from gan3d.scene import scene_vertices
    >>> views = scene_views([scenes], evaluation_stage(stage))
    >>> vertices = np.stack([scene_vertices(surface, stage) for surface in scenes.surface])
    >>> print(failure_rates(views, vertices, stage.topology)["failed_vanished"])
    0.0
    """
    scenes = [
        degeneracy(
            SceneViews(*(field[i : i + 1] for field in views)), vertices[i : i + 1], topology
        )
        for i in range(len(vertices))
    ]
    crossed = {
        name: np.array([limit.crossed(measures[limit.measure]) for measures in scenes])
        for name, limit in LIMITS.items()
    }
    shares = {f"failed_{name}": float(scene.mean()) for name, scene in crossed.items()}
    return {"failed": float(np.any(list(crossed.values()), axis=0).mean()), **shares}
