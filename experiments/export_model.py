"""Writes a trained generator for use elsewhere, without its training and without its networks.

    python -m experiments.export_model --run=runs/demo --out=heads

The directory then holds the run's config.json; the averaged parameters (no pickle); programs of
jax.export that make scenes from latents and draw them, on CPU, CUDA and TPU; and the mesh.
`gan3d.exported.load_exported` runs the programs with jax, numpy and flatbuffers alone, and says how
long they last; `gan3d.load` opens the parameters, for which --noprograms suffices. The programs are
opened again, and a picture compared. Needs pip install 'gan3d[export]'.
"""

from __future__ import annotations

import pathlib
import sys
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np
from absl import flags

from experiments import flags as experiment_flags
from experiments.flags import UsageError
from gan3d.deploy import (
    DTYPES,
    PLATFORMS,
    DeployError,
    rounded,
    save_parameters,
    save_programs,
)
from gan3d.exported import ExportedGenerator, load_exported
from gan3d.trained import TrainedGenerator, load
from gan3d.training.run import RunError

MAX_RESOLUTION = 2048
# Mean difference of a picture. Other programs round differently; a wrong one is off by tenths.
TOLERANCE = 1e-3


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    define = lambda kind, *args, **kwargs: kind(*args, flag_values=values, **kwargs)  # noqa: E731
    define(flags.DEFINE_string, "run", "runs/demo", "training run, or an export to write anew")
    define(flags.DEFINE_string, "out", None, "output directory; default RUN/exported")
    text = "precision of the stored parameters; float16 halves the file"
    define(flags.DEFINE_enum, "dtype", "float32", list(DTYPES), text)
    text = "sides of the pictures, pixels, with commas between; default as in training"
    define(flags.DEFINE_list, "resolutions", [], text)
    text = "pictures drawn at once on an accelerator; any number may be asked for"
    define(flags.DEFINE_integer, "batch", 8, text, lower_bound=1)
    text = f"what the programs run on, of {','.join(PLATFORMS)}; default all of them"
    define(flags.DEFINE_list, "platforms", list(PLATFORMS), text)
    text = "write programs too; --noprograms writes config.json and the parameters alone"
    define(flags.DEFINE_boolean, "programs", True, text)
    return values


def export_model(
    run_dir: str | pathlib.Path,
    out: str | pathlib.Path | None = None,
    dtype: str = "float32",
    resolutions: Sequence[int] = (),
    batch: int = 8,
    platforms: Sequence[str] = PLATFORMS,
    programs: bool = True,
    report: Callable[[str], None] = print,
) -> pathlib.Path:
    """Exports a run, opens what was written, and compares.

    Args:
      run_dir: directory of the run.
      out: output directory. None: `exported` in the run.
      dtype: of the stored parameters.
      resolutions: as for `save_programs`.
      batch: as for `save_programs`.
      platforms: as for `save_programs`.
      programs: whether programs are written too.
      report: called with one line of progress at a time.

    Returns:
      The output directory.

    Raises:
      RunError: the run cannot be used.
      DeployError: the export cannot be written.
      RuntimeError: what was written draws another picture.
    """
    run_dir = pathlib.Path(run_dir)
    out = pathlib.Path(out) if out is not None else run_dir / "exported"
    started = time.perf_counter()
    generator = rounded(load(run_dir), dtype)
    report(f"{run_dir}: {generator.images_seen:,} images seen; exporting to {out}")
    for path in save_parameters(out, generator, dtype):
        report(f"{path} ({path.stat().st_size / 1e3:.0f} kB)")
    if programs:
        save_programs(out, generator, resolutions, batch, platforms, report)
        if _here() in platforms:
            compare(generator, load_exported(out), report)
    report(f"done in {time.perf_counter() - started:.0f} s")
    return out


def _here() -> str:
    """The platform that this process computes on, as `jax.export` calls it."""
    return {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())


def compare(
    generator: TrainedGenerator, exported: ExportedGenerator, report: Callable[[str], None]
) -> None:
    """Draws one picture with each.

    Raises:
      RuntimeError: they differ by more than rounding.
    """
    z = generator.sample(jax.random.key(0), 1)[0]
    right, actual = (
        np.asarray(of.render(of.scene(z), of.camera(0.5, 0.1), exported.resolutions[0]).image)
        for of in (generator, exported)
    )
    difference = np.abs(right - actual)
    if not difference.mean() < TOLERANCE:
        raise RuntimeError(
            "the programs draw another picture than the generator: mean difference "
            f"{difference.mean():.2g}, largest {difference.max():.2g}"
        )
    report(
        f"opened again: a picture differs from the generator's by at most {difference.max():.1g}"
    )


def _resolutions(texts: Sequence[str]) -> list[int]:
    for text in texts:
        if not text.isdecimal() or not 8 <= int(text) <= MAX_RESOLUTION:
            raise UsageError(
                f"--resolutions must be numbers from 8 to {MAX_RESOLUTION}, got {text!r}"
            )
    return [int(text) for text in texts]


def _platforms(names: Sequence[str]) -> list[str]:
    unknown = [name for name in names if name not in PLATFORMS]
    if unknown or not names:
        raise UsageError(f"--platforms must be of {','.join(PLATFORMS)}, got {','.join(names)!r}")
    return list(dict.fromkeys(names))


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    flag_values = _define_flags()
    experiment_flags.parse(flag_values, argv, __doc__)
    experiment_flags.check_output("out", flag_values.out, folder=True)
    try:
        export_model(
            flag_values.run,
            flag_values.out,
            flag_values.dtype,
            _resolutions(flag_values.resolutions),
            flag_values.batch,
            _platforms(flag_values.platforms),
            flag_values.programs,
        )
    except (RunError, DeployError) as error:
        raise UsageError(str(error)) from error
    return 0


if __name__ == "__main__":
    sys.exit(experiment_flags.run(main, sys.argv))
