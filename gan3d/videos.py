"""Films of a trained run: turntables and walks through the latent space, as frames and as files.

    frames = turntable(generator, generator.sample(jax.random.key(0), 4), 150, resolution=256)
    save_video("turntable.mp4", frames, fps=25)          # or .gif

Both are loops: the frame after the last one is the first. Frames are drawn when they are asked for.
"""

from __future__ import annotations

import itertools
import math
import os
import pathlib
import subprocess
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from gan3d.latent_paths import closed_path
from gan3d.pictures import Picture, Shot, pictures, plain, scenes_of
from gan3d.scene import View
from gan3d.trained import TrainedGenerator

if TYPE_CHECKING:
    from jaxtyping import Array, Float, UInt8

__all__ = ["MissingEncoderError", "latent_walk", "save_video", "turntable"]

SUFFIXES = (".mp4", ".gif")
QUALITY = "18"  # constant rate factor of H.264: looks lossless


class MissingEncoderError(Exception):
    """MP4 files need imageio-ffmpeg, which is not installed."""

    def __init__(self):
        super().__init__("MP4 files need imageio-ffmpeg: pip install 'gan3d[video]'")


def turntable(
    generator: TrainedGenerator,
    z: Float[Array, "N Z"],
    num_frames: int,
    resolution: int = 256,
    *,
    swing: float | None = None,
    pitch_sway: float = math.radians(8),
    truncation: float = 1.0,
    normals: bool = False,
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """The camera goes round objects over white, once; several objects in a grid.

    Over white, because a background pans with the camera only as far as viewpoints were trained.

    Args:
      generator: G.
      z: latents, one object each.
      num_frames: of one round.
      resolution: side of one object's picture, pixels.
      swing: None = all the way round; otherwise yaw swings to and fro within plus or minus this,
        radians.
      pitch_sway: pitch sways within plus or minus this, radians; 0 = level.
      truncation: psi, see `TrainedGenerator.styles`.
      normals: whether to show normals beside every picture.

    Raises:
      ValueError: num_frames is not positive.

    >>> z = generator.sample(jax.random.key(0), 2)
    >>> frames = turntable(generator, z, num_frames=2, resolution=8, normals=True)
    >>> print([frame.shape for frame in frames])  # two objects side by side, each with its normals
    [(8, 32, 3), (8, 32, 3)]
    """
    _check_frames(num_frames)
    scenes = [plain(s) for s in scenes_of(generator, generator.styles(z, truncation))]
    views = camera_loop(num_frames, swing, pitch_sway)
    shots = (Shot(scene, view) for view in views for scene in scenes)
    return _grids(pictures(generator, shots, resolution, normals), len(scenes))


def latent_walk(
    generator: TrainedGenerator,
    z: Float[Array, "N Z"],
    num_frames: int,
    resolution: int = 256,
    *,
    swing: float | None = math.radians(30),
    pitch_sway: float = math.radians(5),
    truncation: float = 1.0,
    normals: bool = False,
    background: bool = True,
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """One object turns into the next on a smooth closed path through all latents.

    Args:
      generator: G.
      z: latents on the path, two or more; see `gan3d.latent_paths.closed_path`.
      num_frames: of the whole path, at least as many as latents.
      resolution: side of the picture, pixels.
      swing: as of `turntable`; the camera swings once, or goes round once.
      pitch_sway: as of `turntable`.
      truncation: psi, see `TrainedGenerator.styles`.
      normals: whether to show normals beside the picture.
      background: whether to show the generated backgrounds, or white.

    Raises:
      ValueError: fewer than two latents, or fewer frames than latents.

    >>> z = generator.sample(jax.random.key(0), 2)
    >>> frames = latent_walk(generator, z, num_frames=3, resolution=8, normals=True)
    >>> print([frame.shape for frame in frames])
    [(8, 16, 3), (8, 16, 3), (8, 16, 3)]
    """
    path = closed_path(generator.styles(z, truncation), num_frames)
    scenes = scenes_of(generator, path)
    if not background:
        scenes = map(plain, scenes)
    views = camera_loop(num_frames, swing, pitch_sway)
    shots = (Shot(scene, view) for scene, view in zip(scenes, views, strict=True))
    return _grids(pictures(generator, shots, resolution, normals), 1)


def camera_loop(num_frames: int, swing: float | None, pitch_sway: float) -> list[View]:
    """Views of a camera that ends where it starts: in front, level, moving to larger yaw."""
    turns = np.arange(num_frames) / num_frames * 2 * np.pi
    yaws = turns if swing is None else swing * np.sin(turns)
    pitches = pitch_sway * np.sin(turns)
    pairs = zip(yaws, pitches, strict=True)
    return [View(np.float32(yaw), np.float32(pitch)) for yaw, pitch in pairs]


def save_video(
    path: str | os.PathLike[str], frames: Iterable[UInt8[np.ndarray, "H W 3"]], fps: float
) -> None:
    """Writes frames as MP4 (H.264) or GIF, by the suffix; a GIF repeats for ever.

    Frames are taken one at a time. A reader sees either the old file or the whole new one. H.264
    needs even sides: an odd one is repeated at its edge. A GIF has 256 colours per frame, and times
    in hundredths of a second: 25 and 50 frames per second are exact.

    Raises:
      ValueError: another suffix, no frame, or fps not positive.
      MissingEncoderError: MP4 without imageio-ffmpeg.
      OSError: the file cannot be written.

    >>> frames = [np.full((8, 8, 3), level, np.uint8) for level in (0, 100, 200)]
    >>> try:
    ...     save_video(folder / "film.mp4", frames, fps=25)
    ... except MissingEncoderError:
    ...     save_video(folder / "film.gif", frames, fps=25)
    >>> print([path.name for path in folder.iterdir()])
    ['film...']
    """
    path = pathlib.Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"path must end with {' or '.join(SUFFIXES)}, got {str(path)!r}")
    if fps <= 0:
        raise ValueError(f"fps must be positive, got {fps}")
    write = {".mp4": _write_mp4, ".gif": _write_gif}[suffix]
    if suffix == ".mp4" and not can_write_mp4():
        raise MissingEncoderError
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError("frames must be at least one, got none")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}{suffix}")
    try:
        write(unfinished, itertools.chain([first], frames), fps)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def can_write_mp4() -> bool:
    """Whether imageio-ffmpeg is installed; its wheels bring the encoder along."""
    try:
        import imageio_ffmpeg  # noqa: F401
    except ImportError:
        return False
    return True


def _write_mp4(path: pathlib.Path, frames: Iterator[np.ndarray], fps: float) -> None:
    import imageio_ffmpeg

    first = _even(next(frames))
    height, width = first.shape[:2]
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-",
        "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", QUALITY, "-movflags", "+faststart",
        str(path),
    ]  # fmt: skip
    # imageio-ffmpeg's own writer forks by hand, which must not be done beside jax's threads. In a
    # group of its own the encoder outlives Ctrl-C long enough to be told that the film is over.
    encoder = subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0
    )
    try:
        for frame in itertools.chain([first], map(_even, frames)):
            encoder.stdin.write(np.ascontiguousarray(frame))
    except BrokenPipeError:
        pass  # the encoder has ended, and says why
    except BaseException:
        encoder.kill()
        raise
    finally:
        _, message = encoder.communicate()
    if encoder.returncode:
        raise OSError(message.decode(errors="replace").strip() or "the encoder failed")


def _write_gif(path: pathlib.Path, frames: Iterator[np.ndarray], fps: float) -> None:
    # Paletted before Pillow collects them: a third of the memory.
    paletted = map(_paletted, frames)
    first = next(paletted)
    first.save(path, save_all=True, append_images=paletted, duration=1000 / fps, loop=0)


def _paletted(frame: np.ndarray) -> Image.Image:
    """In the 256 colours that suit it best; dithered, because smooth shades would show bands."""
    image = Image.fromarray(frame)
    return image.quantize(palette=image.quantize(), dither=Image.Dither.FLOYDSTEINBERG)


def _even(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _grids(drawn: Iterator[Picture], num: int) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Frames of `num` pictures each, as square as they go; empty cells are white."""
    columns = math.ceil(math.sqrt(num))
    while cells := [_cell(picture) for picture in itertools.islice(drawn, num)]:
        cells += [np.full_like(cells[0], 255)] * (-num % columns)
        rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
        yield np.concatenate([np.concatenate(row, axis=1) for row in rows])


def _cell(picture: Picture) -> np.ndarray:
    if picture.normals is None:
        return picture.image
    return np.concatenate([picture.image, picture.normals], axis=1)


def _check_frames(num_frames: int) -> None:
    if num_frames < 1:
        raise ValueError(f"num_frames must be at least 1, got {num_frames}")
