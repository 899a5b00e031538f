"""Triangle meshes: connectivity, the two sphere charts, normals."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse import coo_array  # jax itself depends on scipy
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

CHARTS = ("octahedral", "azimuthal")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Topology:
    """What stays fixed while a mesh deforms: connectivity and texture coordinates.

    Vertices that share a position but not a UV coordinate (a texture seam) are *welded*: they
    count as one vertex for edges, so a closed seam is no silhouette.

    Attributes:
      faces: vertex indices, counter-clockwise seen from outside: (b - a) x (c - a) points outwards.
      uvs: texture coordinates of the vertices in [0, 1], v down.
      weld: index of the vertex that stands for each vertex.
      neighbors: face across edge k (corner k to corner k + 1), -1 where there is none.
      edges: welded vertex indices of every edge once.
      edge_faces: the two faces of every edge, -1 where there is none.
      component: of each face, which connected part of the mesh it belongs to, from 0.
      num_components: connected parts; known to the compiler.
    """

    faces: Int[Array, "F 3"]
    uvs: Float[Array, "V 2"]
    weld: Int[Array, "V"]
    neighbors: Int[Array, "F 3"]
    edges: Int[Array, "E 2"]
    edge_faces: Int[Array, "E 2"]
    component: Int[Array, "F"]
    num_components: int = dataclasses.field(metadata=dict(static=True))

    @property
    def num_vertices(self) -> int:
        return self.weld.shape[-1]

    @property
    def num_faces(self) -> int:
        return self.faces.shape[-2]


def make_topology(
    faces: np.ndarray,
    uvs: np.ndarray | None = None,
    weld: np.ndarray | None = None,
    num_vertices: int | None = None,
) -> Topology:
    """Derives adjacency from a list of faces.

    Two faces are neighbours if exactly these two share an edge; an edge of one face, or of three
    and more, has no neighbours and counts as a border.

    Args:
      faces: [F, 3] integer vertex indices.
      uvs: [V, 2] texture coordinates. None: zeros.
      weld: [V] index of the vertex that stands for each vertex. None: nothing is welded.
      num_vertices: V. None: taken from uvs, weld, or the largest index.

    Raises:
      ValueError: if faces is not [F, 3] integers or an index is out of range.
    """
    faces = np.asarray(faces)
    if faces.ndim != 2 or faces.shape[1] != 3 or not np.issubdtype(faces.dtype, np.integer):
        raise ValueError(
            f"faces must be an integer array [F, 3], got {faces.dtype} {list(faces.shape)}"
        )
    known = [len(a) for a in (uvs, weld) if a is not None]
    if num_vertices is None:
        num_vertices = known[0] if known else int(faces.max(initial=-1)) + 1
    if faces.size and not (0 <= faces.min() and faces.max() < num_vertices):
        raise ValueError(
            f"faces must index the {num_vertices} vertices, got values from "
            f"{faces.min()} to {faces.max()}"
        )
    uvs = np.zeros((num_vertices, 2)) if uvs is None else np.asarray(uvs)
    weld = np.arange(num_vertices) if weld is None else np.asarray(weld)
    for name, array, shape in (("uvs", uvs, (num_vertices, 2)), ("weld", weld, (num_vertices,))):
        if array.shape != shape:
            raise ValueError(f"{name} must have shape {list(shape)}, got {list(array.shape)}")
    neighbors, edges, edge_faces = _adjacency(weld[faces])
    component, num_components = _components(weld[faces], num_vertices)
    return Topology(
        faces=faces.astype(np.int32),
        uvs=uvs.astype(np.float32),
        weld=weld.astype(np.int32),
        neighbors=neighbors.astype(np.int32),
        edges=edges.astype(np.int32),
        edge_faces=edge_faces.astype(np.int32),
        component=component.astype(np.int32),
        num_components=num_components,
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


def octahedral_direction(uv: Float[Array, "... 2"]) -> Float[Array, "... 3"]:
    """Unit direction of a point of the octahedral chart.

    The square's centre is the front pole (-z), its inner diamond the front hemisphere, its four
    corners the back pole; u runs with x and v with y. Source: Praun & Hoppe 2003, "Spherical
    parametrization and remeshing".

    Args:
      uv: chart coordinates in [0, 1]; numpy or jax.
    """
    xp = np if isinstance(uv, np.ndarray) else jnp
    a, b = 2 * uv[..., 0] - 1, 2 * uv[..., 1] - 1
    height = xp.abs(a) + xp.abs(b) - 1
    x = xp.where(height <= 0, a, xp.sign(a) * (1 - xp.abs(b)))
    y = xp.where(height <= 0, b, xp.sign(b) * (1 - xp.abs(a)))
    direction = xp.stack([x, y, height], axis=-1)
    return direction / xp.sqrt((direction**2).sum(-1, keepdims=True))


def _azimuthal_chart(grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """UV disc and directions of square grid points in [-1, 1]: the rim is the back pole."""
    radius = np.abs(grid).max(-1)
    angle = np.arctan2(grid[..., 1], grid[..., 0])
    around = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    polar = np.pi * radius[..., None]
    direction = np.concatenate([np.sin(polar) * around, -np.cos(polar)], axis=-1)
    return 0.5 + 0.5 * radius[..., None] * around, direction


def sphere_mesh(n: int, chart: str = "octahedral") -> tuple[np.ndarray, Topology]:
    """The unit sphere as an n x n grid of vertices, 2 (n - 1)^2 faces, front pole at -z.

    Args:
      n: vertices along a side of the grid; odd, at least 3.
      chart: "octahedral" (UV = the grid itself; watertight for any surface map, because every
        border of the square folds onto itself) or "azimuthal" (UV = a disc whose rim is the back
        pole; the rim is a slit that opens as soon as its points move apart).

    Returns:
      ([n * n, 3] float32 vertices, row-major over the grid, and the topology).

    Raises:
      ValueError: if n is even or below 3, or the chart is unknown.

    >>> vertices, topology = sphere_mesh(5)
    >>> print(vertices.shape, topology.num_faces, bool((topology.neighbors < 0).any()))
    (25, 3) 32 False
    """
    if n < 3 or n % 2 == 0:
        raise ValueError(f"n must be odd and at least 3, got {n}")
    if chart not in CHARTS:
        raise ValueError(f"chart must be one of {', '.join(CHARTS)}, got {chart!r}")
    v, u = np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, n), indexing="ij")
    square = np.stack([u, v], axis=-1).reshape(-1, 2)
    if chart == "octahedral":
        uvs, vertices, weld = square, octahedral_direction(square), _octahedral_weld(n)
    else:
        uvs, vertices = _azimuthal_chart(2 * square - 1)
        weld = None
    faces = _grid_faces(n, fold_across_corners=chart == "octahedral")
    return vertices.astype(np.float32), make_topology(faces, uvs, weld)


def _octahedral_weld(n: int) -> np.ndarray:
    """Identifies each border vertex with its mirror image about the border's midpoint."""
    index = np.arange(n * n).reshape(n, n)
    weld = index.copy()
    for border in ((slice(None), 0), (slice(None), -1), (0, slice(None)), (-1, slice(None))):
        weld[border] = np.minimum(index[border], index[border][::-1])
    weld[[0, 0, -1, -1], [0, -1, 0, -1]] = 0
    return weld.reshape(-1)


def _grid_faces(n: int, fold_across_corners: bool) -> np.ndarray:
    """Two faces per grid cell; diagonals lie along the chart's creases, never across them."""
    row, col = np.meshgrid(np.arange(n - 1), np.arange(n - 1), indexing="ij")
    corner = (row * n + col).reshape(-1)
    a, b, c, d = corner, corner + n, corner + n + 1, corner + 1
    same_sign = ((row < n // 2) == (col < n // 2)).reshape(-1)
    anti = same_sign == fold_across_corners
    first = np.where(anti[:, None], np.stack([a, b, d], 1), np.stack([a, b, c], 1))
    second = np.where(anti[:, None], np.stack([b, c, d], 1), np.stack([a, c, d], 1))
    return np.stack([first, second], axis=1).reshape(-1, 3)


def face_normals(vertices: Float[Array, "V 3"], topology: Topology) -> Float[Array, "F 3"]:
    """Outward face normals whose length is twice the face's area (not normalised)."""
    a, b, c = (vertices[topology.faces[:, k]] for k in range(3))
    return jnp.cross(b - a, c - a)


def vertex_normals(vertices: Float[Array, "V 3"], topology: Topology) -> Float[Array, "V 3"]:
    """Unit outward normals: the area-weighted mean over the faces at each welded vertex.

    A vertex without area around it gets the zero vector.
    """
    normals = face_normals(vertices, topology)
    corners = topology.weld[topology.faces]
    total = jnp.zeros_like(vertices)
    for k in range(3):
        total = total.at[corners[:, k]].add(normals)
    total = total[topology.weld]
    square = (total**2).sum(-1, keepdims=True)
    return total * jnp.where(square > 0, jax.lax.rsqrt(jnp.where(square > 0, square, 1)), 0)
