from __future__ import annotations

import sys

import numpy as np
import pytest
import trimesh
from PIL import Image

from gan3d.export import save_glb, save_obj
from gan3d.mesh_files import load_mesh
from gan3d.render.templates import cube, sphere_mesh

TO_FILE_AXES = np.array([1.0, -1.0, -1.0])


@pytest.fixture(scope="module")
def texture():
    return np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def corners(mesh_or_vertices, topology=None):
    """Positions and UVs of all corners: what a mesh is, however its vertices are numbered."""
    if topology is None:
        mesh_or_vertices, topology = mesh_or_vertices.vertices, mesh_or_vertices.topology
    return mesh_or_vertices[topology.faces], topology.uvs[topology.uv_faces]


@pytest.mark.parametrize(("kind", "save"), [("glb", save_glb), ("obj", save_obj)])
def test_what_was_saved_comes_back_closed(kind, save, tmp_path, texture):
    sphere, topology = sphere_mesh(9)
    vertices = sphere * np.float32([0.5, 0.7, 0.6]) - np.float32([0, 0, 0.05])
    save(tmp_path / f"head.{kind}", vertices[topology.weld], topology, texture)
    loaded = load_mesh(tmp_path / f"head.{kind}")
    assert loaded.vertices.dtype == loaded.texture.dtype == np.float32
    for one, other in zip(corners(loaded), corners(vertices, topology), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    np.testing.assert_array_equal(np.rint((loaded.texture + 1) * 127.5), texture)
    # The file's doubled vertices on the seam are one again.
    assert len(loaded.vertices) == len(np.unique(topology.weld)) < len(vertices)
    assert (loaded.topology.neighbors >= 0).all() and loaded.topology.num_components == 1


def test_ply_without_texture(tmp_path):
    vertices, topology = cube()
    trimesh.Trimesh(vertices * TO_FILE_AXES, topology.faces, process=False).export(
        tmp_path / "cube.ply"
    )
    loaded = load_mesh(tmp_path / "cube.ply")
    np.testing.assert_allclose(corners(loaded)[0], corners(vertices, topology)[0], atol=1e-6)
    assert loaded.texture is None and not loaded.topology.uvs.any()


OBJ = """v 0 0 0
v 0 2 0
v 3 2 0
v 3 0 0
v 9 9 9
vt 0 0
vt 0 1
vt 1 1
vt 1 0
vt 0.5 0.5
f 1/1 4/4 3/3 2/2
f 1/5 2/5 3/5
f 1/1 3/3 3/3
"""


def test_obj_with_own_texture_index(tmp_path):
    """y up and v up in the file, y down and v down here; quads are split; no stray vertices."""
    (tmp_path / "a.obj").write_text(OBJ)
    loaded = load_mesh(tmp_path / "a.obj")
    positions, uvs = corners(loaded)
    assert loaded.topology.num_faces == 3 and len(loaded.vertices) == 4
    assert loaded.topology.num_uvs == 5
    plain = positions[:2].reshape(-1, 3) / [3, -2, 1]
    np.testing.assert_allclose(uvs[:2].reshape(-1, 2), plain[:, :2] * [1, -1] + [0, 1], atol=1e-6)
    np.testing.assert_allclose(uvs[2], 0.5)
    np.testing.assert_allclose(positions[2], [[0, 0, 0], [0, -2, 0], [3, -2, 0]])
    assert loaded.texture is None
    # Counter-clockwise from +z in the file, that is from -z here: towards the viewer.
    assert np.cross(*np.diff(positions[0], axis=0))[2] < 0


def colored_box(x: float, color) -> trimesh.Trimesh:
    """A box at x with a picture of one colour but for a white texel in its corner."""
    box = trimesh.creation.box()
    picture = np.full((4, 6, 3), color, np.uint8)
    picture[0, 0] = 255
    uv = np.random.default_rng(1).uniform(0.4, 1, (len(box.vertices), 2)) * [1, 0.8]
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(picture))
    box.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    box.apply_translation([x, 0, 0])
    return box


def sample(loaded, faces):
    """Nearest texels of the corners of faces, as bytes."""
    height, width = loaded.texture.shape[:2]
    u, v = np.moveaxis(loaded.topology.uvs[loaded.topology.uv_faces[faces]], -1, 0)
    texels = loaded.texture[(v * height).astype(int), (u * width).astype(int)]
    return np.rint((texels + 1) * 127.5).reshape(-1, 3)


def test_scene_of_several_meshes_is_one_mesh_with_one_texture(tmp_path):
    red, blue = colored_box(0, [200, 0, 0]), colored_box(0, [0, 0, 180])
    plain = trimesh.creation.box()
    plain.visual = trimesh.visual.TextureVisuals(
        material=trimesh.visual.material.PBRMaterial(baseColorFactor=[0, 160, 0, 255])
    )
    scene = trimesh.Scene()
    for k, box in enumerate((red, blue, plain)):
        move = trimesh.transformations.translation_matrix([3 * k, 1, 0])
        scene.add_geometry(box, transform=move)
    scene.export(tmp_path / "boxes.glb")
    loaded = load_mesh(tmp_path / "boxes.glb")
    assert loaded.topology.num_components == 3 and loaded.topology.num_faces == 36
    assert (loaded.topology.neighbors >= 0).all()
    centres = loaded.vertices[loaded.topology.faces].mean(axis=1)
    np.testing.assert_allclose(centres[:, 1].mean(), -1, atol=1e-6)
    for k, color in enumerate(([200, 0, 0], [0, 0, 180], [0, 160, 0])):
        faces = np.abs(centres[:, 0] - 3 * k) < 1
        assert faces.sum() == 12
        np.testing.assert_allclose(sample(loaded, faces), np.tile(color, (36, 1)), atol=1)


def test_a_shared_picture_is_kept_once(tmp_path):
    scene = trimesh.Scene([colored_box(0, [200, 0, 0]), colored_box(3, [200, 0, 0])])
    scene.export(tmp_path / "boxes.glb")
    assert load_mesh(tmp_path / "boxes.glb").texture.shape == (4, 6, 3)


def test_a_mirrored_node_is_not_inside_out(tmp_path):
    scene = trimesh.Scene()
    scene.add_geometry(colored_box(1, [200, 0, 0]), transform=np.diag([-1.0, 1, 1, 1]))
    scene.export(tmp_path / "box.glb")
    loaded = load_mesh(tmp_path / "box.glb")
    a, b, c = np.moveaxis(corners(loaded)[0], 1, 0)
    np.testing.assert_allclose((a * np.cross(b, c)).sum() / 6, 1, rtol=1e-5)
    np.testing.assert_allclose(loaded.vertices[:, 0].mean(), -1, atol=1e-6)


def test_files_without_a_mesh_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"path must be a mesh file, got .*none\.glb"):
        load_mesh(tmp_path / "none.glb")
    (tmp_path / "words.glb").write_text("no mesh at all")
    (tmp_path / "words.xyzzy").write_text("no mesh at all")
    trimesh.PointCloud(np.eye(3)).export(tmp_path / "points.ply")
    for name in ("words.glb", "words.xyzzy", "points.ply"):
        with pytest.raises(ValueError, match=f"path must be a .*{name}"):
            load_mesh(tmp_path / name)


def test_without_trimesh_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(ImportError, match=r"reading .* pip install 'gan3d\[export\]'"):
        load_mesh(tmp_path / "x.glb")
