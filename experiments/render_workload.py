"""The workload of the renderer's benchmark: a head-like textured ball seen from random sides.

Shape letters: B images, V vertices, T texture side, H W picture.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from gan3d.render import Topology, orbit_camera, render, sphere_mesh

if TYPE_CHECKING:
    from jaxtyping import Array, Float

FOV = math.radians(10.0)
YAW_RANGE = math.radians(90.0)
PITCH_RANGE = math.radians(15.0)
TEXTURE_SIZE = 128
HALF_EXTENTS = np.array([0.86, 0.96, 0.92])  # of the ellipsoid: 69% of the picture on average


@dataclasses.dataclass(frozen=True, eq=False)
class Workload:
    """Every image has a mesh and a texture of its own, as in the training of a generator.

    Attributes:
      vertices: world coordinates.
      textures: colours in [0, 1].
      topology: shared by the images.
      weights: the loss of an image is the sum of image * weights.
      image_size: (height, width) in pixels.
    """

    vertices: Float[np.ndarray, "B V 3"]
    textures: Float[np.ndarray, "B T T 3"]
    topology: Topology
    weights: Float[np.ndarray, "H W 3"]
    image_size: tuple[int, int]

    @property
    def batch(self) -> int:
        return len(self.vertices)


def make_workload(num_faces: int, batch: int, size: int, seed: int = 0) -> Workload:
    """The benchmark's scenes.

    Args:
      num_faces: 2 (n - 1)^2 for an odd n of at least 3, such as 2048, 8192, 32768.
      batch: number of images.
      size: height and width of an image, pixels.
      seed: of textures and weights.

    Raises:
      ValueError: if no octahedral sphere has that many faces.
    """
    n = math.isqrt(num_faces // 2) + 1 if num_faces > 0 else 0
    if n < 3 or n % 2 == 0 or 2 * (n - 1) ** 2 != num_faces:
        raise ValueError(f"faces must be 2 (n - 1)^2 for an odd n of at least 3, got {num_faces}")
    rng = np.random.default_rng(seed)
    directions, topology = sphere_mesh(n)
    vertices = head_like(directions)
    scales = rng.uniform(0.98, 1.02, (batch, 1, 1))
    textures = np.stack([_smooth_texture(rng) for _ in range(batch)])
    weights = rng.normal(size=(size, size, 3))
    single = lambda a: np.asarray(a, np.float32)  # noqa: E731
    return Workload(
        single(vertices * scales), single(textures), topology, single(weights), (size, size)
    )


def head_like(directions: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
    """A head without detail: an ellipsoid with a nose in front and hollows beside it."""
    x, y, z = directions.T
    front = np.maximum(-z, 0)
    nose = 0.12 * np.exp(-((x / 0.12) ** 2) - ((y - 0.05) / 0.22) ** 2) * front
    sockets = 0.05 * np.exp(-(((np.abs(x) - 0.3) / 0.15) ** 2) - ((y + 0.2) / 0.12) ** 2) * front
    radius = 1 + nose - sockets
    return directions * HALF_EXTENTS * radius[:, None]


def random_views(rng: np.random.Generator, batch: int) -> Float[np.ndarray, "B 2"]:
    """Yaw and pitch in radians, uniform in +-90 and +-15 degrees."""
    views = rng.uniform(-1, 1, (batch, 2)) * [YAW_RANGE, PITCH_RANGE]
    return views.astype(np.float32)


def placement(num_devices: int) -> NamedSharding:
    """Of arrays with a leading axis of images, of which every device has its share."""
    mesh = jax.make_mesh(
        (num_devices,), ("image",), (AxisType.Auto,), devices=jax.devices()[:num_devices]
    )
    return NamedSharding(mesh, PartitionSpec("image"))


def forward(workload: Workload, num_devices: int = 1) -> Callable[..., Float[Array, "B H W 3"]]:
    """(vertices, textures, views) -> images, to be jitted; one image goes without `vmap`.

    On several devices the arrays lie as `placement` says.
    """
    background = jnp.zeros((*workload.image_size, 3))

    def draw(vertices, texture, view):
        camera = orbit_camera(view[0], view[1], fov=FOV)
        return render(
            vertices, workload.topology, texture, camera, workload.image_size, background
        ).color

    if num_devices > 1:
        place = placement(num_devices)
        return jax.shard_map(
            jax.vmap(draw), mesh=place.mesh, in_specs=place.spec, out_specs=place.spec
        )
    if workload.batch > 1:
        return jax.vmap(draw)
    return lambda vertices, textures, views: draw(vertices[0], textures[0], views[0])[None]


def forward_backward(
    workload: Workload, num_devices: int = 1
) -> Callable[..., tuple[Array, tuple[Array, Array]]]:
    """(vertices, textures, views) -> loss and its gradients in vertices and textures."""
    draw, weights = forward(workload, num_devices), workload.weights

    def loss(vertices, textures, views):
        return (draw(vertices, textures, views) * weights[None]).sum()

    return jax.value_and_grad(loss, argnums=(0, 1))


def compulsory_bytes(workload: Workload) -> tuple[float, float]:
    """Bytes per image that any renderer must move: forward, and forward + backward.

    Inputs are read once in each direction, outputs are written once; what the images share (the
    connectivity, the weights) is counted once per batch. Nothing else that an implementation
    keeps or rereads counts.
    """
    topology, batch = workload.topology, workload.batch
    scene = workload.vertices[0].nbytes + workload.textures[0].nbytes
    shared = sum(np.asarray(a).nbytes for a in (topology.faces, topology.neighbors, topology.uvs))
    image = workload.weights.nbytes
    one_way = scene + shared / batch + image
    # Backward: read the scene, the connectivity and the weights; write the scene's gradient.
    return one_way, one_way + 2 * scene + (shared + image) / batch


def measured_bandwidth(megabytes: int = 512, repeats: int = 10, calls: int = 4) -> float:
    """Bytes per second of a copy kernel on the default device, read and written ones together.

    Calls are queued, as an accelerator's are: alone, the host's way to it and back would count.
    """
    source = jnp.ones(megabytes * 250_000, jnp.float32)
    copy = jax.jit(lambda a: a + 1).lower(source).compile()
    copy(source).block_until_ready()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready([copy(source) for _ in range(calls)])
        seconds.append((time.perf_counter() - start) / calls)
    return 2 * source.nbytes / min(seconds)


def _smooth_texture(rng: np.random.Generator) -> Float[np.ndarray, "T T 3"]:
    """A sum of a few waves, in [0, 1]."""
    v, u = np.mgrid[:TEXTURE_SIZE, :TEXTURE_SIZE] / TEXTURE_SIZE
    waves = rng.integers(-3, 4, (5, 2, 3))
    phases = rng.uniform(0, 2 * np.pi, (5, 3))
    angle = 2 * np.pi * (u[..., None, None] * waves[:, 0] + v[..., None, None] * waves[:, 1])
    return 0.5 + 0.1 * np.cos(angle + phases).sum(axis=-2)
