"""GLB files against the glTF 2.0 specification, opened by a reader that is not the writer.

Section numbers are those of the specification, https://registry.khronos.org/glTF/specs/2.0.
"""

from __future__ import annotations

import io
import struct

import numpy as np
import pygltflib
import pytest
from PIL import Image

from gan3d.export import save_glb
from gan3d.render import cube, sphere_mesh

TO_FILE_AXES = np.array([1.0, -1.0, -1.0])
COMPONENTS = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}


def octahedron():
    """Normals equal positions here, and trimesh stores them once."""
    return sphere_mesh(3)


def collapsed():
    """A patch without extent, where no normal is defined."""
    vertices, topology = sphere_mesh(9)
    return np.where(vertices[:, 1:2] > 0.5, np.float32([0, 0.6, 0]), vertices), topology


MESHES = {
    "sphere": lambda: sphere_mesh(9),
    "cube": cube,
    "octahedron": octahedron,
    "collapsed": collapsed,
}


@pytest.fixture(scope="module", params=MESHES)
def saved(request, tmp_path_factory):
    vertices, topology = MESHES[request.param]()
    texture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("glb") / f"{request.param}.glb"
    save_glb(path, vertices, topology, texture)
    return path, vertices, topology, texture


@pytest.fixture
def gltf(saved):
    return pygltflib.GLTF2().load(str(saved[0]))


def read(gltf: pygltflib.GLTF2, index: int) -> np.ndarray:
    """An accessor's elements [N, width], by offsets and strides as 3.6.2.4 defines them."""
    accessor = gltf.accessors[index]
    view = gltf.bufferViews[accessor.bufferView]
    kind, width = np.dtype(COMPONENTS[accessor.componentType]), WIDTHS[accessor.type]
    stride = view.byteStride or kind.itemsize * width
    start = (view.byteOffset or 0) + (accessor.byteOffset or 0)
    last = start + stride * (accessor.count - 1) + kind.itemsize * width
    assert last <= (view.byteOffset or 0) + view.byteLength
    assert start % kind.itemsize == 0 and stride % kind.itemsize == 0
    return np.ndarray(
        (accessor.count, width), kind, gltf.binary_blob(), start, (stride, kind.itemsize)
    )


def attributes(gltf: pygltflib.GLTF2) -> dict[str, np.ndarray]:
    (mesh,) = gltf.meshes
    (primitive,) = mesh.primitives
    names = ("POSITION", "NORMAL", "TEXCOORD_0")
    arrays = {name: read(gltf, getattr(primitive.attributes, name)) for name in names}
    return {**arrays, "faces": read(gltf, primitive.indices).reshape(-1, 3)}


def test_container(saved, gltf):
    """4.4: header, a JSON chunk and a binary chunk, padded to four bytes; no file beside it."""
    data = saved[0].read_bytes()
    magic, version, length, json_length, json_type = struct.unpack_from("<4sIII4s", data)
    assert (magic, version, length, json_type) == (b"glTF", 2, len(data), b"JSON")
    binary_length, binary_type = struct.unpack_from("<I4s", data, 20 + json_length)
    assert binary_type == b"BIN\0" and 28 + json_length + binary_length == length
    assert json_length % 4 == binary_length % 4 == 0
    assert gltf.asset.version == "2.0"
    (buffer,) = gltf.buffers
    assert buffer.uri is None and 0 <= binary_length - buffer.byteLength <= 3
    assert [path.name for path in saved[0].parent.iterdir()] == [saved[0].name]


def test_buffer_views(gltf):
    """5.11: inside of the buffer, and vertices and indices say which they are."""
    for view in gltf.bufferViews:
        assert 0 <= (view.byteOffset or 0)
        assert (view.byteOffset or 0) + view.byteLength <= gltf.buffers[0].byteLength
    primitive = gltf.meshes[0].primitives[0]
    of_vertices = {
        gltf.accessors[index].bufferView
        for index in vars(primitive.attributes).values()
        if isinstance(index, int)
    }
    of_indices = gltf.accessors[primitive.indices].bufferView
    assert {gltf.bufferViews[i].target for i in of_vertices} == {pygltflib.ARRAY_BUFFER}
    assert gltf.bufferViews[of_indices].target == pygltflib.ELEMENT_ARRAY_BUFFER
    assert gltf.bufferViews[of_indices].byteStride is None
    for i in of_vertices:
        sharing = [accessor for accessor in gltf.accessors if accessor.bufferView == i]
        assert len(sharing) == 1 or gltf.bufferViews[i].byteStride >= 4
        assert gltf.bufferViews[i].byteStride in (None, 8, 12)


def test_accessors(gltf):
    """3.6.2.5 and 3.7.2.1: types, bounds of positions, indices of vertices that exist."""
    primitive = gltf.meshes[0].primitives[0]
    assert primitive.mode in (None, pygltflib.TRIANGLES)
    arrays = attributes(gltf)
    for name, width in {"POSITION": 3, "NORMAL": 3, "TEXCOORD_0": 2}.items():
        accessor = gltf.accessors[getattr(primitive.attributes, name)]
        assert accessor.componentType == pygltflib.FLOAT and arrays[name].shape[1] == width
        assert len(arrays[name]) == len(arrays["POSITION"])
    for index, accessor in enumerate(gltf.accessors):
        values = read(gltf, index)
        if accessor.min or accessor.max:
            np.testing.assert_array_equal(np.float32(accessor.min), values.min(0))
            np.testing.assert_array_equal(np.float32(accessor.max), values.max(0))
    assert gltf.accessors[primitive.attributes.POSITION].min
    faces = arrays["faces"]
    assert faces.max() < len(arrays["POSITION"]) and faces.size == 3 * len(faces)
    # 3.7.2.1: the largest value would restart the primitive.
    assert faces.max() < np.iinfo(faces.dtype).max


def test_geometry(saved, gltf):
    """The mesh it was made from, and counter-clockwise fronts (3.7.2.1) with normals outwards."""
    _, vertices, topology, _ = saved
    arrays = attributes(gltf)
    positions, normals, faces = arrays["POSITION"], arrays["NORMAL"], arrays["faces"]
    expected = (vertices * TO_FILE_AXES)[topology.faces]
    np.testing.assert_allclose(positions[faces], expected, atol=1e-6)
    uvs = topology.uvs[topology.uv_faces]
    np.testing.assert_allclose(arrays["TEXCOORD_0"][faces], uvs, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    a, b, c = (positions[faces[:, k]] for k in range(3))
    front = np.cross(b - a, c - a)
    large = np.linalg.norm(front, axis=1) > 1e-6
    assert ((front * (a + b + c)).sum(1)[large] > 0).all()  # all of these are star-shaped
    assert ((front[:, None] * normals[faces]).sum(2)[large] > 0).all()


def test_material(saved, gltf):
    """5.19 to 5.30: an embedded PNG, not wrapped around, on an opaque surface that is no metal."""
    (material,) = gltf.materials
    surface = material.pbrMetallicRoughness
    assert (surface.metallicFactor, surface.roughnessFactor) == (0, 1)
    assert surface.baseColorFactor in (None, [1, 1, 1, 1]) and material.alphaMode == "OPAQUE"
    assert gltf.meshes[0].primitives[0].material == 0
    texture = gltf.textures[surface.baseColorTexture.index]
    sampler = gltf.samplers[texture.sampler]
    assert sampler.wrapS == sampler.wrapT == pygltflib.CLAMP_TO_EDGE
    image = gltf.images[texture.source]
    assert image.mimeType == "image/png" and image.uri is None
    view = gltf.bufferViews[image.bufferView]
    start = view.byteOffset or 0
    picture = Image.open(io.BytesIO(gltf.binary_blob()[start : start + view.byteLength]))
    np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), saved[3])


def test_scene(gltf):
    """3.5: the default scene shows the mesh, once and where it is."""
    nodes = list(gltf.scenes[gltf.scene].nodes)
    shown = 0
    while nodes:
        node = gltf.nodes[nodes.pop()]
        nodes += node.children
        shown += node.mesh is not None
        for moved in (node.translation, node.rotation, node.scale):
            assert moved is None
        assert node.matrix is None or np.array_equal(node.matrix, np.eye(4).ravel())
    assert shown == 1
