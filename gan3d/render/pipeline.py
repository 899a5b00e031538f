"""The renderer in one short function."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gan3d.render.camera import Camera, project
from gan3d.render.composite import composite
from gan3d.render.interpolate import interpolate
from gan3d.render.mesh import Topology
from gan3d.render.rasterize import Fragments, rasterize
from gan3d.render.texture import sample_texture

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Rendering(NamedTuple):
    """A picture of a mesh.

    Attributes:
      color: over the background, or the object's own colour (not premultiplied) without one.
      alpha: opacity of the object.
      fragments: what each pixel shows, for `interpolate` and `composite` of further attributes.
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

    Returns:
      The rendering, differentiable in vertices, texture, camera and background.

    >>> import jax.numpy as jnp
    >>> from gan3d.render import orbit_camera, sphere_mesh
    >>> vertices, topology = sphere_mesh(9)
    >>> picture = render(vertices * 0.5, topology, jnp.ones((4, 4, 3)), orbit_camera(0.3), (16, 16))
    >>> print(picture.color.shape, round(float(picture.alpha.max()), 3))
    (16, 16, 3) 1.0
    """
    points = project(vertices, camera, image_size)
    fragments = rasterize(points, topology, image_size, margin_pixels)
    uv = interpolate(topology.uvs, fragments, topology)
    color, alpha = composite(sample_texture(texture, uv), fragments.alpha, background)
    return Rendering(color, alpha, fragments)
