"""Vertex attributes at fragments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

from gan3d.render.mesh import Topology
from gan3d.render.rasterize import Fragments

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def interpolate(
    attributes: Float[Array, "V C"], fragments: Fragments, topology: Topology
) -> Float[Array, "L H W C"]:
    """Vertex attributes at every fragment, perspective-correct; zero where a layer is empty.

    Args:
      attributes: any values per vertex.
      fragments: from `rasterize`.
      topology: the mesh that was rasterized.

    Returns:
      Values per layer and pixel. Differentiable in attributes and barycentrics.
    """
    if attributes.ndim != 2 or attributes.shape[0] != topology.num_vertices:
        raise ValueError(
            f"attributes must have shape [{topology.num_vertices}, C], got {list(attributes.shape)}"
        )
    if topology.num_faces == 0:
        return jnp.zeros((*fragments.face.shape, attributes.shape[1]), attributes.dtype)
    corners = jnp.asarray(topology.faces)[jnp.maximum(fragments.face, 0)]
    values = jnp.asarray(attributes)[corners]
    return (values * fragments.barycentric[..., None]).sum(-2)
