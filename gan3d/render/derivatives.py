"""How barycentrics and texture coordinates change from pixel to pixel.

Faces are flat, so these have closed forms: no differences between neighbouring pixels, which
would mix faces, and nothing to go wrong at silhouettes or texture seams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

from gan3d.render.indexing import take

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from gan3d.render.fragments import Fragments
    from gan3d.render.topology import Topology

# Faces whose screen area is out of these bounds (pixels^2, twice) get zero derivatives; inside
# them squares stay within float32.
_MIN_DOUBLE_AREA, _MAX_DOUBLE_AREA = 1e-15, 1e30


def screen_derivatives(
    fragments: Fragments,
    points: Float[Array, "V 3"],
    topology: Topology,
    *,
    orthographic: bool = False,
) -> Float[Array, "L H W 3 2"]:
    """d(barycentric k) / d(x, y) at [..., k, :], per pixel, on the plane of each fragment's face.

    With P_k = (x_k z_k, y_k z_k, z_k) the homogeneous corners, relative to the pixel in x and y,
    the weight of corner k at (x, y) is e_k = (x, y, 1) . (P_i x P_j), i = k + 1, j = k + 2, and
        b_k = e_k / sum_j e_j,    db_k = (de_k - b_k sum_j de_j) / sum_j e_j,
    which is b_k = (E_k / z_k) / sum_j (E_j / z_j) of the rasterizer times z_0 z_1 z_2, and holds
    for faces that reach behind the camera too. Source: Olano & Greer 1997, "Triangle scan
    conversion using 2D homogeneous coordinates".

    Args:
      fragments: from `rasterize`. In a margin the derivative is taken at the fragment's point on
        the silhouette edge.
      points: the screen points that were rasterized, x and y in pixels, camera depth z.
      topology: the mesh that was rasterized.
      orthographic: as given to `rasterize`: barycentrics are linear on the screen.

    Returns:
      Derivatives per pixel of screen distance; zero where a layer is empty. Differentiable in
      points and in the fragments' barycentrics.

    Raises:
      ValueError: if points are not [V, 3] of this topology.

    >>> from gan3d.render import Fragments, make_topology
    >>> topology = make_topology(jnp.array([[0, 1, 2]]))
    >>> points = jnp.array([[0.0, 0.0, 1.0], [0.0, 4.0, 1.0], [4.0, 0.0, 1.0]])
    >>> one = jnp.ones((1, 1, 1))
    >>> barycentric = jnp.array([0.75, 0.125, 0.125]).reshape(1, 1, 1, 3)
    >>> fragments = Fragments(jnp.zeros((1, 1, 1), int), barycentric, one, one)
    >>> print(screen_derivatives(fragments, points, topology)[0, 0, 0] + 0.0)
    [[-0.25 -0.25]
     [ 0.    0.25]
     [ 0.25  0.  ]]
    """
    if points.ndim != 2 or points.shape != (topology.num_vertices, 3):
        raise ValueError(
            f"points must have shape [{topology.num_vertices}, 3], got {list(points.shape)}"
        )
    if topology.num_faces == 0:
        return jnp.zeros((*fragments.face.shape, 3, 2), points.dtype)
    b = [fragments.barycentric[..., k] for k in range(3)]
    points = jnp.asarray(points)
    columns = _barycentric_changes(
        points, jnp.asarray(topology.faces), fragments.face, b,
        _centres(fragments, points.dtype), orthographic,
    )  # fmt: skip
    values = [columns[j][k] for k in range(3) for j in range(2)]
    return jnp.stack(values, axis=-1).reshape(*fragments.face.shape, 3, 2)


def uv_derivatives(
    fragments: Fragments,
    points: Float[Array, "V 3"],
    topology: Topology,
    *,
    orthographic: bool = False,
) -> Float[Array, "L H W 2 2"]:
    """d uv[i] / d (x, y)[j] at [..., i, j] per pixel: the `derivatives` of `sample_texture`.

    Args:
      fragments, points, topology, orthographic: as for `screen_derivatives`.

    Returns:
      Change of the texture coordinates per pixel of screen distance; zero where a layer is empty.
      Differentiable in points and in the fragments' barycentrics.

    Raises:
      ValueError: if points are not [V, 3] of this topology.

    >>> vertices, topology = sphere_mesh(5)
    >>> @jax.jit
    ... def derivatives(vertices):
    ...     points = project(0.5 * vertices, orbit_camera(0.0), (8, 8))
    ...     return uv_derivatives(rasterize(points, topology, (8, 8)), points, topology)
    >>> change = derivatives(vertices)
    >>> print(change.shape, bool(change[-1, 4, 4, 0, 0] > 0))  # u runs with x at the front
    (2, 8, 8, 2, 2) True
    """
    if topology.num_faces == 0:
        return jnp.zeros((*fragments.face.shape, 2, 2), points.dtype)
    points, uv_faces = jnp.asarray(points), jnp.asarray(topology.uv_faces)
    uvs = jnp.asarray(topology.uvs).astype(points.dtype)
    found = jnp.maximum(fragments.face, 0)
    vertex = [take(uv_faces[:, k], found) for k in range(3)]
    corners = [[take(uvs[:, i], index) for index in vertex] for i in range(2)]
    b = [fragments.barycentric[..., k] for k in range(3)]
    rows = uv_changes(
        points, jnp.asarray(topology.faces), corners, fragments.face, b,
        _centres(fragments, points.dtype), orthographic,
    )  # fmt: skip
    values = [rows[i][j] for i in range(2) for j in range(2)]
    return jnp.stack(values, axis=-1).reshape(*fragments.face.shape, 2, 2)


def uv_changes(points, faces, corners, face, barycentric, centres, orthographic):
    """d uv[i] / d xy[j] at [i][j] at some pixels, any shape.

    Args:
      points: screen points.
      faces: their indices.
      corners: texture coordinate i of corner k of each pixel's face at [i][k].
      face: that face, -1 for none.
      barycentric: weights of its corners.
      centres: x and y of the pixels.
      orthographic: whether the camera is.
    """
    columns = _barycentric_changes(points, faces, face, barycentric, centres, orthographic)
    return [
        [
            sum(c * change for c, change in zip(corners[i], columns[j], strict=True))
            for j in range(2)
        ]
        for i in range(2)
    ]


def _barycentric_changes(points, faces, face, b, centres, orthographic):
    """d(barycentric k) / d xy[j] at [j][k]; see `screen_derivatives`."""
    x, y, z = _relative_corners(face, points, faces, centres)
    if orthographic:
        z = [jnp.ones_like(depth) for depth in z]
    else:
        # In units of the fragment's own depth, whatever the units of the world.
        depth = sum(weight * corner for weight, corner in zip(b, z, strict=True))
        z = [corner / jnp.where(depth != 0, depth, 1) for corner in z]
        x, y = ([a * corner for a, corner in zip(axis, z, strict=True)] for axis in (x, y))
    turns = ((1, 2), (2, 0), (0, 1))
    by_x = [y[i] * z[j] - z[i] * y[j] for i, j in turns]
    by_y = [z[i] * x[j] - x[i] * z[j] for i, j in turns]
    # sum_j e_j at the fragment, whose depth is 1: the determinant of the corners.
    total = sum(corner * change for corner, change in zip(x, by_x, strict=True))
    return _quotients(face, b, by_x, by_y, total)


def _centres(fragments, dtype):
    """x and y of the centres of an image's pixels, to be broadcast."""
    height, width = fragments.face.shape[-2:]
    return (
        (jnp.arange(width) + 0.5).astype(dtype)[None, None, :],
        (jnp.arange(height) + 0.5).astype(dtype)[None, :, None],
    )


def _relative_corners(face, points, faces, centres):
    """x, y from the pixel's centre and depth z of the face's corners."""
    # Empty pixels point past the end: they read zeros, and write no gradient.
    missing = points.shape[0]
    corner = [
        jnp.where(face >= 0, take(faces[:, k], jnp.maximum(face, 0)), missing) for k in range(3)
    ]
    x, y, z = (
        [points[:, i].at[index].get(mode="fill", fill_value=0) for index in corner]
        for i in range(3)
    )
    return [a - centres[0] for a in x], [a - centres[1] for a in y], z


def _quotients(face, b, by_x, by_y, total):
    """(de_k - b_k sum_j de_j) / sum_j e_j, zero for empty pixels and degenerate faces."""
    size = jnp.abs(total)
    valid = (face >= 0) & (size > _MIN_DOUBLE_AREA) & (size < _MAX_DOUBLE_AREA)
    over = jnp.where(valid, 1 / jnp.where(valid, total, 1), 0)
    return [
        [(one - weight * sum(change)) * over for one, weight in zip(change, b, strict=True)]
        for change in (by_x, by_y)
    ]
