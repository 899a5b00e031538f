"""Small scenes on which the renderer's gradients are tested."""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan3d.render import Rendering, Topology, make_topology, orbit_camera, render, sphere_mesh

# Most of the time of these tests is compilation; the slowest passes change nothing here.
compile_quickly = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
IMAGE_SIZE = (24, 28)
FOV = np.radians(45.0)


class Shot(NamedTuple):
    """Everything a picture is differentiated by."""

    vertices: np.ndarray
    yaw: np.ndarray
    texture: np.ndarray
    background: np.ndarray


@dataclasses.dataclass(frozen=True)
class Scene:
    shot: Shot
    topology: Topology


def take(shot: Shot, topology: Topology, margin_pixels: float, image_size=IMAGE_SIZE) -> Rendering:
    camera = orbit_camera(shot.yaw, pitch=0.15, fov=FOV)
    return render(
        shot.vertices, topology, shot.texture, camera, image_size, shot.background, margin_pixels
    )


def smooth_noise(seed: int, height: int, width: int, channels: int) -> np.ndarray:
    """A random sum of a few low frequencies, about standard normal."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = rng.normal(size=(6, 2, channels)) * 4
    phases = rng.uniform(0, 2 * np.pi, (6, channels))
    angle = y[..., None, None] * waves[:, 0] + x[..., None, None] * waves[:, 1] + phases
    return np.cos(angle).sum(axis=-2) / np.sqrt(3)


def triangle(seed: int = 0) -> Scene:
    vertices = np.array([[-0.62, -0.55, -0.2], [-0.35, 0.71, 0.3], [0.77, 0.09, 0.1]])
    uvs = np.array([[0.15, 0.1], [0.2, 0.85], [0.9, 0.45]])
    return make_scene(vertices, make_topology(np.array([[0, 1, 2]]), uvs), seed)


def sphere(seed: int = 0, n: int = 9, chart: str = "octahedral") -> Scene:
    """A dented ball over the background."""
    vertices, topology = sphere_mesh(n, chart)
    return make_scene(0.7 * _dented(vertices, topology, seed), topology, seed)


def blobs(seed: int = 0, n: int = 7, to_the_right: float = 0.0) -> Scene:
    """One mesh of two balls, a small one before a large one: it occludes itself."""
    ball, topology = sphere_mesh(n)
    ball = _dented(ball, topology, seed)
    front = 0.33 * ball + np.array([0.22 + to_the_right, -0.12, -0.8])
    back = 0.7 * ball[:, [1, 2, 0]] + np.array([-0.12, 0.06, 0.3])
    return make_scene(np.concatenate([front, back]), two_copies(topology), seed)


def crossing_blobs(seed: int = 0) -> Scene:
    """The small ball covers the boundary of the large one."""
    return blobs(seed, to_the_right=0.35)


SCENES = {
    "triangle": triangle,
    "sphere": sphere,
    "blobs": blobs,
    "crossing blobs": crossing_blobs,
}


def random_direction(seed: int, scene: Scene, variable: str):
    """A smooth-ish random change of one variable; None of the others moves."""
    rng = np.random.default_rng(seed)
    change = rng.normal(size=getattr(scene.shot, variable).shape)
    if variable == "vertices":
        # Both sides of a seam move together, so that the mesh stays closed.
        change = change[scene.topology.weld]
    still = jax.tree.map(np.zeros_like, scene.shot)
    return still._replace(**{variable: change})


def decisions(rendering: Rendering, shot: Shot, topology: Topology):
    """The discrete choices behind a picture: while they stay, the picture is a smooth function.

    Which faces, which edge or corner of them (by the corners that have weight), which texels.
    """
    fragments = rendering.fragments
    corners = jnp.asarray(topology.faces)[fragments.face]
    uv = jnp.asarray(topology.uvs, shot.texture.dtype)[corners] * fragments.barycentric[..., None]
    texel = jnp.floor(uv.sum(-2) * np.array(shot.texture.shape[1::-1])[None, None, None] - 0.5)
    return fragments.face, fragments.barycentric > 0, texel


def make_scene(vertices: np.ndarray, topology: Topology, seed: int) -> Scene:
    # A size for which no edge of the grids lies on a line of texel centres, where bilinear
    # interpolation has its kinks.
    texture = 0.5 * smooth_noise(seed + 1, 16, 8, 3)
    background = 0.5 * smooth_noise(seed + 2, *IMAGE_SIZE, 3)
    return Scene(Shot(vertices.astype(float), np.array(0.3), texture, background), topology)


def _dented(vertices: np.ndarray, topology: Topology, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=vertices.shape)[topology.weld]
    return vertices + 0.03 * noise


def two_copies(topology: Topology) -> Topology:
    """Two separate meshes as one; the texture's left half is the first one's."""
    faces = np.concatenate([topology.faces, topology.faces + topology.num_vertices])
    weld = np.concatenate([topology.weld, topology.weld + topology.num_vertices])
    half = topology.uvs * np.array([0.45, 1])
    return make_topology(faces, np.concatenate([half, half + np.array([0.5, 0])]), weld)
