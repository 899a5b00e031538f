"""Loads the golden scenes and converts their conventions to those of `gan3d.render`."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from gan3d.render import (
    Camera,
    Topology,
    composite,
    interpolate,
    make_topology,
    project,
    sample_texture,
)

FOLDER = pathlib.Path(__file__).parent / "golden"


class Variables(NamedTuple):
    """What the golden gradients are taken by; attributes are per vertex or a texture."""

    vertices: np.ndarray
    attributes: np.ndarray
    camera: Camera


@dataclasses.dataclass(frozen=True)
class GoldenScene:
    variables: Variables
    topology: Topology
    image_size: tuple[int, int]
    margin_pixels: float
    background: np.ndarray  # [H, W, C + 1], alpha last
    weights: np.ndarray  # [H, W, C + 1]
    image: np.ndarray  # [H, W, C + 1]
    gradient: Variables
    textured: bool
    margin_alpha: np.ndarray  # [H, W], before compositing
    crisp: np.ndarray  # [H, W] bool


def load(name: str) -> GoldenScene:
    with np.load(FOLDER / f"{name}.npz") as file:
        data = {key: file[key] for key in file.files}
    height, width = (int(size) for size in data["imsize"])
    textured = str(data["kind"]) == "uv"
    vertices, attributes = data["xyz"][0], data["attr"][0]
    uvs = _uvs(data["vertuv"][0], attributes.shape[:2]) if textured else None
    image = data["image"][0]
    background = np.broadcast_to(data.get("bcg", np.float32(0)), (1, *image.shape))[0]
    return GoldenScene(
        variables=Variables(vertices, attributes, _camera(data["K"][0], data["P"][0], height)),
        topology=make_topology(data["triangles"], uvs, weld_positions(vertices)),
        image_size=(height, width),
        margin_pixels=float(data["margin"]),
        background=background,
        weights=data["W"][0],
        image=image,
        gradient=Variables(
            data["g_xyz"][0],
            data["g_attr"][0],
            _camera_gradient(data["g_K"][0], data["g_P"][0], height),
        ),
        textured=textured,
        margin_alpha=data["part_margin"][0],
        crisp=data["part_crisp"][0],
    )


def picture(scene: GoldenScene, variables: Variables, rasterizer, surface_first: bool = False):
    """Draws a golden scene.

    Args:
      rasterizer: function of the screen points that gives Fragments.
      surface_first: composite the surface over the margin, as the authors do with textures.

    Returns:
      [H, W, C + 1] premultiplied colours over the background, alpha last, and the fragments.
    """
    points = project(variables.vertices, variables.camera, scene.image_size)
    fragments = rasterizer(points)
    dtype = points.dtype
    if scene.textured:
        uv = interpolate(jnp.asarray(scene.topology.uvs, dtype), fragments, scene.topology)
        values = sample_texture(variables.attributes, uv)
    else:
        values = interpolate(variables.attributes, fragments, scene.topology)
    values = jnp.concatenate([values, jnp.ones_like(values[..., :1])], axis=-1)
    alpha = fragments.alpha
    if surface_first:
        values, alpha = values[::-1], alpha[::-1]
    return composite(values, alpha, jnp.asarray(scene.background, dtype))[0], fragments


def screen_points(scene: GoldenScene) -> np.ndarray:
    """[V, 3] what `project` gives, in float64 numpy."""
    height, width = scene.image_size
    camera = scene.variables.camera
    in_camera = scene.variables.vertices.astype(float) @ camera.rotation.T + camera.translation
    xy = in_camera[:, :2] / in_camera[:, 2:] * camera.focal * height / 2
    return np.concatenate([xy + np.array([width, height]) / 2, in_camera[:, 2:]], axis=1)


def weld_positions(vertices: np.ndarray, tolerance: float = 1e-6) -> np.ndarray:
    """[V] the first vertex at the same place: their spheres repeat vertices along the seam."""
    cells = np.round(vertices / tolerance).astype(np.int64)
    _, first, cell_of = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    return first[cell_of.reshape(-1)]


def _camera(intrinsics, extrinsics, height) -> Camera:
    """Theirs has clip +-1 at the first and last pixel *centre*, ours NDC +-1 at the borders."""
    np.testing.assert_array_equal(intrinsics, np.diag([intrinsics[0, 0], intrinsics[0, 0], 1]))
    focal = np.diag(intrinsics)[:2] * np.float32((height - 1) / height)
    return Camera(extrinsics[:, :3], extrinsics[:, 3], focal, np.zeros_like(focal))


def _camera_gradient(intrinsics, extrinsics, height) -> Camera:
    """The chain rule through `_camera`; intrinsics and extrinsics are gradients here."""
    unit = height / (height - 1)
    focal, center = np.diag(intrinsics)[:2] * unit, intrinsics[:2, 2] * unit
    return Camera(extrinsics[:, :3], extrinsics[:, 3], focal, center)


def _uvs(clip: np.ndarray, texture_size: tuple[int, int]) -> np.ndarray:
    """Texel coordinates = (height - 1) (clip + 1) / 2, centred across, integers at the centres."""
    height, width = texture_size
    texel = (height - 1) * (clip + 1) / 2 + np.array([(width - height) / 2, 0])
    return (texel + 0.5) / np.array([width, height])
