"""Normals of faces and vertices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from gan3d.render.topology import Topology


def face_normals(vertices: Float[Array, "V 3"], topology: Topology) -> Float[Array, "F 3"]:
    """Outward face normals whose length is twice the face's area (not normalised).

    n = (b - a) x (c - a). Padding faces get zero. Differentiable in the vertices.

    Args:
      vertices: any frame and unit; the normals are in the same frame.
      topology: of that mesh.

    Raises:
      ValueError: if vertices is not [V, 3].

    >>> from gan3d.render import sheet
    >>> print(face_normals(*sheet()))
    [[ 0.  0. -4.]
     [ 0.  0. -4.]]
    """
    _check(vertices, topology)
    vertices = jnp.asarray(vertices)
    a, b, c = (vertices[topology.faces[:, k]] for k in range(3))
    return jnp.cross(b - a, c - a)


def vertex_normals(vertices: Float[Array, "V 3"], topology: Topology) -> Float[Array, "V 3"]:
    """Unit outward normals: the area-weighted mean over the faces at each welded vertex.

    A vertex without area around it gets the zero vector, and no gradient. Source: Gouraud 1971,
    "Continuous shading of curved surfaces", with areas as weights.

    Args:
      vertices: any frame and unit; the normals are in the same frame.
      topology: of that mesh.

    Raises:
      ValueError: if vertices is not [V, 3].

    >>> from gan3d.render import sheet
    >>> print(vertex_normals(*sheet())[0])
    [ 0.  0. -1.]
    """
    normals = face_normals(vertices, topology)
    corners = topology.weld[topology.faces]
    total = jnp.zeros(vertices.shape, normals.dtype)
    for k in range(3):
        total = total.at[corners[:, k]].add(normals)
    total = total[topology.weld]
    square = (total**2).sum(-1, keepdims=True)
    return total * jnp.where(square > 0, jax.lax.rsqrt(jnp.where(square > 0, square, 1)), 0)


def unit_vectors(vectors: Float[Array, "... 3"]) -> Float[Array, "... 3"]:
    """Vectors of length one; zero stays zero, with a zero gradient."""
    vectors = jnp.asarray(vectors)
    # Scaled first: squares of very short or long vectors leave the range of floats. The direction
    # does not depend on the scale, which needs no gradient therefore.
    size = jax.lax.stop_gradient(jnp.abs(vectors).max(axis=-1, keepdims=True))
    scaled = vectors / jnp.where(size > 0, size, 1)
    square = (scaled * scaled).sum(axis=-1, keepdims=True)
    return jnp.where(size > 0, scaled / jnp.sqrt(jnp.where(size > 0, square, 1)), 0)


def _check(vertices, topology):
    if vertices.shape != (topology.num_vertices, 3):
        raise ValueError(
            f"vertices must have shape [{topology.num_vertices}, 3] as the topology, "
            f"got {list(vertices.shape)}"
        )
