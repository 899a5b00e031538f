"""Trains an encoder for a trained generator: from a picture to shape, texture and viewpoint.

    python -m experiments.train_encoder --run=runs/demo
    python -m experiments.train_encoder --run=runs/mine --data=folder:photographs

First on samples of the generator, whose shapes and viewpoints are known, then on true pictures, by
default those that the generator was trained on (--data=none: samples alone). Writes encoder.npz
into the run, or --out, and its checkpoints into encoder/ there; stopped, the same command goes on.
Then:

    python -m experiments.reconstruct --run=runs/demo --images=photographs
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from absl import flags

from experiments import flags as experiment_flags
from experiments.field_flags import define_field_flags, fields_from_flags
from experiments.flags import UsageError
from gan3d.inversion import EncoderConfig, save_encoder, train_encoder
from gan3d.trained import TrainedGenerator, load
from gan3d.training.checkpoint import CheckpointError
from gan3d.training.directory import WriteError, replace_text
from gan3d.training.interruption import Interrupted
from gan3d.training.loop import open_training_source
from gan3d.training.run import RunError

if TYPE_CHECKING:
    from gan3d.data.sources import ImageSource

ENCODER_NAME = "encoder.npz"
STATE_FOLDER = "encoder"
SETTINGS_NAME = "settings.json"


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    define = lambda *args: flags.DEFINE_string(*args, flag_values=values)  # noqa: E731
    define("run", "runs/demo", "directory of the training run")
    define("data", None, "true pictures, as in training; none = none; default those of the run")
    define("out", None, "output directory; default the run")
    text = "type of the parameters in encoder.npz"
    flags.DEFINE_enum("dtype", "float32", ["float32", "float16"], text, flag_values=values)
    define_field_flags(values, EncoderConfig, skip=("mirror",))
    return values


def run(
    run_dir: str | pathlib.Path,
    data: str | None,
    config: EncoderConfig,
    out: pathlib.Path,
    dtype: str = "float32",
    report: Callable[[str], None] = print,
) -> pathlib.Path:
    """Trains, and writes encoder.npz; returns its path.

    Args:
      run_dir: of the generator.
      data: true pictures; None = those of the run, "none" = none.
      config: how to train; pictures are mirrored where the run's were.
      out: folder to write to.
      dtype: of the parameters in the file, "float32" or "float16".
      report: called with a line of progress now and then.

    Raises:
      RunError: the run or the pictures cannot be used, or `out` holds another training.
      Interrupted: the training was asked to stop, and has saved its state.
    """
    generator = load(run_dir)
    config = dataclasses.replace(config, mirror=generator.parts.config.mirror)
    source = _open(generator, data)
    name = "samples alone" if source is None else f"samples and {source.name}"
    state = out / STATE_FOLDER
    _settle(state, {"data": data, **dataclasses.asdict(config)})
    report(f"training the encoder of {generator!r} on {name}, in {out}")
    began = time.perf_counter()
    timed = lambda line: report(f"{line} | {time.perf_counter() - began:.0f} s")  # noqa: E731
    encoder = train_encoder(generator, source, config, state / "checkpoints", timed)
    path = save_encoder(out / ENCODER_NAME, encoder, dtype)
    report(str(path))
    return path


def _open(generator: TrainedGenerator, data: str | None) -> ImageSource | None:
    if data == "none":
        return None
    config = generator.parts.config
    config = config if data is None else dataclasses.replace(config, data=data)
    try:
        return open_training_source(config)
    except (ValueError, OSError) as error:
        hint = "" if data else "; --data names others, --data=none does without"
        raise RunError(f"the pictures {config.data} cannot be opened: {error}{hint}") from error


def _settle(folder: pathlib.Path, settings: dict) -> None:
    """Writes down how the encoder is trained, or finds that it is trained otherwise here."""
    path, text = folder / SETTINGS_NAME, json.dumps(settings, indent=2) + "\n"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        replace_text(path, text)
    elif path.read_text() != text:
        raise RunError(
            f"{folder} holds an encoder with other settings, see {path}: give these to go on, "
            "or another --out"
        )


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    values = _define_flags()
    experiment_flags.parse(values, argv, __doc__)
    experiment_flags.check_output("out", values.out, folder=True)
    experiment_flags.require_finite(values, "learning_rate", "real_weight")
    config = fields_from_flags(values, EncoderConfig, skip=("mirror",))
    out = pathlib.Path(values.out or values.run)
    try:
        run(values.run, values.data, config, out, values.dtype)
    except (RunError, CheckpointError, ValueError) as error:
        raise UsageError(str(error)) from error
    except WriteError as error:
        print(f"error: {error}", file=sys.stderr)
        return experiment_flags.EXIT_FAILURE
    except Interrupted as stop:
        print(f"{stop}; the same command goes on", file=sys.stderr)
        return 128 + stop.signal_number
    return 0


if __name__ == "__main__":
    sys.exit(experiment_flags.run(main, sys.argv))
