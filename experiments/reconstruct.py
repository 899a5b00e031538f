"""From photographs to textured meshes, with a trained generator: which scene is in the picture?

    python -m experiments.reconstruct --run=runs/demo --images=photograph.jpg
    python -m experiments.reconstruct --run=runs/mine --images=folder --encoder=none

Writes into RUN/reconstructions, or --out: sheet.png (input | reconstruction | normals | from
elsewhere), edits.png (paint and shapes swapped, in other light, turned), a mesh per picture,
reconstructions.json (viewpoint in degrees, PSNR in dB), and reconstructions.npz (styles and scenes,
for gan3d.editing). Pictures are cropped to their middle square. An encoder in the run (`python -m
experiments.train_encoder`) gives a better start and saves time; --noinvert keeps its answers as
they are.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from experiments import flags as experiment_flags
from experiments.field_flags import define_field_flags, fields_from_flags
from experiments.flags import UsageError
from experiments.train_encoder import ENCODER_NAME
from gan3d.data.decode import decode_image, why_unreadable
from gan3d.data.folder import image_files
from gan3d.export import MissingTrimeshError
from gan3d.inversion import (
    Encoder,
    EncoderError,
    Inversion,
    InversionConfig,
    invert,
    load_encoder,
)
from gan3d.reconstruction_sheets import editing_sheet, reconstruction_sheet
from gan3d.sheets import picture_of
from gan3d.trained import TrainedGenerator, load
from gan3d.training.directory import replace_arrays, replace_text
from gan3d.training.run import RunError
from gan3d.visualize import save_png

MESH_FORMATS = ("glb", "obj")
MAX_RESOLUTION = 1024


class ImagesError(Exception):
    """There is no picture, in one line meant for the person who named it."""


class Pictures(NamedTuple):
    """Pictures by name."""

    names: list[str]
    images: np.ndarray


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    define = lambda kind, *args: kind(*args, flag_values=values)  # noqa: E731
    define(flags.DEFINE_string, "run", "runs/demo", "directory of the training run")
    define(flags.DEFINE_string, "images", None, "a picture, or a folder of pictures")
    define(flags.DEFINE_string, "out", None, "output directory; default RUN/reconstructions")
    define(
        flags.DEFINE_string, "encoder", None,
        "file of an encoder; none = start from several viewpoints; default RUN/encoder.npz",
    )  # fmt: skip
    define(flags.DEFINE_boolean, "invert", True, "whether to descend from the encoder's answers")
    define(
        flags.DEFINE_integer, "resolution", None,
        "pixels at which pictures are compared; default as in training", 8, MAX_RESOLUTION,
    )  # fmt: skip
    define(flags.DEFINE_enum, "mesh", "glb", [*MESH_FORMATS, "none"], "file format of the meshes")
    define(flags.DEFINE_integer, "rows", 16, "pictures on the sheet, at most", 1)
    define_field_flags(values, InversionConfig)
    return values


def read_pictures(path: str | pathlib.Path, resolution: int, report=print) -> Pictures:
    """A picture, or all pictures below a folder that can be read.

    Raises:
      ImagesError: there is nothing, or nothing that can be read.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        files = [(name, path / name) for name, *_ in image_files(path)]
    elif path.exists():
        files = [(path.name, path)]
    else:
        raise ImagesError(f"--images must name a picture or a folder of them, got {str(path)!r}")
    names, images, refused = [], [], []
    for name, file in files:
        try:
            images.append(decode_image(file, resolution))
            names.append(name)
        except Exception as error:  # Pillow raises whatever it meets
            refused.append(f"{name}: {why_unreadable(error, file)}")
    if not images:
        reason = refused[0] if refused else "there are no image files"
        raise ImagesError(f"--images={path} holds no picture that can be read: {reason}")
    for line in refused:
        report(f"skipped {line}")
    return Pictures(names, np.stack(images))


def find_encoder(
    generator: TrainedGenerator, run_dir: str | pathlib.Path, name: str | None
) -> Encoder | None:
    """The encoder that a flag names, or the run's own if it has one.

    Raises:
      EncoderError: it cannot be used, or is another generator's.
    """
    if name == "none":
        return None
    path = pathlib.Path(name) if name else pathlib.Path(run_dir) / ENCODER_NAME
    if name is None and not path.exists():
        return None
    encoder = load_encoder(path)
    try:
        encoder.check(generator)
    except ValueError as error:
        raise EncoderError(f"{path}: {error}") from error
    return encoder


def reconstruct(
    generator: TrainedGenerator,
    pictures: Pictures,
    encoder: Encoder | None,
    config: InversionConfig,
    out: pathlib.Path,
    mesh: str = "glb",
    rows: int = 16,
    report: Callable[[str], None] = print,
) -> Inversion:
    """Reconstructs, and writes what the program's help says.

    Args:
      generator: whose scenes they will be.
      pictures: to reconstruct.
      encoder: where to start, or None.
      config: of the descent.
      out: folder to write to.
      mesh: "glb", "obj" or "none".
      rows: of the sheet, at most.
      report: called with a line of progress now and then.

    Returns:
      What was found, as numpy arrays.
    """
    out.mkdir(parents=True, exist_ok=True)
    began, parts, lines = time.perf_counter(), [], []
    if encoder is None:
        report(
            "no encoder: starting from several viewpoints (experiments.train_encoder trains one)"
        )
    for found in _blocks(generator, pictures.images, encoder, config, report):
        parts.append(found)
        for i in range(len(found.psnr)):
            lines.append(_measured(pictures.names[len(lines)], found, i))
            if mesh != "none":
                path = out / f"{len(lines) - 1:03d}_{pathlib.Path(lines[-1]['name']).stem}.{mesh}"
                generator.save_mesh(path, jax.tree.map(lambda a, i=i: a[i], found.scene))
            report(_sentence(lines[-1]))
        # Block by block: an interruption leaves the meshes and numbers there are.
        summary = {"seconds": round(time.perf_counter() - began, 1), "pictures": lines}
        replace_text(out / "reconstructions.json", json.dumps(summary, indent=2) + "\n")
    found = jax.tree.map(lambda *a: np.concatenate(a), *parts)
    save_scenes(out / "reconstructions.npz", pictures.names, found)
    shown = jax.tree.map(lambda a: a[:rows], found)
    sheet = reconstruction_sheet(generator, pictures.images[:rows], shown)
    save_png(out / "sheet.png", picture_of(sheet))
    if len(lines) > 1:
        edits = editing_sheet(generator, shown.scene, shown.view)
        save_png(out / "edits.png", picture_of(edits))
    report(f"{len(lines)} pictures in {summary['seconds']:.0f} s: {out / 'sheet.png'}")
    return found


def _blocks(generator, images, encoder, config: InversionConfig, report) -> Iterator[Inversion]:
    """Inversions of `config.batch` pictures each, as numpy arrays."""
    size = min(config.batch, len(images))
    for first in range(0, len(images), size):
        # A short last block is filled up: another size would be another program.
        some = np.minimum(np.arange(first, first + size), len(images) - 1)
        found = jax.device_get(invert(generator, images[some], encoder, config, report))
        num = min(size, len(images) - first)
        yield jax.tree.map(lambda a, num=num: a[:num], found)


def save_scenes(path: pathlib.Path, names: Sequence[str], found: Inversion) -> None:
    """Writes names, styles, views and scenes as arrays."""
    arrays = {"name": np.array(names), "levels": found.styles.levels}
    arrays |= {"background_latent": found.styles.background}
    arrays |= found.view._asdict() | found.scene._asdict()
    replace_arrays(path, arrays)


def _measured(name: str, found: Inversion, i: int) -> dict[str, Any]:
    return {
        "name": name,
        "yaw_degrees": round(math.degrees(found.view.yaw[i]), 2),
        "pitch_degrees": round(math.degrees(found.view.pitch[i]), 2),
        "psnr": round(float(found.psnr[i]), 2),
    }


def _sentence(line: dict[str, Any]) -> str:
    where = f"yaw {line['yaw_degrees']:.0f}, pitch {line['pitch_degrees']:.0f} degrees"
    return f"{line['name']}: {where}, PSNR {line['psnr']:.1f} dB"


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    values = _define_flags()
    experiment_flags.parse(values, argv, __doc__)
    experiment_flags.check_output("out", values.out, folder=True)
    if not values.images:
        raise UsageError("--images must name a picture or a folder of them")
    out = pathlib.Path(values.out or pathlib.Path(values.run) / "reconstructions")
    config = fields_from_flags(values, InversionConfig)
    if not values.invert:
        config = dataclasses.replace(config, style_steps=0, detail_steps=0)
    try:
        generator = load(values.run)
        encoder = find_encoder(generator, values.run, values.encoder)
        if encoder is None and not values.invert:
            raise EncoderError("--noinvert needs an encoder: python -m experiments.train_encoder")
        resolution = values.resolution or generator.parts.stage.resolution
        pictures = read_pictures(values.images, resolution)
        reconstruct(generator, pictures, encoder, config, out, values.mesh, values.rows)
    except (RunError, EncoderError, ImagesError, MissingTrimeshError, ValueError) as error:
        raise UsageError(str(error)) from error
    return 0


if __name__ == "__main__":
    sys.exit(experiment_flags.run(main, sys.argv))
