"""Films of a trained run: a turntable of several samples, or a walk through the latent space.

    python -m experiments.video --run=runs/demo                    # a turntable of four samples
    python -m experiments.video --run=runs/demo --kind=walk --num=6 --seconds=12
    python -m experiments.video --run=runs/demo --num=1 --normals --resolution=512 --out=head.gif

Both are loops. MP4 needs imageio-ffmpeg (pip install 'gan3d[video]'), which brings its encoder
along; without it the film becomes a GIF. What the camera saw in training ends at the viewpoints of
p_v: a full turn shows the rest too, --swing_degrees=90 does not.
"""

from __future__ import annotations

import functools
import math
import pathlib
import sys
from collections.abc import Callable, Sequence

from absl import flags

from experiments import flags as experiment_flags
from experiments.flags import UsageError
from gan3d.data.progress import with_progress
from gan3d.sheets import draw_latents
from gan3d.trained import load
from gan3d.training.run import RunError
from gan3d.videos import (
    SUFFIXES,
    MissingEncoderError,
    can_write_mp4,
    latent_walk,
    save_video,
    turntable,
)

# Samples, side of a picture in pixels and swing of the camera, unless the flags say otherwise.
NUMBERS = {"turntable": 4, "walk": 6}
RESOLUTIONS = {"turntable": 256, "walk": 512}
SWING_DEGREES = {"turntable": None, "walk": 30.0}  # None = all the way round
MOST_FRAMES = 10_000


def video(
    run: str | pathlib.Path,
    kind: str = "turntable",
    *,
    seed: int = 0,
    num: int | None = None,
    resolution: int | None = None,
    num_frames: int = 150,
    fps: float = 25,
    swing_degrees: float | None = None,
    pitch_degrees: float = 8.0,
    truncation: float = 1.0,
    normals: bool = False,
    background: bool = True,
    out: str | pathlib.Path | None = None,
    report: Callable[[str], None] = print,
) -> pathlib.Path:
    """Draws and writes a film, and returns its path.

    Args:
      run: directory of the run.
      kind: "turntable" or "walk".
      seed: of the latents, the same that `experiments.sample` draws.
      num: samples in the turntable's grid, or latents on the walk; None = `NUMBERS`.
      resolution: side of one sample's picture, pixels; None = `RESOLUTIONS`.
      num_frames: in the loop.
      fps: frames per second.
      swing_degrees: yaw swings within plus or minus this; None = `SWING_DEGREES`.
      pitch_degrees: pitch sways within plus or minus this.
      truncation: psi.
      normals: whether to show normals beside every picture.
      background: whether a walk shows the generated backgrounds.
      out: .mp4 or .gif; None = `videos/KIND` in the run, MP4 if that can be written.
      report: called with a line at a time.

    Raises:
      RunError: the run cannot be used.
      ValueError: an argument is out of range, or `out` ends with another suffix.
      MissingEncoderError: MP4 is asked for, and imageio-ffmpeg is not installed.
    """
    path = _path(run, kind, out, report)
    generator = load(run)
    swing = SWING_DEGREES[kind] if swing_degrees is None else swing_degrees
    options = {
        "swing": None if swing is None else math.radians(swing),
        "pitch_sway": math.radians(pitch_degrees),
        "truncation": truncation,
        "normals": normals,
    }
    resolution = RESOLUTIONS[kind] if resolution is None else resolution
    z, _ = draw_latents(generator, seed, NUMBERS[kind] if num is None else num)
    if kind == "turntable":
        frames = turntable(generator, z, num_frames, resolution, **options)
    else:
        options["background"] = background
        frames = latent_walk(generator, z, num_frames, resolution, **options)
    report(f"{run}: {generator.images_seen:,} images seen; {num_frames} frames of a {kind}")
    save_video(path, with_progress(frames, num_frames, "drew {} frames"), fps)
    report(str(path))
    return path


def _path(run, kind, out, report) -> pathlib.Path:
    if out is not None:
        path = pathlib.Path(out)
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"out must end with {' or '.join(SUFFIXES)}, got {str(out)!r}")
        if path.suffix.lower() == ".mp4" and not can_write_mp4():
            raise MissingEncoderError
        return path
    suffix = ".mp4" if can_write_mp4() else ".gif"
    if suffix == ".gif":
        report(f"writing a GIF: {MissingEncoderError()}")
    return pathlib.Path(run) / "videos" / f"{kind}{suffix}"


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("run", "runs/demo", "directory of the training run", flag_values=values)
    flags.DEFINE_enum("kind", "turntable", list(NUMBERS), "which film", flag_values=values)
    text = "film: .mp4 or .gif; default RUN/videos/KIND"
    flags.DEFINE_string("out", None, text, flag_values=values)
    whole = functools.partial(flags.DEFINE_integer, flag_values=values)
    number = functools.partial(flags.DEFINE_float, flag_values=values)
    whole("seed", 0, "seed of the latents", lower_bound=0)
    numbers = ", ".join(f"{kind} {num}" for kind, num in NUMBERS.items())
    text = f"samples in the turntable's grid, or latents on the walk; default: {numbers}"
    whole("num", None, text, lower_bound=1, upper_bound=64)
    sizes = ", ".join(f"{kind} {size}" for kind, size in RESOLUTIONS.items())
    text = f"pixels of one sample's picture, a grid is as many times larger; default: {sizes}"
    whole("resolution", None, text, lower_bound=8, upper_bound=2048)
    number("seconds", 6.0, "length of the loop", lower_bound=0.1, upper_bound=600.0)
    number("fps", 25.0, "frames per second; GIFs take 25 or 50", lower_bound=1.0, upper_bound=60.0)
    text = "yaw swings within +-this; default: turntable goes all the way round, walk 30"
    number("swing_degrees", None, text, lower_bound=0.0, upper_bound=180.0)
    text = "pitch sways within +-this, 0 = level"
    number("pitch_degrees", 8.0, text, lower_bound=0.0, upper_bound=45.0)
    text = "psi: how far objects lie from the mean one, 1 = as drawn, 0 = the mean"
    number("truncation", 1.0, text, lower_bound=0.0, upper_bound=2.0)
    truth = functools.partial(flags.DEFINE_boolean, flag_values=values)
    truth("normals", False, "normals beside every picture")
    text = "walk: generated backgrounds, not white; a turntable is always over white"
    truth("background", True, text)
    return values


def _num_frames(values: flags.FlagValues) -> int:
    num = max(1, round(values.seconds * values.fps))
    if num > MOST_FRAMES:
        raise UsageError(f"--seconds times --fps must be at most {MOST_FRAMES} frames, got {num}")
    return num


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    values = _define_flags()
    experiment_flags.parse(values, argv, __doc__)
    numbers = ("seconds", "fps", "swing_degrees", "pitch_degrees", "truncation")
    experiment_flags.require_finite(values, *numbers)
    experiment_flags.check_output("out", values.out)
    names = (
        "seed", "num", "resolution", "fps", "swing_degrees", "pitch_degrees", "truncation",
        "normals", "background", "out",
    )  # fmt: skip
    options = {name: values[name].value for name in names}
    try:
        video(values.run, values.kind, num_frames=_num_frames(values), **options)
    except (RunError, MissingEncoderError, ValueError) as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"cannot write the film: {error}") from error
    return 0


if __name__ == "__main__":
    sys.exit(experiment_flags.run(main, sys.argv))
