from __future__ import annotations

import json
import struct
import sys

import numpy as np
import pytest
import trimesh
from PIL import Image

from gan3d.export import save_glb, save_mesh, save_obj
from gan3d.mesh_files import load_mesh
from gan3d.render import cube, sphere_mesh, vertex_normals

TO_FILE_AXES = np.array([1.0, -1.0, -1.0])


@pytest.fixture(scope="module")
def mesh():
    sphere, topology = sphere_mesh(9)
    return sphere * np.float32([0.5, 0.7, 0.6]) - np.float32([0, 0, 0.05]), topology


@pytest.fixture(scope="module")
def texture():
    return np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def save_and_load(kind, folder, mesh, texture) -> trimesh.Trimesh:
    path = folder / f"head.{kind}"
    {"glb": save_glb, "obj": save_obj}[kind](path, *mesh, texture)
    # Not load(force="mesh"), which drops the normals of the file.
    loaded = trimesh.load(path, process=False, maintain_order=True)
    return loaded if kind == "obj" else loaded.geometry["head"]


def image_of(loaded: trimesh.Trimesh) -> np.ndarray:
    material = loaded.visual.material
    image = getattr(material, "baseColorTexture", None) or material.image
    return np.asarray(image.convert("RGB"))


def glb_json(path) -> dict:
    data = path.read_bytes()
    (length,) = struct.unpack("<I", data[12:16])
    return json.loads(data[20 : 20 + length])


@pytest.mark.parametrize("kind", ["glb", "obj"])
def test_reopened_mesh_is_the_same(kind, tmp_path, mesh, texture):
    vertices, topology = mesh
    loaded = save_and_load(kind, tmp_path, mesh, texture)
    np.testing.assert_allclose(loaded.vertices, vertices * TO_FILE_AXES, atol=1e-6)
    np.testing.assert_array_equal(loaded.faces, topology.faces)
    np.testing.assert_array_equal(image_of(loaded), texture)
    # trimesh's own convention is v up in memory, whatever the file says.
    np.testing.assert_allclose(loaded.visual.uv, topology.uvs * [1, -1] + [0, 1], atol=1e-6)
    normals = np.asarray(vertex_normals(vertices, topology)) * TO_FILE_AXES
    np.testing.assert_allclose(loaded.vertex_normals, normals, atol=1e-4)


@pytest.mark.parametrize("kind", ["glb", "obj"])
def test_merged_by_position_it_is_closed_and_faces_outwards(kind, tmp_path, mesh, texture):
    loaded = save_and_load(kind, tmp_path, mesh, texture)
    closed = trimesh.Trimesh(loaded.vertices, loaded.faces, process=False)
    assert not closed.is_watertight
    closed.merge_vertices()
    assert closed.is_watertight and closed.is_winding_consistent
    assert closed.euler_number == 2
    assert 0.8 < closed.volume / (4 / 3 * np.pi * 0.5 * 0.7 * 0.6) < 1


@pytest.mark.parametrize("kind", ["glb", "obj"])
def test_texture_keeps_its_place_on_the_surface(kind, tmp_path, mesh):
    """Red where the world's up (-y) is and blue at the front must stay up (+y) and front (+z)."""
    vertices, topology = mesh
    texture = np.zeros((9, 9, 3), np.uint8)
    for vertex, (u, v) in zip(vertices, topology.uvs, strict=True):
        texel = texture[min(int(v * 9), 8), min(int(u * 9), 8)]
        texel[0], texel[2] = 255 * (vertex[1] < -0.4), 255 * (vertex[2] < -0.4)
    loaded = save_and_load(kind, tmp_path, mesh, texture)
    image, uv = image_of(loaded), loaded.visual.uv
    rows, columns = (np.clip((x * 9).astype(int), 0, 8) for x in (1 - uv[:, 1], uv[:, 0]))
    colors = image[rows, columns]
    assert loaded.vertices[colors[:, 0] > 127, 1].min() > 0.3
    assert loaded.vertices[colors[:, 2] > 127, 2].min() > 0.3


@pytest.mark.parametrize(("kind", "save"), [("glb", save_glb), ("obj", save_obj)])
def test_a_vertex_with_several_uvs_keeps_them_all(kind, save, tmp_path, texture):
    """A cube has three UVs at each corner: 24 vertices in the file, and 8 when it is read again."""
    vertices, topology = cube()
    save(tmp_path / f"cube.{kind}", vertices, topology, texture)
    in_file = trimesh.load(tmp_path / f"cube.{kind}", process=False, maintain_order=True)
    in_file = in_file if kind == "obj" else in_file.geometry["cube"]
    assert in_file.vertices.shape == (24, 3)
    # Smooth normals do not see the texture's cuts: along the diagonals of the cube's corners.
    outward = in_file.vertices / np.sqrt(3)
    assert (in_file.vertex_normals * outward).sum(axis=1).min() > 0.9
    again, of_file, _ = load_mesh(tmp_path / f"cube.{kind}")
    # Equal UVs of neighbouring sides of the cut are one again: 3 x 4 corners of the layout.
    assert len(again) == 8 and of_file.num_uvs == 12
    np.testing.assert_allclose(again[of_file.faces], vertices[topology.faces], atol=1e-6)
    uvs = topology.uvs[topology.uv_faces]
    np.testing.assert_allclose(of_file.uvs[of_file.uv_faces], uvs, atol=1e-6)


def test_glb_follows_the_gltf_convention(tmp_path, mesh, texture):
    path = tmp_path / "head.glb"
    save_glb(path, *mesh, texture)
    tree = glb_json(path)
    assert tree["samplers"][tree["textures"][0]["sampler"]]["wrapS"] == 33071
    material = tree["materials"][0]["pbrMetallicRoughness"]
    assert material["metallicFactor"] == 0

    accessor = tree["accessors"][tree["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"]]
    view = tree["bufferViews"][accessor["bufferView"]]
    data = path.read_bytes()
    start = data.index(b"BIN\x00") + 4 + view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    uvs = np.frombuffer(data, "<f4", 2 * accessor["count"], start).reshape(-1, 2)
    np.testing.assert_allclose(uvs, mesh[1].uvs, atol=1e-6)


def test_obj_names_its_companions_after_itself(tmp_path, mesh, texture):
    written = save_obj(tmp_path / "new" / "a.obj", *mesh, texture)
    save_obj(tmp_path / "new" / "b.obj", *mesh, 255 - texture)
    assert sorted(path.name for path in written) == ["a.mtl", "a.obj", "a.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "new" / "a.png")), texture)
    assert "mtllib a.mtl" in (tmp_path / "new" / "a.obj").read_text()


def test_float_textures_are_in_minus_one_to_one(tmp_path, mesh, texture):
    loaded = save_and_load("glb", tmp_path, mesh, texture / np.float32(127.5) - 1)
    np.testing.assert_array_equal(image_of(loaded), texture)


def test_the_suffix_decides(tmp_path, mesh, texture):
    assert save_mesh(tmp_path / "a.GLB", *mesh, texture) == [tmp_path / "a.GLB"]
    assert (tmp_path / "a.GLB").read_bytes().startswith(b"glTF")
    written = save_mesh(tmp_path / "b.obj", *mesh, texture)
    assert [path.name for path in written] == ["b.obj", "b.png", "b.mtl"]
    with pytest.raises(ValueError, match=r"path must end in \.glb or \.obj, got '.*c\.stl'"):
        save_mesh(tmp_path / "c.stl", *mesh, texture)


def test_text_files_end_their_last_line(tmp_path, mesh, texture):
    save_obj(tmp_path / "a.obj", *mesh, texture)
    assert all((tmp_path / name).read_text().endswith("\n") for name in ("a.obj", "a.mtl"))


def test_what_is_not_finite_is_refused(tmp_path, mesh, texture):
    vertices, topology = mesh
    holed = np.where(np.arange(len(vertices))[:, None] == 7, np.nan, vertices)
    with pytest.raises(ValueError, match="vertices must be finite"):
        save_glb(tmp_path / "x.glb", holed, topology, texture)
    with pytest.raises(ValueError, match="texture must be finite"):
        save_obj(tmp_path / "x.obj", vertices, topology, np.full((4, 4, 3), np.inf))
    assert not list(tmp_path.iterdir())


def test_wrong_shapes_name_the_argument(tmp_path, mesh, texture):
    vertices, topology = mesh
    with pytest.raises(ValueError, match="vertices must have shape"):
        save_glb(tmp_path / "x.glb", vertices[:-1], topology, texture)
    with pytest.raises(ValueError, match="texture must have shape"):
        save_glb(tmp_path / "x.glb", vertices, topology, texture[..., 0])


def test_without_trimesh_the_error_says_what_to_install(tmp_path, mesh, texture, monkeypatch):
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(ImportError, match=r"pip install 'gan3d\[export\]'"):
        save_glb(tmp_path / "x.glb", *mesh, texture)
