"""What a picture shows besides colour: depth, normals, texture coordinates, ids, silhouettes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp

from gan3d.render.camera import Camera, precise_product
from gan3d.render.composite import composite
from gan3d.render.fragments import Fragments
from gan3d.render.interpolate import interpolate, interpolate_uv
from gan3d.render.normals import unit_vectors, vertex_normals
from gan3d.render.topology import Topology

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


class Buffers(NamedTuple):
    """Pictures of one mesh's geometry; zero (face: -1) where nothing is seen.

    The first three are matted like colours, so that they are continuous in the vertices: in a
    margin the near surface blends into what lies behind it. `face` and `barycentric` jump.

    Attributes:
      depth: camera depth z, world units.
      normals: smooth outward normals, unit, camera frame (x right, y down, z forward): that of a
        front face has z < 0, and that of a back face, drawn without culling, points away.
      uv: texture coordinates. Where two parts are matted this is a mean of theirs: to draw a
        texture, sample it in every layer first and matte the colours, as `render` does.
      barycentric: weights of the corners of `face`, perspective-correct.
      face: index of the face at the pixel's centre.
      silhouette: opacity of the margins before that face: bright lines along visible outlines.
    """

    depth: Float[Array, "H W"]
    normals: Float[Array, "H W 3"]
    uv: Float[Array, "H W 2"]
    barycentric: Float[Array, "H W 3"]
    face: Int[Array, "H W"]
    silhouette: Float[Array, "H W"]


def render_buffers(
    vertices: Float[Array, "V 3"], topology: Topology, camera: Camera, fragments: Fragments
) -> Buffers:
    """Geometry at every pixel. Under `jit` the buffers that are not used cost nothing.

    Of further attributes a picture is `composite(interpolate(attributes, ...), fragments.alpha)`.

    Args:
      vertices: world coordinates.
      topology: the mesh that was rasterized.
      camera: that the mesh was seen by.
      fragments: from `render` or `rasterize`, any number of surfaces.

    Returns:
      The buffers, all but `face` differentiable in the vertices, the camera and the fragments'
      barycentrics, depth and alpha. Where normals cancel out, normal and gradient are zero.

    Raises:
      ValueError: if vertices or fragments do not belong to the topology.

    >>> vertices, topology = sheet()
    >>> camera = orbit_camera(0.0, distance=4.0)
    >>> @jax.jit
    ... def draw(vertices):
    ...     fragments = rasterize(project(vertices, camera, (8, 8)), topology, (8, 8))
    ...     return render_buffers(vertices, topology, camera, fragments)
    >>> buffers: Buffers = draw(0.5 * vertices)
    >>> print(buffers.face[4, 4], buffers.face[0, 0])
    1 -1
    >>> print(round(float(buffers.depth[4, 4]), 3), buffers.normals[4, 4] + 0.0)
    4.0 [ 0.  0. -1.]
    """
    num_margins = 1 + (topology.num_components > 1)
    if fragments.face.shape[0] % (num_margins + 1):
        raise ValueError(
            f"fragments must have a multiple of {num_margins + 1} layers for this topology, got "
            f"{fragments.face.shape[0]}"
        )
    normals = precise_product(vertex_normals(vertices, topology), camera.rotation.T)
    layers = [
        fragments.depth[..., None],
        interpolate(normals, fragments, topology),
        interpolate_uv(fragments, topology),
    ]
    values, _ = composite(jnp.concatenate(layers, axis=-1), fragments.alpha)
    clear = jnp.ones_like(fragments.alpha[0])
    for opacity in fragments.alpha[:num_margins]:
        clear = clear * (1 - opacity)
    return Buffers(
        depth=values[..., 0],
        normals=unit_vectors(values[..., 1:4]),
        uv=values[..., 4:6],
        barycentric=fragments.barycentric[num_margins],
        face=fragments.face[num_margins],
        silhouette=1 - clear,
    )
