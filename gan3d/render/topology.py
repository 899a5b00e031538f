"""Connectivity of triangle meshes: adjacency, connected parts, texture coordinates."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import jax
import numpy as np
from scipy.sparse import coo_array  # jax itself depends on scipy
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Topology:
    """What stays fixed while a mesh deforms: connectivity and texture coordinates.

    Texture coordinates have an index of their own: a vertex on a texture seam has one position and
    several UVs. Where a seam doubles the vertices instead, the copies are *welded*: they count as
    one vertex for edges, so a closed seam is no silhouette.

    Attributes:
      faces: vertex indices, counter-clockwise seen from outside: (b - a) x (c - a) points outwards.
      uvs: texture coordinates in [0, 1], v down.
      uv_faces: of each face's corners, the index into uvs.
      weld: index of the vertex that stands for each vertex.
      neighbors: face across edge k (corner k to corner k + 1), -1 where there is none.
      edges: welded vertex indices of every edge once; padding has two equal ones.
      edge_faces: the two faces of every edge, -1 where there is none.
      component: of each face, which connected part of the mesh it belongs to, from 0.
      num_components: connected parts; known to the compiler.
    """

    faces: Int[Array, "F 3"]
    uvs: Float[Array, "U 2"]
    uv_faces: Int[Array, "F 3"]
    weld: Int[Array, "V"]
    neighbors: Int[Array, "F 3"]
    edges: Int[Array, "E 2"]
    edge_faces: Int[Array, "E 2"]
    component: Int[Array, "F"]
    num_components: int = dataclasses.field(metadata=dict(static=True))

    @property
    def num_vertices(self) -> int:
        """V."""
        return self.weld.shape[-1]

    @property
    def num_faces(self) -> int:
        """F."""
        return self.faces.shape[-2]

    @property
    def num_uvs(self) -> int:
        """U."""
        return self.uvs.shape[-2]


def make_topology(
    faces: np.ndarray,
    uvs: np.ndarray | None = None,
    weld: np.ndarray | None = None,
    num_vertices: int | None = None,
    uv_faces: np.ndarray | None = None,
) -> Topology:
    """Derives adjacency from a list of faces.

    Two faces are neighbours if exactly these two share an edge; an edge of one face, or of three
    and more, has no neighbours and counts as a border.

    Args:
      faces: [F, 3] integer vertex indices.
      uvs: [U, 2] texture coordinates in [0, 1], v down; U = V without uv_faces. None: zeros.
      weld: [V] index of the vertex that stands for each vertex. None: nothing is welded.
      num_vertices: V. None: taken from weld, uvs (without uv_faces), or the largest index.
      uv_faces: [F, 3] integer indices into uvs. None: a vertex's index is also that of its UV.

    Raises:
      ValueError: if an array has the wrong shape or type, or an index is out of range.

    >>> square: Topology = make_topology(np.array([[0, 1, 2], [0, 2, 3]]))
    >>> print(square.num_vertices, len(square.edges), square.neighbors.tolist())
    4 5 [[-1, -1, 1], [0, -1, -1]]
    """
    if uv_faces is not None and uvs is None:
        raise ValueError("uvs must be given with uv_faces, got None")
    vertex_uvs = uvs if uv_faces is None else None
    known = [len(a) for a in (weld, vertex_uvs) if a is not None]
    if num_vertices is None:
        num_vertices = known[0] if known else int(np.max(faces, initial=-1)) + 1
    faces = _checked_indices("faces", faces, num_vertices, "vertices")
    uvs = np.zeros((num_vertices, 2)) if uvs is None else np.asarray(uvs)
    num_uvs = num_vertices if uv_faces is None else len(uvs)
    weld = np.arange(num_vertices) if weld is None else np.asarray(weld)
    for name, array, shape in (("uvs", uvs, (num_uvs, 2)), ("weld", weld, (num_vertices,))):
        if array.shape != shape:
            raise ValueError(f"{name} must have shape {list(shape)}, got {list(array.shape)}")
    _check_weld(weld, num_vertices)
    uv_faces = faces if uv_faces is None else _checked_indices("uv_faces", uv_faces, num_uvs, "uvs")
    if uv_faces.shape != faces.shape:
        raise ValueError(
            f"uv_faces must have the shape of faces, {list(faces.shape)}, "
            f"got {list(uv_faces.shape)}"
        )
    neighbors, edges, edge_faces = _adjacency(weld[faces])
    component, num_components = _components(weld[faces], num_vertices)
    return Topology(
        faces=faces.astype(np.int32),
        uvs=uvs.astype(np.float32),
        uv_faces=uv_faces.astype(np.int32),
        weld=weld.astype(np.int32),
        neighbors=neighbors.astype(np.int32),
        edges=edges.astype(np.int32),
        edge_faces=edge_faces.astype(np.int32),
        component=component.astype(np.int32),
        num_components=num_components,
    )


def _checked_indices(name: str, faces: np.ndarray, count: int, what: str) -> np.ndarray:
    faces = np.asarray(faces)
    if faces.ndim != 2 or faces.shape[1] != 3 or not np.issubdtype(faces.dtype, np.integer):
        raise ValueError(
            f"{name} must be an integer array [F, 3], got {faces.dtype} {list(faces.shape)}"
        )
    if faces.size and not (0 <= faces.min() and faces.max() < count):
        raise ValueError(
            f"{name} must index the {count} {what}, got values from {faces.min()} to {faces.max()}"
        )
    return faces


def _check_weld(weld: np.ndarray, num_vertices: int) -> None:
    if not np.issubdtype(weld.dtype, np.integer):
        raise ValueError(f"weld must be an integer array [V], got {weld.dtype}")
    if weld.size and not (0 <= weld.min() and weld.max() < num_vertices):
        raise ValueError(
            f"weld must index the {num_vertices} vertices, "
            f"got values from {weld.min()} to {weld.max()}"
        )
    astray = np.flatnonzero(weld[weld] != weld)
    if astray.size:
        raise ValueError(
            "weld must name vertices that stand for themselves, "
            f"got {weld[astray[0]]} for vertex {astray[0]}"
        )


def _adjacency(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neighbours [F, 3], edges [E, 2] and their faces [E, 2] of welded faces."""
    ends = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    edges, edge_of, counts = np.unique(ends, axis=0, return_inverse=True, return_counts=True)
    edge_of = edge_of.reshape(-1)
    order = np.argsort(edge_of, kind="stable")
    first = np.cumsum(counts) - counts
    paired = np.flatnonzero(counts == 2)
    one, two = order[first[paired]], order[first[paired] + 1]
    opposite = np.full(len(ends), -1)
    opposite[one], opposite[two] = two // 3, one // 3
    edge_faces = np.full((len(edges), 2), -1)
    edge_faces[:, 0] = order[first] // 3
    edge_faces[paired, 1] = two // 3
    proper = edges[:, 0] != edges[:, 1]
    return opposite.reshape(-1, 3), edges[proper], edge_faces[proper]


def _components(faces: np.ndarray, num_vertices: int) -> tuple[np.ndarray, int]:
    """Connected part of each welded face, and how many there are."""
    links = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2).T
    graph = coo_array((np.ones(links.shape[1]), links), shape=(num_vertices, num_vertices))
    _, of_vertex = connected_components(graph, directed=False)
    # Vertices without a face are parts of their own and do not count.
    parts, component = np.unique(of_vertex[faces[:, 0]], return_inverse=True)
    return component.reshape(-1), len(parts)


def with_vertex_uvs(topology: Topology) -> tuple[Topology, Int[np.ndarray, "N"]]:
    """The same mesh with one UV per vertex, as glTF wants: a vertex once for each UV that it has.

    The copies of a vertex are welded. A topology that is so already comes back as it is.

    Returns:
      (topology with uv_faces = faces, index of the old vertex behind each new one).

    >>> from gan3d.render import cube
    >>> vertices, topology = cube()
    >>> split, source = with_vertex_uvs(topology)
    >>> print(len(vertices), len(vertices[source]), split.num_uvs)
    8 24 24
    """
    faces, uv_faces = np.asarray(topology.faces), np.asarray(topology.uv_faces)
    if topology.num_uvs == topology.num_vertices and (faces == uv_faces).all():
        return topology, np.arange(topology.num_vertices)
    corners = np.stack([faces, uv_faces], axis=-1).reshape(-1, 2)
    pairs, corner_of = np.unique(corners, axis=0, return_inverse=True)
    source, uv_of = pairs.T
    stands_for = np.asarray(topology.weld)[source]
    _, first, group = np.unique(stands_for, return_index=True, return_inverse=True)
    uvs = np.asarray(topology.uvs)[uv_of]
    return make_topology(corner_of.reshape(-1, 3), uvs, first[group]), source
