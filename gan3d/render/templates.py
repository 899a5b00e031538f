"""Template meshes: (vertices, topology) with texture coordinates, unit size, front at -z.

All are float32 numpy in the world's frame (x right, y down, z forward), centred on the origin.
Seen from outside, u runs to the right and v down the picture: no texture is mirrored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from gan3d.render.topology import Topology, make_topology

if TYPE_CHECKING:
    from jaxtyping import Array, Float

CHARTS = ("octahedral", "azimuthal")


def octahedral_direction(uv: Float[Array, "... 2"]) -> Float[Array, "... 3"]:
    """Unit direction of a point of the octahedral chart.

    The square's centre is the front pole (-z), its inner diamond the front hemisphere, its four
    corners the back pole; u runs with x and v with y. Source: Praun & Hoppe 2003, "Spherical
    parametrization and remeshing".

    Args:
      uv: chart coordinates in [0, 1]; numpy or jax.

    >>> print(octahedral_direction(np.array([[0.5, 0.5], [1.0, 0.5], [0.0, 0.0]])) + 0.0)
    [[ 0.  0. -1.]
     [ 1.  0.  0.]
     [ 0.  0.  1.]]
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


def icosphere(subdivisions: int = 3) -> tuple[np.ndarray, Topology]:
    """The unit sphere from an icosahedron whose faces are split into four, again and again.

    20 * 4^subdivisions faces of nearly equal size, 10 * 4^subdivisions + 2 vertices. The texture
    is the icosahedron's net: four rows of triangles' corners, upwards and downwards in turn.

    Args:
      subdivisions: how often; at least 0.

    Returns:
      ([V, 3] float32 vertices, topology); poles at -y and +y.

    Raises:
      ValueError: if subdivisions is negative.

    >>> vertices, topology = icosphere(1)
    >>> print(vertices.shape, topology.num_faces, topology.num_uvs)
    (42, 3) 80 63
    """
    if subdivisions < 0:
        raise ValueError(f"subdivisions must be at least 0, got {subdivisions}")
    vertices, faces, uvs, uv_faces = _icosahedron()
    for _ in range(subdivisions):
        vertices, faces = _split_faces(vertices, faces)
        vertices = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
        uvs, uv_faces = _split_faces(uvs, uv_faces)
    topology = make_topology(faces, uvs, num_vertices=len(vertices), uv_faces=uv_faces)
    return vertices.astype(np.float32), topology


def _icosahedron() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, faces, UVs and UV faces: top, a ring of five, a ring of five, bottom."""
    k = np.arange(5)
    # A corner of the lower ring looks to the front.
    angle = 2 * np.pi * np.concatenate([k - 2.5, k - 2]) / 5
    height = np.repeat([-1, 1], 5)
    ring = np.stack([2 * np.sin(angle), height, -2 * np.cos(angle)], axis=1) / np.sqrt(5)
    vertices = np.concatenate([[[0, -1, 0]], ring, [[0, 1, 0]]])
    upper, lower, after = 1 + k, 6 + k, (k + 1) % 5
    faces = _net_faces(0 * k, upper, upper[after], lower, lower[after], 0 * k + 11)
    # The net is 5.5 triangles wide, each row half a triangle to the right of the one above.
    rows = [(k + 0.5, 0), (np.arange(6), 1), (np.arange(6) + 0.5, 2), (k + 1, 3)]
    uvs = [np.stack([x / 5.5, np.full(len(x), row / 3)], axis=1) for x, row in rows]
    uv_faces = _net_faces(k, 5 + k, 6 + k, 11 + k, 12 + k, 17 + k)
    return vertices, faces, np.concatenate(uvs), uv_faces


def _net_faces(top, upper, upper_next, lower, lower_next, bottom) -> np.ndarray:
    """The four triangles of each of the net's five columns."""
    columns = [
        (top, upper, upper_next),
        (upper, lower, upper_next),
        (upper_next, lower, lower_next),
        (lower, bottom, lower_next),
    ]
    return np.concatenate([np.stack(corners, axis=1) for corners in columns])


def _split_faces(points: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Puts a point on the middle of every edge and makes four faces of each."""
    ends = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    edges, edge_of = np.unique(ends, axis=0, return_inverse=True)
    (a, b, c), (ab, bc, ca) = faces.T, len(points) + edge_of.reshape(-1, 3).T
    corners = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    faces = np.concatenate([np.stack(face, axis=1) for face in corners])
    return np.concatenate([points, points[edges].mean(axis=1)]), faces


def uv_sphere(bands: int = 16, segments: int = 32) -> tuple[np.ndarray, Topology]:
    """The unit sphere by longitude and latitude; the texture is an equirectangular map.

    With u in [0, 1] around the vertical axis, 0.5 at the front (-z), and v from the upper pole
    (-y) to the lower one: x = sin(2 pi (u - 0.5)) sin(pi v), y = -cos(pi v),
    z = -cos(2 pi (u - 0.5)) sin(pi v). The vertices are closed; only the UVs have a seam.

    Args:
      bands: from pole to pole, at least 2.
      segments: around, at least 3.

    Returns:
      ([(bands - 1) segments + 2, 3] float32 vertices, topology of 2 (bands - 1) segments faces).

    Raises:
      ValueError: if there are too few bands or segments.

    >>> vertices, topology = uv_sphere(4, 8)
    >>> print(vertices.shape, topology.num_faces, bool((topology.neighbors < 0).any()))
    (26, 3) 48 False
    """
    for name, value, least in (("bands", bands, 2), ("segments", segments, 3)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    v, u = np.arange(1, bands) / bands, np.arange(segments + 1) / segments
    grid = np.stack(np.meshgrid(u, v), axis=-1)
    azimuth, polar = 2 * np.pi * (grid[:, :-1, 0] - 0.5), np.pi * grid[:, :-1, 1]
    x, y, z = np.sin(azimuth) * np.sin(polar), -np.cos(polar), -np.cos(azimuth) * np.sin(polar)
    ring = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    vertices = np.concatenate([[[0, -1, 0]], ring, [[0, 1, 0]]])
    index = 1 + np.arange(len(ring)).reshape(-1, segments)
    pole = np.zeros(segments, int)
    faces = _band_faces(pole, np.c_[index, index[:, :1]], pole + len(vertices) - 1)
    # Each triangle at a pole has the pole's UV in its own middle.
    poles = np.stack(np.meshgrid(u[:-1] + 0.5 / segments, [0, 1]), axis=-1)
    uvs = np.concatenate([grid.reshape(-1, 2), poles.reshape(-1, 2)])
    index = np.arange(grid[..., 0].size).reshape(-1, segments + 1)
    pole = index.size + np.arange(segments)
    uv_faces = _band_faces(pole, index, pole + segments)
    topology = make_topology(faces, uvs, num_vertices=len(vertices), uv_faces=uv_faces)
    return vertices.astype(np.float32), topology


def _band_faces(top: np.ndarray, grid: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Faces between the rows of a grid of indices, and fans at a pole before and after it."""
    a, b, c, d = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
    triangles = [
        (top, grid[0, :-1], grid[0, 1:]),
        (a.reshape(-1), b.reshape(-1), c.reshape(-1)),
        (a.reshape(-1), c.reshape(-1), d.reshape(-1)),
        (grid[-1, :-1], bottom, grid[-1, 1:]),
    ]
    return np.concatenate([np.stack(corners, axis=1) for corners in triangles])


def sheet(rows: int = 1, columns: int = 1) -> tuple[np.ndarray, Topology]:
    """The square [-1, 1]^2 at z = 0 that shows its front to -z; the whole texture fills it.

    Args:
      rows: cells from top to bottom, two faces each; at least 1.
      columns: cells from left to right, at least 1.

    Returns:
      ([(rows + 1) (columns + 1), 3] float32 vertices, row-major, and the topology).

    Raises:
      ValueError: if there are no rows or no columns.

    >>> vertices, topology = sheet(2, 3)
    >>> print(vertices.shape, topology.num_faces)
    (12, 3) 12
    """
    for name, value in (("rows", rows), ("columns", columns)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    v, u = np.meshgrid(np.linspace(0, 1, rows + 1), np.linspace(0, 1, columns + 1), indexing="ij")
    uvs = np.stack([u, v], axis=-1).reshape(-1, 2)
    vertices = np.concatenate([2 * uvs - 1, np.zeros((len(uvs), 1))], axis=1)
    index = np.arange(len(uvs)).reshape(rows + 1, columns + 1)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    faces = np.stack([a, b, c, a, c, d], axis=-1).reshape(-1, 3)
    return vertices.astype(np.float32), make_topology(faces, uvs)


# Of each side of the cube, seen from outside: what is to the right, what is down. Left to right
# and top to bottom in the texture: front, right, back; left, top, bottom.
_CUBE_SIDES = (
    ((1, 0, 0), (0, 1, 0)),
    ((0, 0, 1), (0, 1, 0)),
    ((-1, 0, 0), (0, 1, 0)),
    ((0, 0, -1), (0, 1, 0)),
    ((1, 0, 0), (0, 0, -1)),
    ((1, 0, 0), (0, 0, 1)),
)


def cube() -> tuple[np.ndarray, Topology]:
    """The cube [-1, 1]^3: 8 vertices, 12 faces, and a part of the texture for each side.

    The texture is cut into 2 rows of 3: front (-z), right (+x), back (+z); left (-x), top (-y),
    bottom (+y). Sides are upright in it; top and bottom are as unfolded from the front side.

    Returns:
      ([8, 3] float32 vertices, the topology with 24 UVs).

    >>> vertices, topology = cube()
    >>> print(vertices.shape, topology.num_faces, topology.num_uvs)
    (8, 3) 12 24
    """
    faces, uvs, uv_faces = [], [], []
    for side, (right, down) in enumerate(_CUBE_SIDES):
        outward = -np.cross(right, down)
        cell = np.array([side % 3, side // 3])
        first = len(uvs)
        corner = []
        for x, y in ((-1, -1), (-1, 1), (1, 1), (1, -1)):
            positive = outward + x * np.array(right) + y * np.array(down) > 0
            corner.append(int(positive @ [1, 2, 4]))
            uvs.append((cell + (np.array([x, y]) + 1) / 2) / [3, 2])
        for triangle in ([0, 1, 2], [0, 2, 3]):
            faces.append([corner[k] for k in triangle])
            uv_faces.append([first + k for k in triangle])
    bits = np.arange(8)[:, None] >> np.arange(3) & 1
    topology = make_topology(np.array(faces), np.array(uvs), uv_faces=np.array(uv_faces))
    return (2.0 * bits - 1).astype(np.float32), topology
