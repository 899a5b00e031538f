"""The renderer in one short function."""

from __future__ import annotations

import math
import numbers
from typing import TYPE_CHECKING, NamedTuple

from gan3d.render.camera import Camera, project
from gan3d.render.composite import composite
from gan3d.render.derivatives import uv_derivatives
from gan3d.render.interpolate import interpolate_uv
from gan3d.render.rasterize import Fragments, rasterize
from gan3d.render.texture import sample_texture
from gan3d.render.topology import Topology

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Rendering(NamedTuple):
    """A picture of a mesh.

    Attributes:
      color: over the background, or the object's own colour (not premultiplied) without one.
      alpha: opacity of the object.
      fragments: what each pixel shows, for `interpolate`, `composite` and `render_buffers`.
    """

    color: Float[Array, "H W C"]
    alpha: Float[Array, "H W"]
    fragments: Fragments


def render(
    vertices: Float[Array, "V 3"],
    topology: Topology,
    texture: Float[Array, "Th Tw C"],
    camera: Camera,
    image_size: tuple[int, int],
    background: Float[Array, "H W C"] | None = None,
    margin_pixels: float = 1.0,
    *,
    cull: bool = True,
    near: float = 1e-3,
    far: float = math.inf,
    num_surfaces: int = 1,
    opacity: Float[Array, ""] | float = 1.0,
    mipmaps: bool = False,
    wrap: str | tuple[str, str] = "clamp",
) -> Rendering:
    """Draws a textured mesh; one scene, `vmap` for batches.

    Args:
      vertices: world coordinates.
      topology: connectivity and texture coordinates.
      texture: texels, any number of channels.
      camera: the camera.
      image_size: (height, width) in pixels.
      background: picture behind the object, or None.
      margin_pixels: width of the soft margin, 0 for the crisp renderer.
      cull: draw front faces only; False draws both sides.
      near: least camera depth that is drawn, world units; faces are clipped there.
      far: greatest camera depth that is drawn.
      num_surfaces: surfaces per pixel that are matted over one another; more than one shows only
        where opacity is below 1.
      opacity: of the material, in [0, 1]. What lies behind the last of the surfaces is not seen,
        and the picture is continuous where that many suffice.
      mipmaps: trilinear filtering where the texture is seen reduced, against aliasing. The levels
        are built in this call; a texture shared by a vmapped batch gets them once.
      wrap: how the texture goes on outside of [0, 1], as for `sample_texture`.

    Returns:
      The rendering, differentiable in vertices, texture, camera, background and opacity.

    Raises:
      ValueError: on a wrong shape, size, range or mode.

    >>> import jax.numpy as jnp
    >>> from gan3d.render import orbit_camera, sphere_mesh
    >>> vertices, topology = sphere_mesh(9)
    >>> picture = render(vertices * 0.5, topology, jnp.ones((4, 4, 3)), orbit_camera(0.3), (16, 16))
    >>> print(picture.color.shape, round(float(picture.alpha.max()), 3))
    (16, 16, 3) 1.0
    """
    _validate(vertices, topology, texture, image_size, background, opacity)
    points = project(vertices, camera, image_size)
    fragments = rasterize(
        points, topology, image_size, margin_pixels, orthographic=camera.orthographic,
        cull=cull, near=near, far=far, num_surfaces=num_surfaces,
    )  # fmt: skip
    uv = interpolate_uv(fragments, topology)
    footprint = None
    if mipmaps:
        footprint = uv_derivatives(fragments, points, topology, orthographic=camera.orthographic)
    layers = sample_texture(texture, uv, wrap=wrap, derivatives=footprint)
    color, alpha = composite(layers, opacity * fragments.alpha, background)
    return Rendering(color, alpha, fragments)


def _validate(vertices, topology, texture, image_size, background, opacity):
    if vertices.shape != (topology.num_vertices, 3):
        raise ValueError(
            f"vertices must have shape [{topology.num_vertices}, 3] as the topology (one mesh; "
            f"vmap for batches), got {list(vertices.shape)}"
        )
    if background is not None and background.shape != (*image_size, *texture.shape[2:]):
        raise ValueError(
            f"background must have the picture's shape {[*image_size, *texture.shape[2:]]}, "
            f"got {list(background.shape)}"
        )
    if isinstance(opacity, numbers.Real) and not 0 <= opacity <= 1:
        raise ValueError(f"opacity must lie in [0, 1], got {opacity}")
