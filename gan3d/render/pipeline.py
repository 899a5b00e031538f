"""The renderer in one short function."""

from __future__ import annotations

import math
import numbers
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import numpy as np

from gan3d.render.batching import differentiable_scene_by_scene, traced_once
from gan3d.render.camera import Camera, project
from gan3d.render.fragments import Fragments
from gan3d.render.indexing import take
from gan3d.render.rasterize import fragments_of, make_settings, see
from gan3d.render.screen import Settings
from gan3d.render.shading import FAST, SMOOTH, Fixed, Look, Scene, shade_picture
from gan3d.render.texture import join_levels, make_mipmaps, validate_texels, wrap_pair
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

    >>> vertices, topology = sphere_mesh(9)
    >>> camera, texture = orbit_camera(0.3), jnp.ones((4, 4, 3))
    >>> draw = jax.jit(render, static_argnames="image_size")
    >>> picture: Rendering = draw(0.5 * vertices, topology, texture, camera, image_size=(16, 16))
    >>> print(picture.color.shape, round(float(picture.alpha.max()), 3))
    (16, 16, 3) 1.0
    """
    _validate(vertices, topology, texture, image_size, background, opacity)
    points = project(vertices, camera, image_size)
    settings = make_settings(
        points, topology, image_size, margin_pixels, orthographic=camera.orthographic,
        cull=cull, near=near, far=far, num_surfaces=num_surfaces,
    )  # fmt: skip
    visible = see(points, topology, settings)
    fragments = fragments_of(points, topology, visible, settings)
    color, alpha = _color(
        points, topology, texture, background, opacity, mipmaps, wrap, visible, settings
    )
    return Rendering(color, alpha, fragments)


def _color(points, topology, texture, background, opacity, mipmaps, wrap, visible, settings):
    """Colour and opacity, from what each pixel sees. Not from the fragments: a margin covers few
    pixels, and under `jit` fragments that nobody asks for are not computed."""
    validate_texels("texture", texture)
    texture = jnp.asarray(texture)
    texture = texture.astype(jnp.promote_types(texture.dtype, points.dtype))
    texels, sizes = join_levels(make_mipmaps(texture) if mipmaps else (texture,))
    if topology.num_faces == 0:
        alpha = jnp.zeros(settings.image_size, points.dtype)
        blank = jnp.zeros((*settings.image_size, texture.shape[2]), texels.dtype)
        return blank if background is None else jnp.asarray(background), alpha
    constant = isinstance(opacity, numbers.Real), isinstance(topology.uvs, np.ndarray)
    look = Look(sizes, wrap_pair(wrap), mipmaps, float(opacity) if constant[0] else None)
    corner_uvs = take(jnp.asarray(topology.uvs, points.dtype), jnp.asarray(topology.uv_faces))
    scene = Scene(
        points, texels, background,
        None if constant[1] else corner_uvs,
        None if constant[0] else jnp.asarray(opacity, points.dtype),
    )  # fmt: skip
    fixed = Fixed(jnp.asarray(topology.faces), visible, corner_uvs if constant[1] else None)
    return _shader(settings, look)(scene, fixed)


@traced_once
def _shader(settings: Settings, look: Look):
    return differentiable_scene_by_scene(
        partial(shade_picture, settings, look, FAST),
        partial(shade_picture, settings, look, SMOOTH),
    )


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
