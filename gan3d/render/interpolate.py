"""Vertex attributes at fragments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

from gan3d.render.fragments import Fragments
from gan3d.render.indexing import take
from gan3d.render.topology import Topology

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def interpolate(
    attributes: Float[Array, "V C"] | Float[Array, "F 3 C"],
    fragments: Fragments,
    topology: Topology,
) -> Float[Array, "L H W C"]:
    """Attributes at every fragment, perspective-correct; zero where a layer is empty.

    Args:
      attributes: any values per vertex, or per corner of each face (flat shading, hard edges).
      fragments: from `rasterize`.
      topology: the mesh that was rasterized.

    Returns:
      Values per layer and pixel. Differentiable in attributes and barycentrics.

    Raises:
      ValueError: if attributes are neither [V, C] nor [F, 3, C].

    >>> triangle = make_topology(np.array([[0, 1, 2]]))
    >>> points = np.array([[0.0, 0.0, 2.0], [0.0, 4.0, 2.0], [4.0, 0.0, 2.0]])
    >>> @jax.jit
    ... def columns(points):
    ...     return interpolate(points[:, :1], rasterize(points, triangle, (2, 3)), triangle)
    >>> print(columns(points)[-1, ..., 0])
    [[0.5 1.5 2.5]
     [0.5 1.5 0. ]]
    """
    attributes = jnp.asarray(attributes)
    if attributes.ndim == 2 and attributes.shape[0] == topology.num_vertices:
        return _combine(attributes, jnp.asarray(topology.faces), fragments)
    if attributes.ndim == 3 and attributes.shape[:2] == (topology.num_faces, 3):
        corner = jnp.arange(3 * topology.num_faces, dtype=jnp.int32).reshape(-1, 3)
        flat = attributes.reshape(-1, attributes.shape[2])
        return _combine(flat, corner, fragments)
    raise ValueError(
        f"attributes must have shape [{topology.num_vertices}, C], one row per vertex, or "
        f"[{topology.num_faces}, 3, C], one per corner, got {list(attributes.shape)}"
    )


def interpolate_uv(fragments: Fragments, topology: Topology) -> Float[Array, "L H W 2"]:
    """Texture coordinates at every fragment, by the topology's own UV indices.

    Args:
      fragments: from `rasterize`.
      topology: the mesh that was rasterized.

    >>> uvs = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    >>> triangle = make_topology(np.array([[0, 1, 2]]), uvs)
    >>> one, weights = jnp.ones((1, 1, 1)), jnp.array([0.5, 0.25, 0.25])
    >>> fragments = Fragments(jnp.zeros((1, 1, 1), int), weights[None, None, None], one, one)
    >>> print(interpolate_uv(fragments, triangle)[0, 0, 0])
    [0.25 0.25]
    """
    uvs = jnp.asarray(topology.uvs, fragments.barycentric.dtype)
    return _combine(uvs, jnp.asarray(topology.uv_faces), fragments)


def _combine(values, faces, fragments):
    """Sum of corner values times barycentrics, one component at a time: rows gather slowly."""
    if faces.shape[0] == 0:
        return jnp.zeros((*fragments.face.shape, values.shape[1]), values.dtype)
    index = jnp.maximum(fragments.face, 0)
    columns = [values[:, c] for c in range(values.shape[1])]
    total = [0] * len(columns)
    for k in range(3):
        corner, weight = take(faces[:, k], index), fragments.barycentric[..., k]
        total = [
            t + take(column, corner) * weight for t, column in zip(total, columns, strict=True)
        ]
    return jnp.stack(total, axis=-1)
