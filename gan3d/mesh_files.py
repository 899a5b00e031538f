"""Reads textured meshes from OBJ, PLY and GLB files, by trimesh (`pip install 'gan3d[export]'`).

The inverse of `gan3d.export`: files are taken as y-up right-handed and turned by 180 degrees about
x into gan3d's world (x right, y down, z forward). Files that keep other axes (many PLY scans) come
out turned: turn them back with a rotation.
"""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from gan3d.export import Y_UP_FROM_WORLD, MissingTrimeshError
from gan3d.render.topology import Topology, make_topology

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["Mesh", "load_mesh"]

_UNTEXTURED = np.full((1, 1, 3), 255, np.uint8)


class Mesh(NamedTuple):
    """What a mesh file holds.

    Attributes:
      vertices: float32, the file's unit, gan3d's axes.
      topology: faces and, with indices of their own, texture coordinates (v down).
      texture: float32 RGB in [-1, 1], row 0 on top; None if no part has a picture.
    """

    vertices: Float[np.ndarray, "V 3"]
    topology: Topology
    texture: Float[np.ndarray, "Th Tw 3"] | None


class _Part(NamedTuple):
    """One mesh of the file: corners of its faces, and its picture or colour as a picture."""

    positions: np.ndarray  # [F, 3, 3]
    uvs: np.ndarray  # [F, 3, 2], v down
    image: np.ndarray  # [H, W, 3] uint8
    textured: bool


def load_mesh(path: str | os.PathLike[str]) -> Mesh:
    """Reads a mesh; a scene of several becomes one mesh.

    Corners at the same position become one vertex: seams of the texture, which most formats store
    as doubled vertices, are closed, and only the UVs keep an index of their own. Faces without
    extent after that are dropped. Pictures of several parts are put side by side into one texture;
    parts without a picture get a patch of their plain colour there. Vertex colours, normals and
    transparency are not read.

    Args:
      path: a file in a format of trimesh's: .obj (with its .mtl and pictures), .ply, .glb, ...

    Returns:
      The mesh. Its texture coordinates are zero where the file has none.

    Raises:
      MissingTrimeshError: if trimesh is not installed.
      FileNotFoundError: if there is no such file.
      ValueError: if the file holds no triangles, or several pictures that are repeated (UVs
        outside of [0, 1]).

    >>> from gan3d.export import save_glb
    >>> from gan3d.render import cube
    >>> save_glb(folder / "cube.glb", *cube(), np.zeros((4, 6, 3)))
    >>> mesh: Mesh = load_mesh(folder / "cube.glb")
    >>> print(mesh.vertices.shape, mesh.topology.num_faces, mesh.texture.shape)
    (8, 3) 12 (4, 6, 3)
    """
    path = pathlib.Path(path)
    trimesh = _import_trimesh()
    if not path.is_file():
        raise FileNotFoundError(f"path must be a mesh file, got {str(path)!r}, which is none")
    try:
        loaded = trimesh.load(path, process=False)
    except Exception as error:  # what a parser raises depends on the format
        raise ValueError(f"path must be a mesh file, got {str(path)!r}: {error}") from error
    stand_in = np.asarray(trimesh.visual.TextureVisuals().material.image)
    parts = [_read_part(*placed, stand_in) for placed in _placed_meshes(loaded, trimesh)]
    parts = [part for part in parts if len(part.positions)]
    if not parts:
        raise ValueError(f"path must be a file with triangles, got {str(path)!r}, which has none")
    texture, parts = _one_texture(parts)
    positions = np.concatenate([part.positions for part in parts]) @ Y_UP_FROM_WORLD
    uvs = np.concatenate([part.uvs for part in parts])
    vertices, faces = _merged(positions.reshape(-1, 3).astype(np.float32))
    extended = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    uvs, uv_faces = _merged(uvs.reshape(-1, 2).astype(np.float32))
    topology = make_topology(
        faces[extended], uvs, num_vertices=len(vertices), uv_faces=uv_faces[extended]
    )
    return Mesh(vertices, topology, texture)


def _placed_meshes(loaded: Any, trimesh: Any) -> list[tuple[Any, np.ndarray]]:
    """Triangle meshes of what was loaded, each with its world_from_mesh transform."""
    if isinstance(loaded, trimesh.Scene):
        nodes = (loaded.graph[name] for name in loaded.graph.nodes_geometry)
        placed = [(loaded.geometry[name], transform) for transform, name in nodes]
    else:
        placed = [(loaded, np.eye(4))]
    return [(mesh, transform) for mesh, transform in placed if isinstance(mesh, trimesh.Trimesh)]


def _read_part(mesh: Any, transform: np.ndarray, stand_in: np.ndarray) -> _Part:
    """One mesh; a picture that equals trimesh's stand-in for a missing one is none."""
    vertices = np.asarray(mesh.vertices) @ transform[:3, :3].T + transform[:3, 3]
    faces = np.asarray(mesh.faces)
    if np.linalg.det(transform[:3, :3]) < 0:
        faces = faces[:, ::-1]  # a mirrored mesh would be inside out
    uv = getattr(mesh.visual, "uv", None)
    # trimesh has v up in memory, whatever the format.
    uvs = np.zeros((len(vertices), 2)) if uv is None else np.asarray(uv) * [1, -1] + [0, 1]
    material = getattr(mesh.visual, "material", None)
    picture = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    pictured = isinstance(picture, Image.Image) and not np.array_equal(picture, stand_in)
    if uv is None or not pictured:
        color = getattr(material, "main_color", None)
        image = _UNTEXTURED if color is None else np.uint8(color)[None, None, :3]
        return _Part(vertices[faces], uvs[faces], image, textured=False)
    return _Part(vertices[faces], uvs[faces], np.asarray(picture.convert("RGB")), textured=True)


def _one_texture(parts: list[_Part]) -> tuple[np.ndarray | None, list[_Part]]:
    """One texture for all parts, in [-1, 1], and the parts with their UVs in it."""
    if not any(part.textured for part in parts):
        return None, parts
    images: list[np.ndarray] = []
    place = []
    for part in parts:
        same = [i for i, image in enumerate(images) if np.array_equal(image, part.image)]
        place.append(same[0] if same else len(images))
        if not same:
            images.append(part.image)
    if len(images) > 1:
        atlas, boxes = _side_by_side(images)
        parts = [_moved(part, boxes[i], atlas.shape) for part, i in zip(parts, place, strict=True)]
    else:
        atlas = images[0]
    return atlas.astype(np.float32) / np.float32(127.5) - 1, parts


def _side_by_side(images: list[np.ndarray]) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """The images in a row, each within a border of its own colours, and (left, height, width)."""
    tallest = max(len(image) for image in images)
    framed, boxes, left = [], [], 0
    for image in images:
        height, width = image.shape[:2]
        # The border keeps bilinear sampling from mixing in the neighbour.
        framed.append(np.pad(image, ((1, 1 + tallest - height), (1, 1), (0, 0)), mode="edge"))
        boxes.append((left + 1, height, width))
        left += width + 2
    return np.concatenate(framed, axis=1), boxes


def _moved(part: _Part, box: tuple[int, int, int], shape: tuple[int, ...]) -> _Part:
    left, height, width = box
    if part.textured and (part.uvs.min() < -1e-3 or part.uvs.max() > 1 + 1e-3):
        raise ValueError(
            "path must not hold several pictures that are repeated: UVs must be in [0, 1], "
            f"got {part.uvs.min():g} to {part.uvs.max():g}"
        )
    uvs = np.clip(part.uvs, 0, 1) if part.textured else np.full_like(part.uvs, 0.5)
    return part._replace(uvs=(uvs * [width, height] + [left, 1]) / [shape[1], shape[0]])


def _merged(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that differ, in the order in which they come up, and indices [F, 3] of the corners."""
    corners = corners + np.float32(0)  # -0 is 0
    rows, first, index = np.unique(corners, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rows[order], rank[index.reshape(-1)].reshape(-1, 3)


def _import_trimesh() -> Any:
    try:
        import trimesh
    except ImportError as error:
        raise MissingTrimeshError(
            "reading meshes needs trimesh: pip install 'gan3d[export]'"
        ) from error
    return trimesh
