"""Different meshes in one batch: arrays padded to equal shapes, and masks of what is real."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from gan3d.render.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Array, Bool, Float


def pad_topology(
    topology: Topology,
    num_faces: int,
    num_vertices: int,
    num_uvs: int | None = None,
    num_edges: int | None = None,
) -> Topology:
    """The same mesh in larger arrays, so that different meshes have equal shapes.

    Padding faces are (0, 0, 0) without neighbours and are never drawn; padding vertices and UVs
    belong to no face; padding edges join vertex 0 to itself. Mesh terms ignore all of them.

    Args:
      topology: of one mesh.
      num_faces: F afterwards.
      num_vertices: V afterwards, at least 1.
      num_uvs: U afterwards. None: num_vertices.
      num_edges: E afterwards. None: 3 num_faces, enough for any mesh.

    Raises:
      ValueError: if a count is below the topology's own.

    >>> _, topology = cube()
    >>> padded = pad_topology(topology, num_faces=16, num_vertices=10, num_uvs=30)
    >>> print(padded.faces.shape, padded.num_vertices, padded.faces[-1])
    (16, 3) 10 [0 0 0]
    """
    num_uvs = num_vertices if num_uvs is None else num_uvs
    num_edges = 3 * num_faces if num_edges is None else num_edges
    for name, wanted, least in (
        ("num_faces", num_faces, topology.num_faces),
        ("num_vertices", num_vertices, max(topology.num_vertices, 1)),
        ("num_uvs", num_uvs, topology.num_uvs),
        ("num_edges", num_edges, len(topology.edges)),
    ):
        if wanted < least:
            raise ValueError(f"{name} must be at least {least} for this topology, got {wanted}")
    own = np.arange(topology.num_vertices, num_vertices, dtype=np.int32)
    return dataclasses.replace(
        topology,
        faces=_padded(topology.faces, num_faces, 0),
        uvs=_padded(topology.uvs, num_uvs, 0),
        uv_faces=_padded(topology.uv_faces, num_faces, 0),
        weld=np.concatenate([topology.weld, own]),
        neighbors=_padded(topology.neighbors, num_faces, -1),
        edges=_padded(topology.edges, num_edges, 0),
        edge_faces=_padded(topology.edge_faces, num_edges, -1),
        component=_padded(topology.component, num_faces, 0),
    )


def _padded(array: np.ndarray, length: int, value: int) -> np.ndarray:
    missing = (length - len(array), *array.shape[1:])
    return np.concatenate([array, np.full(missing, value, array.dtype)])


def stack_meshes(
    meshes: Sequence[tuple[Float[Array, "_ 3"], Topology]],
) -> tuple[Float[Array, "B V 3"], Topology, Bool[np.ndarray, "B V"], Bool[np.ndarray, "B F"]]:
    """Different meshes as one batch, for `jax.vmap` over vertices and topology.

    Args:
      meshes: (vertices, topology) of each; padding vertices are put at the origin.

    Returns:
      (vertices, topology with a leading batch axis, which vertices and which faces are real).
      num_components is the greatest of the meshes'. Differentiable in the vertices.

    Raises:
      ValueError: if there are no meshes, or vertices do not fit their topology.

    >>> from gan3d.render import cube, sheet
    >>> vertices, topology, vertex_mask, face_mask = stack_meshes([cube(), sheet()])
    >>> print(vertices.shape, topology.faces.shape, face_mask.sum(axis=1))
    (2, 8, 3) (2, 12, 3) [12  2]
    """
    if not meshes:
        raise ValueError("meshes must hold at least one mesh, got none")
    for i, (vertices, topology) in enumerate(meshes):
        if vertices.shape != (topology.num_vertices, 3):
            raise ValueError(
                f"meshes[{i}] must have vertices [{topology.num_vertices}, 3] as its topology, "
                f"got {list(vertices.shape)}"
            )
    topologies = [topology for _, topology in meshes]
    num_vertices = max(1, *(t.num_vertices for t in topologies))
    num_faces, num_uvs, num_components = (
        max(getattr(t, name) for t in topologies)
        for name in ("num_faces", "num_uvs", "num_components")
    )
    num_edges = max(len(t.edges) for t in topologies)
    padded = [
        dataclasses.replace(
            pad_topology(t, num_faces, num_vertices, num_uvs, num_edges),
            num_components=num_components,
        )
        for t in topologies
    ]
    xp = np if all(isinstance(vertices, np.ndarray) for vertices, _ in meshes) else jnp
    grow = lambda v: xp.pad(v, ((0, num_vertices - len(v)), (0, 0)))  # noqa: E731
    real = lambda counts, size: np.arange(size)[None, :] < np.array(counts)[:, None]  # noqa: E731
    return (
        xp.stack([grow(vertices) for vertices, _ in meshes]),
        jax.tree.map(lambda *arrays: np.stack(arrays), *padded),
        real([t.num_vertices for t in topologies], num_vertices),
        real([t.num_faces for t in topologies], num_faces),
    )
