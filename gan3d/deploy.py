"""Writes a trained generator for use elsewhere: parameters, and programs of `jax.export`.

`gan3d.exported` says which files these are, and reads them; `gan3d.load` opens the parameters.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

import gan3d
from gan3d.config import Config, to_json
from gan3d.exported import (
    FORMAT,
    IMAGES_SEEN,
    MANIFEST_NAME,
    MEAN_STYLE,
    MESH_NAME,
    PARAMETERS_NAME,
    PROGRAM_SUFFIX,
)
from gan3d.scene import Scene, Stage, View, render_scene, scene_vertices
from gan3d.trained import TrainedGenerator, scene_of, styles_of
from gan3d.training.assemble import latent_size, place_views
from gan3d.training.directory import (
    CHECKPOINTS_NAME,
    CONFIG_NAME,
    replace_arrays,
    replace_bytes,
    replace_text,
)
from gan3d.training.run import flat_parameters

if TYPE_CHECKING:
    from jax import export
    from jaxtyping import Array

__all__ = ["DeployError", "rounded", "save_parameters", "save_programs"]

PLATFORMS = ("cpu", "cuda", "tpu")
DTYPES = ("float32", "float16")


class DeployError(Exception):
    """A generator that cannot be written there or so, in one line."""


def rounded(generator: TrainedGenerator, dtype: str) -> TrainedGenerator:
    """The generator that whoever opens parameters of that precision will have.

    Raises:
      DeployError: a parameter is out of the precision's range.
    """

    def one(array):
        with np.errstate(over="ignore"):
            narrow = np.asarray(array).astype(dtype)
        if not np.isfinite(narrow).all():
            raise DeployError(f"the parameters cannot be stored in {dtype}: some are too large")
        return narrow.astype(np.float32)

    return dataclasses.replace(generator, params=jax.tree.map(one, generator.params))


def published(config: Config) -> Config:
    """The configuration without the path of a folder, which is nobody else's business."""
    family, colon, _ = config.data.partition(":")
    return dataclasses.replace(config, data=family + colon) if family == "folder" else config


def save_parameters(
    directory: str | os.PathLike[str],
    generator: TrainedGenerator,
    dtype: str = "float32",
) -> list[pathlib.Path]:
    """Writes config.json and the parameters: enough for `gan3d.load`.

    Args:
      directory: made if missing; programs that are there already are no longer valid, and their
        description is removed.
      generator: of `rounded`.
      dtype: in which parameters are stored, one of `DTYPES`.

    Returns:
      The paths written.

    Raises:
      DeployError: the directory cannot be written, or is that of a training run.
    """
    directory = pathlib.Path(directory)
    if (directory / CHECKPOINTS_NAME).exists():
        raise DeployError(f"{directory} is a training run: choose another directory")
    arrays = {name: a.astype(dtype) for name, a in flat_parameters(generator.params).items()}
    arrays[MEAN_STYLE] = np.asarray(generator.mean_style)
    arrays[IMAGES_SEEN] = np.int64(generator.images_seen)
    with _writing_in(directory):
        (directory / MANIFEST_NAME).unlink(missing_ok=True)
        return [
            replace_text(directory / CONFIG_NAME, to_json(published(generator.parts.config))),
            replace_arrays(directory / PARAMETERS_NAME, arrays),
        ]


def save_programs(
    directory: str | os.PathLike[str],
    generator: TrainedGenerator,
    resolutions: Sequence[int] = (),
    batch: int = 8,
    platforms: Sequence[str] = PLATFORMS,
    report: Callable[[str], None] = print,
) -> list[pathlib.Path]:
    """Writes the programs, the mesh, and last of all the description of both.

    Args:
      directory: where `save_parameters` wrote the same generator.
      generator: of `rounded`.
      resolutions: sides of the pictures, pixels. Empty: that of training.
      batch: pictures that are drawn at once where there is an accelerator; a CPU draws them one
        by one. Any number of pictures may be asked for.
      platforms: what the programs can run on.
      report: called with one line of progress at a time.

    Returns:
      The paths written.

    Raises:
      DeployError: the directory cannot be written, or flatbuffers is not installed.

    >>> small = rounded(generator, "float16")
    >>> try:
    ...     files = save_parameters(folder, small, "float16")
    ...     files += save_programs(folder, small, [8], 1, ["cpu"], report=lambda line: None)
    ... except DeployError as error:
    ...     print(error)
    >>> print(sorted(file.name for file in files)[:3])
    ['config.json', 'exported.json', 'mesh.npz']
    >>> from gan3d.exported import load_exported
    >>> exported = load_exported(folder)  # on any machine that has jax
    >>> scene = exported.scene(exported.sample(jax.random.key(0), 1)[0])
    >>> picture = exported.render(scene, exported.camera(yaw=0.5))
    >>> print(picture.image.shape, exported.vertices(scene).shape)
    (8, 8, 3) (289, 3)
    >>> print(exported.views(jax.random.key(1), 3).yaw.shape)
    (3,)
    >>> print([path.name for path in exported.save_mesh(folder / "a.glb", scene)])
    ['a.glb']
    """
    directory = pathlib.Path(directory)
    stage = generator.parts.stage
    resolutions = list(dict.fromkeys(resolutions)) or [stage.resolution]
    topology = stage.topology
    manifest = {
        "format": FORMAT,
        "name": generator.name,
        "latent_size": latent_size(generator.parts),
        "resolutions": resolutions,
        "platforms": list(platforms),
        "batch": batch,
        "gan3d": gan3d.__version__,
        "jax": jax.__version__,
    }
    mesh = {"faces": topology.faces, "uvs": topology.uvs, "weld": topology.weld}
    written = []
    with _writing_in(directory):
        for name, program in _programs(generator, resolutions, batch, tuple(platforms)):
            data = _serialized(program)
            written.append(replace_bytes(directory / (name + PROGRAM_SUFFIX), data))
            report(f"{written[-1]} ({len(data) / 1e3:.0f} kB)")
        written.append(replace_arrays(directory / MESH_NAME, mesh))
        text = json.dumps(manifest, indent=2) + "\n"
        written.append(replace_text(directory / MANIFEST_NAME, text))
    return written


def _programs(
    generator: TrainedGenerator, resolutions: Sequence[int], batch: int, platforms: tuple[str, ...]
) -> Iterator[tuple[str, export.Exported]]:
    """Name and program, traced for a batch of any size N."""
    from jax import export

    (num,) = export.symbolic_shape("N")
    floats = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)  # noqa: E731
    write = lambda function, *shapes: export.export(  # noqa: E731
        jax.jit(function), platforms=platforms
    )(*shapes)
    parts = generator.parts
    structure = jax.tree.structure(generator.params)
    flat = flat_parameters(generator.params)
    shapes = {name: floats(*np.shape(array)) for name, array in flat.items()}
    shapes[MEAN_STYLE] = floats(*generator.mean_style.shape)
    nested = lambda parameters: structure.unflatten([parameters[name] for name in flat])  # noqa: E731

    def scene(parameters, z, truncation):
        params, mean = nested(parameters), parameters[MEAN_STYLE]

        def one(z):
            maps = scene_of(parts, params, styles_of(parts, params, mean, z, truncation))
            return (*maps, scene_vertices(maps.surface, parts.stage))

        return jax.vmap(one)(z)

    def views(parameters, quantiles):
        return tuple(place_views(parts, nested(parameters), quantiles))

    program = write(scene, shapes, floats(num, latent_size(parts)), floats())
    yield "scene", program
    yield "views", write(views, shapes, floats(2, num))
    maps = [floats(num, *aval.shape[1:]) for aval in program.out_avals[:3]]
    for resolution in resolutions:
        draw = _drawing(parts.stage.at_resolution(resolution), batch)
        yield f"render_{resolution}", write(draw, *maps, floats(num), floats(num))


def _drawing(stage: Stage, batch: int) -> Callable[..., tuple[Array, ...]]:
    """(surfaces, textures, backgrounds, yaws, pitches) -> (pictures, alphas, depths).

    The renderer must know how many scenes it has, and here their number is a symbol. So they are
    drawn in blocks, on CPU one by one, as the renderer does there anyway.
    """

    def one(surface, texture, background, yaw, pitch):
        picture = render_scene(Scene(surface, texture, background), View(yaw, pitch), stage)
        return picture.image, picture.alpha, picture.depth

    one_by_one = lambda *arrays: jax.lax.map(lambda scene: one(*scene), arrays)  # noqa: E731
    if batch == 1:
        return one_by_one
    return lambda *arrays: jax.lax.platform_dependent(
        *arrays, cpu=one_by_one, default=in_blocks(one, batch)
    )


def in_blocks(
    function: Callable[..., tuple[Array, ...]], size: int
) -> Callable[..., tuple[Array, ...]]:
    """`function` of one example, for a batch of any size: `vmap` over blocks, one after another.

    The last block is filled up with copies of the last example.
    """

    def blockwise(*arrays):
        num = arrays[0].shape[0]
        blocks = (num + size - 1) // size
        index = jnp.minimum(jnp.arange(blocks * size), num - 1)
        split = [a[index].reshape(blocks, size, *a.shape[1:]) for a in arrays]
        results = jax.lax.map(lambda block: jax.vmap(function)(*block), split)
        return tuple(a.reshape(blocks * size, *a.shape[2:])[:num] for a in results)

    return blockwise


def _serialized(program: export.Exported) -> bytes:
    try:
        return bytes(program.serialize())
    except ImportError as error:
        raise DeployError(
            "writing programs needs flatbuffers: pip install 'gan3d[export]'"
        ) from error


@contextlib.contextmanager
def _writing_in(directory: pathlib.Path) -> Iterator[None]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise DeployError(f"cannot write in {directory}: {error.strerror or error}") from error
