"""A trained generator without its networks: `load_exported` opens what `export_model` wrote.

    generator = load_exported("runs/demo/exported")
    scenes = generator.scene(generator.sample(jax.random.key(0), 4))
    pictures = generator.render(scenes, generator.camera(yaw=0.5)).image

This file needs jax, numpy and flatbuffers (with which jax writes programs) and nothing else of
gan3d: it may be copied to a machine that has only those. The same calls work on
`gan3d.TrainedGenerator`, except that programs are fixed: pictures have one of the exported
resolutions and the lens of training, and have no gradients.

**Files.** `config.json` is the training run's. `parameters.npz` holds the averaged parameters under
their paths. `exported.json` describes the programs. `scene`, `views` and `render_<resolution>`,
each `.jax_export`, are programs for several platforms, serialized by `jax.export`; parameters are
among their arguments. `mesh.npz` has the faces, their texture coordinates, and which vertices are
copies of one another. Nothing is pickled, and nothing in the files is executed but the programs,
which can only compute.

**How long they last.** JAX promises that a program can be run by jax releases of the six months
after the one that wrote it, and of the three weeks before. `config.json` and `parameters.npz` have
no such limit: `gan3d.load` opens them wherever this version of gan3d runs, and `python -m
experiments.export_model --run=DIRECTORY --out=OTHER` writes the programs anew.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import zipfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

__all__ = ["ExportError", "ExportedGenerator", "load_exported"]

FORMAT = 1
MANIFEST_NAME = "exported.json"
PARAMETERS_NAME = "parameters.npz"
MESH_NAME = "mesh.npz"
PROGRAM_SUFFIX = ".jax_export"

# Entries of PARAMETERS_NAME that are no parameters.
IMAGES_SEEN, MEAN_STYLE = "images_seen", "mean_style"


class ExportError(Exception):
    """Exported files that cannot be used, in one line meant for the person who named them."""


class Scene(NamedTuple):
    """What a latent becomes; colours in [-1, 1].

    Attributes:
      surface: 3-D points in world coordinates over the chart.
      texture: over the same chart.
      background: larger than the view, which pans over it.
      vertices: of the mesh, world coordinates; x right, y down, z forward.
    """

    surface: Float[Array, "*N S S 3"]
    texture: Float[Array, "*N T T 3"]
    background: Float[Array, "*N Bh Bw 3"]
    vertices: Float[Array, "*N V 3"]


class View(NamedTuple):
    """Where the camera stands on its orbit, radians: positive yaw to the right, pitch up."""

    yaw: Float[Array, "*N"]
    pitch: Float[Array, "*N"]


class Picture(NamedTuple):
    """A drawn scene.

    Attributes:
      image: in [-1, 1].
      alpha: opacity of the object.
      depth: camera-space depth, world units; that of the orbit's centre beside the object.
    """

    image: Float[Array, "*N H W 3"]
    alpha: Float[Array, "*N H W"]
    depth: Float[Array, "*N H W"]


@dataclasses.dataclass(frozen=True, eq=False)
class ExportedGenerator:
    """Programs and the parameters they run with. Methods take one example or a batch of any size.

    Attributes:
      name: of the training run.
      images_seen: images seen in training.
      latent_size: entries of z.
      resolutions: sides of the pictures there are programs for, pixels; the first is the default.
      faces: vertex indices of the mesh, counter-clockwise seen from outside.
      uvs: texture coordinates of its vertices, in [0, 1], v down.
      weld: index of the vertex that stands for each vertex: those on the chart's seam are doubled.
      parameters: float32, by path.
      programs: as functions of arrays, by name.
    """

    name: str
    images_seen: int
    latent_size: int
    resolutions: tuple[int, ...]
    faces: Int[np.ndarray, "F 3"]
    uvs: Float[np.ndarray, "V 2"]
    weld: Int[np.ndarray, "V"]
    parameters: dict[str, Array]
    programs: dict[str, Callable[..., Any]]

    def __repr__(self) -> str:
        return f"<ExportedGenerator {self.name}, {self.images_seen:,} images seen>"

    def sample(self, key: Array, num: int) -> Float[Array, "N Z"]:
        """`num` latents z ~ N(0, I); consumes the key.

        Raises:
          ValueError: num is not positive.
        """
        if num < 1:
            raise ValueError(f"num must be at least 1, got {num}")
        return jax.random.normal(key, (num, self.latent_size), jnp.float32)

    def views(self, key: Array, num: int) -> View:
        """`num` viewpoints as in training; consumes the key."""
        quantiles = jax.random.uniform(key, (2, num), jnp.float32, minval=-1.0, maxval=1.0)
        return View(*self.programs["views"](self.parameters, quantiles))

    def scene(self, z: Float[Array, "*N Z"], truncation: float = 1.0) -> Scene:
        """Surface, texture, background and vertices.

        Args:
          z: one latent or a batch.
          truncation: 1 = none, 0 = the mean object; see `TrainedGenerator.styles`.

        Raises:
          ValueError: z has not the generator's number of entries.
        """
        z = jnp.asarray(z, jnp.float32)
        if z.ndim not in (1, 2) or z.shape[-1] != self.latent_size:
            raise ValueError(
                f"z must have shape [{self.latent_size}] or [N, {self.latent_size}], got {z.shape}"
            )
        batch = z.reshape(-1, self.latent_size)
        scene = self.programs["scene"](self.parameters, batch, jnp.float32(truncation))
        return Scene(*(a.reshape(*z.shape[:-1], *a.shape[1:]) for a in scene))

    def camera(self, yaw: float = 0.0, pitch: float = 0.0) -> View:
        """A viewpoint, radians; arrays of one shape [N] give a batch."""
        return View(
            *jnp.broadcast_arrays(jnp.asarray(yaw, jnp.float32), jnp.asarray(pitch, jnp.float32))
        )

    def render(self, scene: Scene, camera: View, resolution: int | None = None) -> Picture:
        """Picture, opacity and depth.

        Args:
          scene: one or a batch.
          camera: one or a batch. If both are batches, camera i looks at scene i; one of either
            serves all of the other.
          resolution: one of `resolutions`, None = the first.

        Raises:
          ValueError: there is no program for the resolution, or the batches differ in length.
        """
        resolution = self.resolutions[0] if resolution is None else resolution
        if resolution not in self.resolutions:
            known = ", ".join(map(str, self.resolutions))
            raise ValueError(
                f"resolution must be one that was exported ({known}), got {resolution}"
            )
        maps = scene[:3]
        lengths = [
            array.shape[0] if array.ndim > ndim else None
            for array, ndim in ((maps[0], 3), (camera.yaw, 0))
        ]
        if None not in lengths and lengths[0] != lengths[1]:
            raise ValueError(
                f"scene and camera must be batches of one length, got {lengths[0]} and {lengths[1]}"
            )
        size = next((length for length in lengths if length is not None), 1)
        whole = [jnp.broadcast_to(a, (size, *a.shape[-3:])) for a in maps]
        views = [jnp.broadcast_to(a, (size,)) for a in camera]
        picture = Picture(*self.programs[f"render_{resolution}"](*whole, *views))
        return picture if lengths != [None, None] else Picture(*(a[0] for a in picture))

    def vertices(self, scene: Scene) -> Float[Array, "*N V 3"]:
        """Of the mesh, world coordinates; `faces`, `uvs` and `weld` are its topology."""
        return scene.vertices

    def save_mesh(self, path: str | os.PathLike[str], scene: Scene) -> list[pathlib.Path]:
        """Writes one scene's mesh, see `gan3d.export.save_mesh`, for which gan3d must be there."""
        from gan3d import export  # the one method that needs the rest of gan3d
        from gan3d.render import make_topology

        topology = make_topology(self.faces, self.uvs, self.weld)
        return export.save_mesh(path, scene.vertices, topology, scene.texture)


def load_exported(directory: str | os.PathLike[str]) -> ExportedGenerator:
    """Opens exported programs. Reading takes no time; each is compiled on its first call.

    Raises:
      ExportError: there are none, or they are damaged or not for this jax.

    Before, `python -m experiments.export_model --run=runs/demo` wrote the files:

    >>> generator: ExportedGenerator = load_exported("runs/demo/exported")  # doctest: +SKIP
    >>> try:
    ...     load_exported(folder)
    ... except ExportError as error:
    ...     print(error)
    /...has no exported.json: python -m experiments.export_model writes it
    """
    directory = pathlib.Path(directory)
    manifest = _read_manifest(directory / MANIFEST_NAME)
    arrays = read_arrays(directory / PARAMETERS_NAME)
    mesh = read_arrays(directory / MESH_NAME)
    try:
        names = ["scene", "views", *(f"render_{size}" for size in manifest["resolutions"])]
        return ExportedGenerator(
            name=manifest["name"],
            images_seen=int(arrays.pop(IMAGES_SEEN)),
            latent_size=manifest["latent_size"],
            resolutions=tuple(manifest["resolutions"]),
            **{name: mesh[name] for name in ("faces", "uvs", "weld")},
            parameters={name: jnp.asarray(array, jnp.float32) for name, array in arrays.items()},
            programs={name: _read_program(directory, name, manifest["jax"]) for name in names},
        )
    except KeyError as error:
        raise ExportError(f"the export in {directory} is incomplete: {error} is missing") from error


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, by name; never unpickles.

    Raises:
      ExportError: there is no such file, or it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise ExportError(f"there is no {path}") from error
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ExportError(f"{path} is no file of arrays, or is damaged: {error}") from error


def _read_manifest(path: pathlib.Path) -> dict[str, Any]:
    if not path.is_file():
        raise ExportError(
            f"{path.parent} has no {MANIFEST_NAME}: python -m experiments.export_model writes it"
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found = manifest["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{path} describes no exported generator: {error!r}") from error
    if found != FORMAT:
        raise ExportError(f"{path} has format {found!r}; this version reads format {FORMAT}")
    return manifest


def _read_program(directory: pathlib.Path, name: str, written_by: str) -> Callable[..., Any]:
    path = directory / (name + PROGRAM_SUFFIX)
    try:
        from jax import export

        program = export.deserialize(bytearray(path.read_bytes()))
    except FileNotFoundError as error:
        raise ExportError(f"there is no {path}") from error
    except ImportError as error:
        raise ExportError(f"reading programs needs flatbuffers: {error}") from error
    except Exception as error:  # what the deserializer raises depends on the damage
        raise ExportError(
            f"{path}, written by jax {written_by}, is damaged, or jax {jax.__version__} cannot "
            f"read it: {error!r}"
        ) from error
    return jax.jit(program.call)
