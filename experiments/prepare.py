"""Writes a TensorFlow dataset to train on, without TensorFlow; stopped, the same command continues.

  python -m experiments.prepare --dataset=ffhq --source=thumbnails128x128.zip
  python -m experiments.prepare --dataset=heads --num_heads=16384 --resolution=128 --seed=0

FFHQ's thumbnails (2 GB): https://github.com/NVlabs/ffhq-dataset; the zip need not be unpacked.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from absl import flags

from experiments import flags as experiment_flags
from experiments.flags import UsageError

_FFHQ_FLAGS = ("source", "num_images")
_HEADS_FLAGS = (
    "num_heads",
    "resolution",
    "seed",
    "yaw_degrees",
    "pitch_degrees",
    "fov_degrees",
    "view_prior",
)


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    define = lambda kind, *args: kind(*args, flag_values=values)  # noqa: E731
    define(flags.DEFINE_enum, "dataset", None, ["ffhq", "heads"], "what to write")
    define(
        flags.DEFINE_string,
        "data_dir",
        None,
        "where datasets are; default $TFDS_DATA_DIR, or else ~/tensorflow_datasets",
    )
    define(flags.DEFINE_string, "source", None, "ffhq: thumbnails128x128.zip, or it unpacked")
    define(flags.DEFINE_integer, "num_images", None, "ffhq: only so many, for a trial")
    define(flags.DEFINE_integer, "num_heads", None, "heads: how many (16384)")
    define(flags.DEFINE_integer, "resolution", None, "heads: height and width in pixels (128)")
    define(flags.DEFINE_integer, "seed", None, "heads: which family (0)")
    define(flags.DEFINE_float, "yaw_degrees", None, "heads: yaw within +-this (90)")
    define(flags.DEFINE_float, "pitch_degrees", None, "heads: pitch within +-this (15)")
    define(flags.DEFINE_float, "fov_degrees", None, "heads: vertical field of view (20)")
    forms = ["uniform", "gaussian"]
    define(flags.DEFINE_enum, "view_prior", None, forms, "heads: distribution of views (uniform)")
    return values


def prepare(dataset: str, data_dir: str | None, **arguments: Any) -> int:
    """Writes a dataset, or what is missing of it; returns the exit code.

    Args:
      dataset: "ffhq" or "heads".
      data_dir: where datasets are; None = the default of TFDS.
      **arguments: of the builder.

    Raises:
      UsageError: an argument is wrong, or the source is; says which file.
    """
    try:
        import tensorflow_datasets as tfds

        from gan3d.data import builders
    except ImportError as error:
        raise UsageError(f"this needs {error.name}: pip install {error.name}") from error
    kind = {"ffhq": builders.Ffhq, "heads": builders.Gan3dHeads}[dataset]
    data_dir = data_dir or os.environ.get("TFDS_DATA_DIR")
    try:
        builder = kind(data_dir=data_dir, **arguments)
        if builder.is_prepared():
            print(f"nothing left to do: {builder.data_dir} is prepared")
            return 0
        if os.path.exists(builder.data_dir):
            raise UsageError(f"{builder.data_dir} is not a finished dataset; delete it first")
        began = time.monotonic()
        # Without this TFDS may look for a finished copy on the net.
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        builder.download_and_prepare(download_config=config)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return 130
    _report(builder, data_dir, time.monotonic() - began)
    return 0


def _report(builder: Any, data_dir: str | None, seconds: float) -> None:
    images, size = builder.info.splits["train"].num_examples, builder.info.dataset_size
    print(f"{images:,} images, {size / 1e6:,.0f} MB in {builder.data_dir}, {seconds:.0f} s")
    where = f"TFDS_DATA_DIR={data_dir} " if data_dir else ""
    name = f"{builder.name}/{builder.builder_config.name}"
    print(f"train on it: {where}python -m experiments.train --data=tfds:{name}")


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    values = _define_flags()
    experiment_flags.parse(values, argv, __doc__)
    if values.dataset is None:
        raise UsageError("--dataset must be given, one of ffhq, heads")
    own, foreign = _FFHQ_FLAGS, _HEADS_FLAGS
    if values.dataset == "heads":
        own, foreign = foreign, own
    for name in foreign:
        if values[name].present:
            raise UsageError(f"--{name} must not be given with --dataset={values.dataset}")
    given = {name: values[name].value for name in own if values[name].present}
    if values.dataset == "ffhq" and "source" not in given:
        raise UsageError("--source must name FFHQ's thumbnails128x128.zip, or the folder of it")
    return prepare(values.dataset, values.data_dir, **given)


if __name__ == "__main__":
    sys.exit(experiment_flags.run(main, sys.argv))
