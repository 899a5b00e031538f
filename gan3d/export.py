"""Textured meshes as GLB and OBJ files, by trimesh (`pip install 'gan3d[export]'`).

Files are y-up right-handed, as glTF demands and most OBJ readers expect: the world of gan3d (x
right, y down, z forward) turned by 180 degrees about x, so that a face looks along +z.
Vertices on the seam of the UV chart stay doubled, because each copy has its own UV; their
positions are equal, so merging by position closes the mesh. Khronos's glTF validator has nothing to
say about the GLB files.
"""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from gan3d.render import Topology, vertex_normals, with_vertex_uvs
from gan3d.visualize import to_uint8

if TYPE_CHECKING:
    import trimesh
    from jaxtyping import Array, Float, UInt8

__all__ = ["MissingTrimeshError", "save_glb", "save_mesh", "save_obj"]


class MissingTrimeshError(ImportError):
    """trimesh, an optional dependency, is not installed."""


Y_UP_FROM_WORLD = np.diag([1.0, -1.0, -1.0])

# glTF enumerants (OpenGL's): the chart's opposite borders are no neighbours, so never wrap around.
_CLAMPED_BILINEAR_SAMPLER = {"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}
_VERTEX_VIEW, _INDEX_VIEW = 34962, 34963
_BYTES_PER_VERTEX = {"VEC2": 8, "VEC3": 12}


def save_mesh(
    path: str | os.PathLike[str],
    vertices: Float[Array, "V 3"],
    topology: Topology,
    texture: Float[Array, "T T 3"] | UInt8[Array, "T T 3"],
) -> list[pathlib.Path]:
    """Writes a GLB file, or an OBJ file and its companions, as the suffix of the path says.

    Arguments and errors are those of `save_glb`.

    Returns:
      The paths written, the mesh first.

    Raises:
      ValueError: also if the suffix is neither .glb nor .obj.

    >>> from gan3d.render import cube
    >>> paths = save_mesh(folder / "cube.glb", *cube(), np.zeros((4, 6, 3)))
    >>> print([path.name for path in paths])
    ['cube.glb']
    """
    path = pathlib.Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".glb", ".obj"):
        raise ValueError(f"path must end in .glb or .obj, got {str(path)!r}")
    if suffix == ".obj":
        return save_obj(path, vertices, topology, texture)
    save_glb(path, vertices, topology, texture)
    return [path]


def save_glb(
    path: str | os.PathLike[str],
    vertices: Float[Array, "V 3"],
    topology: Topology,
    texture: Float[Array, "T T 3"] | UInt8[Array, "T T 3"],
) -> None:
    """Writes one binary glTF file with the texture inside.

    Args:
      path: of the file; its folder is made if missing.
      vertices: world units, gan3d's axes.
      topology: faces and UVs; a vertex with several UVs is written once for each.
      texture: uint8, or floats in [-1, 1].

    Raises:
      MissingTrimeshError: if trimesh is not installed.
      ValueError: if vertices or texture have the wrong shape or are not finite.

    >>> from gan3d.render import cube
    >>> try:
    ...     save_glb(folder / "cube.glb", *cube(), np.zeros((4, 6, 3)))
    ... except MissingTrimeshError as error:
    ...     print(error)  # says what to install
    >>> print((folder / "cube.glb").read_bytes()[:4])
    b'glTF'
    """
    path = pathlib.Path(path)
    trimesh = _import_trimesh()
    material = trimesh.visual.material.PBRMaterial(
        name=path.stem,
        baseColorTexture=_texture_image(texture),
        metallicFactor=0.0,
        roughnessFactor=1.0,
    )
    mesh = _textured_mesh(vertices, topology, material)

    from trimesh.exchange.gltf import export_glb

    scene = trimesh.Scene({path.stem: mesh})
    _write(path, export_glb(scene, include_normals=True, tree_postprocessor=_complete))


def _complete(tree: dict[str, Any]) -> None:
    """Adds what trimesh leaves out: how to sample textures, and what each part of the data is."""
    tree["samplers"] = [_CLAMPED_BILINEAR_SAMPLER]
    for entry in tree["textures"]:
        entry["sampler"] = 0
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            indices = tree["accessors"][primitive["indices"]]
            tree["bufferViews"][indices["bufferView"]]["target"] = _INDEX_VIEW
            for index in primitive["attributes"].values():
                accessor = tree["accessors"][index]
                # trimesh stores equal arrays once, and a shared view needs a stride.
                tree["bufferViews"][accessor["bufferView"]].update(
                    target=_VERTEX_VIEW, byteStride=_BYTES_PER_VERTEX[accessor["type"]]
                )


def save_obj(
    path: str | os.PathLike[str],
    vertices: Float[Array, "V 3"],
    topology: Topology,
    texture: Float[Array, "T T 3"] | UInt8[Array, "T T 3"],
) -> list[pathlib.Path]:
    """Writes an OBJ file and, beside it, its MTL and PNG under the same stem.

    Arguments and errors are those of `save_glb`.

    Returns:
      The paths written, the OBJ first.

    >>> from gan3d.render import cube
    >>> paths = save_obj(folder / "cube.obj", *cube(), np.zeros((4, 6, 3)))
    >>> print(sorted(path.name for path in paths))
    ['cube.mtl', 'cube.obj', 'cube.png']
    """
    path = pathlib.Path(path)
    material = _import_trimesh().visual.material.SimpleMaterial(
        name=path.stem,
        image=_texture_image(texture),
        diffuse=[255, 255, 255, 255],  # white: readers multiply the texture by it
        ambient=[255, 255, 255, 255],
        specular=[0, 0, 0, 255],
    )
    mesh = _textured_mesh(vertices, topology, material)
    from trimesh.exchange.obj import export_obj

    text, companions = export_obj(
        mesh,
        include_normals=True,
        return_texture=True,
        write_texture=False,
        mtl_name=f"{path.stem}.mtl",
        header="gan3d",
    )
    material_name = f"{path.stem}.mtl"
    # Some readers drop a last line that has no end.
    companions[material_name] = companions[material_name].rstrip() + b"\n"
    written = [path, *(path.with_name(name) for name in companions)]
    for file, data in zip(written, [text.encode(), *companions.values()], strict=True):
        _write(file, data)
    return written


def _textured_mesh(vertices: Any, topology: Topology, material: Any) -> trimesh.Trimesh:
    trimesh = _import_trimesh()
    vertices = np.asarray(vertices)
    if vertices.shape != (topology.num_vertices, 3):
        raise ValueError(
            f"vertices must have shape ({topology.num_vertices}, 3) as the topology; "
            f"got {vertices.shape}."
        )
    if not np.isfinite(vertices).all():
        raise ValueError("vertices must be finite; some are nan or infinite.")
    normals = _unit_normals(vertices, topology)
    # The files have one UV per vertex.
    topology, source = with_vertex_uvs(topology)
    vertices, normals = vertices[source], normals[source]
    # trimesh wants v up, as OBJ, and turns it back for glTF; ours runs down, as glTF.
    uvs = np.asarray(topology.uvs) * [1.0, -1.0] + [0.0, 1.0]
    return trimesh.Trimesh(
        vertices=vertices @ Y_UP_FROM_WORLD.T,
        faces=np.asarray(topology.faces),
        vertex_normals=normals @ Y_UP_FROM_WORLD.T,
        visual=trimesh.visual.TextureVisuals(uv=uvs, material=material),
        process=False,
    )


def _unit_normals(vertices: np.ndarray, topology: Topology) -> np.ndarray:
    """Of the vertices; glTF forbids zeros, so where all faces have no extent it is outwards."""
    normals = np.asarray(vertex_normals(vertices, topology), np.float64)
    outwards = vertices - vertices.mean(axis=0)
    for fallback in (outwards, np.broadcast_to([0.0, 0.0, -1.0], normals.shape)):
        missing = np.linalg.norm(normals, axis=1) < 0.5
        normals = np.where(missing[:, None], fallback, normals)
        normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    return normals


def _texture_image(texture: Any) -> Image.Image:
    texture = np.asarray(texture)
    if texture.ndim != 3 or texture.shape[-1] != 3:
        raise ValueError(f"texture must have shape [T, T, 3]; got {texture.shape}.")
    if not np.isfinite(texture).all():
        raise ValueError("texture must be finite; some texels are nan or infinite.")
    return Image.fromarray(texture if texture.dtype == np.uint8 else to_uint8(texture))


def _import_trimesh() -> Any:
    try:
        import trimesh
    except ImportError as error:
        raise MissingTrimeshError(
            "writing meshes needs trimesh: pip install 'gan3d[export]'"
        ) from error
    return trimesh


def _write(path: pathlib.Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
