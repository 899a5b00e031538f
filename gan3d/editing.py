"""Changes to scenes: samples of a generator, or what `gan3d.inversion` found in a photograph.

    found = invert(generator, images)                     # two faces
    a, b = (jax.tree.map(lambda x: x[i], found.scene) for i in (0, 1))
    generator.render(turn_head(swap_texture(a, b), math.radians(30)), camera)

Every function makes a new scene of given ones, is differentiable in all arrays, and takes one
scene, or a batch with one leading axis: what it makes can be rendered and saved like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from gan3d.render import DirectionalLights, interpolate, lambert, rasterize, vertex_normals
from gan3d.scene import Scene, Stage, scene_vertices

if TYPE_CHECKING:
    from jaxtyping import Array, Float

__all__ = ["relight", "swap_shape", "swap_texture", "turn_head"]


def swap_texture(scene: Scene, other: Scene) -> Scene:
    """The scene in the other one's paint.

    All scenes of a generator share one chart: an eye is where the other's eye was, as far as the
    generator has learned to keep it there.

    Raises:
      ValueError: one is a batch and the other is not, or they differ in length.

    >>> a, b = (jax.tree.map(lambda x: x[i], scenes) for i in (0, 1))
    >>> swapped = swap_texture(a, b)
    >>> print(bool((swapped.texture == b.texture).all()), swapped.surface is a.surface)
    True True
    """
    _check_alike(scene, other)
    return scene._replace(texture=other.texture)


def swap_shape(scene: Scene, other: Scene) -> Scene:
    """The scene with the other one's shape, in its own paint and before its own background.

    Raises:
      ValueError: one is a batch and the other is not, or they differ in length.

    >>> a, b = (jax.tree.map(lambda x: x[i], scenes) for i in (0, 1))
    >>> swapped = swap_shape(a, b)
    >>> print(bool((swapped.surface == b.surface).all()), swapped.texture is a.texture)
    True True
    """
    _check_alike(scene, other)
    return scene._replace(surface=other.surface)


def turn_head(scene: Scene, yaw: float, pitch: float = 0.0) -> Scene:
    """The object turned where it is, before the background, which stays.

    Seen by a camera at yaw 0 and pitch 0 the object looks as it did from the viewpoint (yaw,
    pitch), where a camera that moves would see another part of the background.

    Args:
      scene: one or a batch.
      yaw: radians; positive shows more of what was on the object's right in the picture.
      pitch: radians, as `orbit_camera`.

    >>> head = jax.tree.map(lambda a: a[0], scenes)
    >>> turned = turn_head(head, yaw=math.pi)  # the back of the head
    >>> print(bool(jnp.allclose(turned.surface[..., 2], -head.surface[..., 2], atol=1e-5)))
    True
    """
    cosine, sine = jnp.cos(yaw), jnp.sin(yaw)
    about_y = jnp.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
    cosine, sine = jnp.cos(pitch), jnp.sin(pitch)
    about_x = jnp.array([[1.0, 0.0, 0.0], [0.0, cosine, -sine], [0.0, sine, cosine]])
    return scene._replace(surface=scene.surface @ (about_x @ about_y).T)


def relight(
    scene: Scene, stage: Stage, ambient: float | Float[Array, "3"], lights: DirectionalLights
) -> Scene:
    """The scene in other light, painted into its texture: `gan3d.render.lambert` at every texel.

    The texture is taken as the surface's colour in white light; what light and shadow a photograph
    had stays in it. The new light stays where it is when the camera moves, casts no shadows, and
    leaves the background alone.

    Args:
      scene: one or a batch.
      stage: how the scene becomes a mesh, `generator.parts.stage`.
      ambient: light from everywhere; 1 = that in which the texture was seen.
      lights: directions towards the lights, world frame, and their colours.

    >>> from gan3d.render import DirectionalLights
    >>> from_the_right = DirectionalLights(jnp.array([[1.0, 0.0, 0.0]]), jnp.ones((1, 3)))
    >>> stage = generator.parts.stage
    >>> scenes = generator.scene(generator.sample(jax.random.key(0), 2))
    >>> lit = relight(scenes, stage, ambient=0.5, lights=from_the_right)
    >>> print(lit.texture.shape, bool((lit.texture <= 1).all()))
    (2, 16, 16, 3) True
    """

    def paint(surface, texture):
        normals = texel_normals(surface, stage, texture.shape[0])
        light = lambert(normals, (texture + 1) / 2, ambient, lights)
        return jnp.clip(2 * light - 1, -1, 1)

    paint = jax.vmap(paint) if scene.surface.ndim == 4 else paint
    return scene._replace(texture=paint(scene.surface, scene.texture))


def texel_normals(
    surface: Float[Array, "S S 3"], stage: Stage, texture_size: int
) -> Float[Array, "T T 3"]:
    """Outward normals at the centres of texels, world frame; zero outside the chart."""
    topology = stage.topology
    normals = vertex_normals(scene_vertices(surface, stage), topology)
    # The chart itself is drawn: its points are the UVs, and a pixel is a texel.
    flat = np.ones((topology.num_vertices, 1), np.float32)
    points = jnp.asarray(np.concatenate([texture_size * topology.uvs, flat], axis=1), jnp.float32)
    size = (texture_size, texture_size)
    fragments = rasterize(points, topology, size, 0.0, orthographic=True, cull=False)
    return interpolate(normals, fragments, topology)[-1]


def _check_alike(scene: Scene, other: Scene) -> None:
    shapes = scene.surface.shape[:-3], other.surface.shape[:-3]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "scene and other must both be one scene, or batches of one length, "
            f"got leading axes {list(shapes[0])} and {list(shapes[1])}"
        )
