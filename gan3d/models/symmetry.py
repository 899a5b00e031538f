"""Mirror symmetry of the generator's maps about the plane x = 0.

In both charts u and 1 - u are the directions with x and -x, so a map's mirror image is the map with
its columns reversed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gan3d.models.layers import downsample, upsample

if TYPE_CHECKING:
    from jaxtyping import Array, Float

_SHADING_SIZE = 4  # of the part of a texture that may differ between left and right


def symmetric_displacement(displacement: Float[Array, "S S 3"]) -> Float[Array, "S S 3"]:
    """Mean of a displacement map and that of the mirrored object."""
    mirrored = displacement[:, ::-1].at[:, :, 0].multiply(-1)
    return (displacement + mirrored) / 2


def symmetric_texture(texture: Float[Array, "T T C"], padding: str) -> Float[Array, "T T C"]:
    """A texture whose detail is that of its mirror image, and whose shading is free.

    Shading is what a map of 4 x 4 texels can show: light from one side stays possible, a face
    painted as if it were turned does not. That symmetry of what is painted ties the pose in the
    picture to the camera's is the idea of Wu et al. 2020, who keep shading apart by a light source.

    Args:
      texture: of side 4 or more, a power of two.
      padding: of the chart, see `layers.pad`.
    """
    shading = texture
    while len(shading) > _SHADING_SIZE:
        shading = downsample(shading)
    one_sided = (shading - shading[:, ::-1]) / 2
    while len(one_sided) < len(texture):
        one_sided = upsample(one_sided, padding)
    symmetric = (texture + texture[:, ::-1]) / 2
    return symmetric + one_sided
