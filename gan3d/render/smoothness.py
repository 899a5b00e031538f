"""Terms that keep a mesh smooth while it is fitted; each for one mesh, `vmap` for batches.

How they scale, to choose weights by:

* `laplacian_term`: length squared; the curvature of a sphere of radius r costs 16 pi^2 / 3 r^2,
  however fine its mesh, uneven edges come on top (in all, 62 to 125 r^2 for icospheres 2 to 4);
* `normal_consistency_term`: no unit; 0 if flat, 1 if every edge is a right angle, at most 2;
  on a smooth surface it falls as 1 / F when the mesh is refined;
* `edge_length_term`: length squared; falls as 1 / F when the mesh is refined.

Edges join welded vertices: of the copies of a vertex only the one that stands for the others is
looked at and gets a gradient. Keep the copies together with `vertices[topology.weld]`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from gan3d.render.normals import face_normals

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from gan3d.render.topology import Topology


def uniform_laplacian(values: Float[Array, "V C"], topology: Topology) -> Float[Array, "V C"]:
    """(L x)_i = mean over the neighbours j of vertex i of x_j - x_i.

    Source: Taubin 1995, "A signal processing approach to fair surface design". On an even mesh
    with edges of length h it is about h^2 / 4 times the surface's own Laplacian.

    Args:
      values: any values per vertex.
      topology: its welded edges are the neighbourhoods.

    Returns:
      The same unit; zero at a vertex without edges. Linear in the values.

    Raises:
      ValueError: if values is not [V, C].

    >>> from gan3d.render import icosphere
    >>> vertices, topology = icosphere(0)
    >>> along_normal = (uniform_laplacian(vertices, topology) * vertices).sum(-1)
    >>> bool(jnp.allclose(along_normal, 1 / math.sqrt(5) - 1))
    True
    """
    if values.ndim != 2 or values.shape[0] != topology.num_vertices:
        raise ValueError(
            f"values must have shape [{topology.num_vertices}, C], got {list(values.shape)}"
        )
    values = jnp.asarray(values)
    a, b = topology.edges[:, 0], topology.edges[:, 1]
    xp = np if isinstance(topology.edges, np.ndarray) else jnp
    # Differences along edges, so that a vertex without edges contributes nothing.
    along = values[b] - values[a]
    total = jnp.zeros_like(values).at[a].add(along).at[b].add(-along)
    return total / xp.maximum(_degree(topology), 1)[:, None]


def laplacian_term(values: Float[Array, "V C"], topology: Topology) -> Float[Array, ""]:
    """N sum_i |(L x)_i|^2 over the N vertices that have edges.

    Differences shrink by 1 / N on a finer mesh, so that one weight serves every mesh.

    Args:
      values: vertices (any length unit), or their displacements from a start shape, which then
        costs nothing.
      topology: of that mesh.

    >>> from gan3d.render import icosphere
    >>> print(round(float(laplacian_term(*icosphere(0))), 2))  # (12 (1 - 1 / sqrt(5)))^2
    44.0
    """
    laplacian = uniform_laplacian(values, topology)
    return (laplacian**2).sum() * (_degree(topology) > 0).sum()


def normal_consistency_term(
    vertices: Float[Array, "V 3"], topology: Topology, power: int = 1
) -> Float[Array, ""]:
    """Mean of (1 - cos)^power of the angle between neighbouring faces' normals.

    With power 2 it is gentle on a curved surface and steep at a fold. Edges of a face without area
    (square of twice the area at most 1e-16) count as flat; borders do not count.

    Args:
      vertices: any frame; the unit does not matter.
      topology: of that mesh.
      power: at least 1.

    Raises:
      ValueError: if vertices is not [V, 3], or power is below 1.

    >>> from gan3d.render import cube
    >>> print(round(float(normal_consistency_term(*cube())), 3))  # 12 right angles, 6 diagonals
    0.667
    """
    if power < 1:
        raise ValueError(f"power must be at least 1, got {power}")
    normals = face_normals(vertices, topology)
    square = (normals**2).sum(-1, keepdims=True)
    normals = normals * jax.lax.rsqrt(jnp.maximum(square, 1e-16))
    exists = topology.edge_faces.min(-1) >= 0
    if isinstance(topology.edge_faces, np.ndarray):
        inner, exists = topology.edge_faces[exists], exists[exists]
    else:
        inner = jnp.where(exists[:, None], topology.edge_faces, 0)
    cosine = (normals[inner[:, 0]] * normals[inner[:, 1]]).sum(-1)
    proper = (square[inner[:, 0], 0] > 1e-16) & (square[inner[:, 1], 0] > 1e-16) & exists
    return _mean(jnp.where(proper, (1 - cosine) ** power, 0), exists)


def edge_length_term(
    vertices: Float[Array, "V 3"], topology: Topology, target: float = 0.0
) -> Float[Array, ""]:
    """Mean over the edges of (length - target)^2.

    Args:
      vertices: any frame and length unit.
      topology: of that mesh.
      target: length at which an edge rests, the vertices' unit.

    Raises:
      ValueError: if vertices is not [V, 3], or target is negative or not finite.

    >>> from gan3d.render import cube
    >>> print(round(float(edge_length_term(*cube())), 3))  # 12 edges of 2, 6 diagonals
    5.333
    """
    if vertices.shape != (topology.num_vertices, 3):
        raise ValueError(
            f"vertices must have shape [{topology.num_vertices}, 3] as the topology, "
            f"got {list(vertices.shape)}"
        )
    if isinstance(target, (int, float)) and not (math.isfinite(target) and target >= 0):
        raise ValueError(f"target must be finite and at least 0, got {target}")
    vertices = jnp.asarray(vertices)
    a, b = topology.edges[:, 0], topology.edges[:, 1]
    square = ((vertices[b] - vertices[a]) ** 2).sum(-1)
    length = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    return _mean(jnp.where(a != b, (length - target) ** 2, 0), a != b)


def _degree(topology: Topology):
    """Neighbours of each welded vertex, [V] float32; padding edges do not count."""
    edges, num_vertices = topology.edges, topology.num_vertices
    real = edges[:, 0] != edges[:, 1]
    if isinstance(edges, np.ndarray):
        return np.bincount(edges[real].reshape(-1), minlength=num_vertices).astype(np.float32)
    ones = jnp.repeat(real.astype(jnp.float32), 2)
    return jnp.zeros(num_vertices, jnp.float32).at[edges.reshape(-1)].add(ones)


def _mean(values, counted):
    """Sum over the number of counted ones; zero if there are none."""
    xp = np if isinstance(counted, np.ndarray) else jnp
    return values.sum() / xp.maximum(counted.sum(), 1).astype(values.dtype)
