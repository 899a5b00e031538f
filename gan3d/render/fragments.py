"""What is shown at each pixel: the result of rasterizing, and what all shading starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


class Fragments(NamedTuple):
    """What L layers show at each pixel, front to back: one or two margins, last the surface.

    L is 2 for a connected mesh and 3 for one of several components.

    Attributes:
      face: index of the face, -1 where the layer is empty.
      barycentric: perspective-correct weights of the face's corners; zero where empty.
      depth: camera-space depth, world units; zero where empty.
      alpha: opacity in [0, 1]; zero where empty, one on the surface.
    """

    face: Int[Array, "L H W"]
    barycentric: Float[Array, "L H W 3"]
    depth: Float[Array, "L H W"]
    alpha: Float[Array, "L H W"]
