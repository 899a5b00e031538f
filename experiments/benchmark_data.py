"""Times the sources of training images: how long they take to open, and images per second.

    python -m experiments.benchmark_data --folder=photographs --json=data.json

Sources: the procedural heads, rendered when first asked for; a folder, and a TensorFlow dataset
with the same files, both decoded each time and from the cache on disk; the folder from memory.
Without --folder a few photographs are made up. Images per second are those of the whole input
pipeline, with mirroring and one thread that prepares batches, as the training has it; a consumer
that does nothing takes them. Medians and quartiles over the repeats; the heads have one, an epoch.
"The first opening" finds no cache, "the next" one that is complete.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from absl import flags
from PIL import Image

from experiments import flags as experiment_flags
from experiments.flags import UsageError
from gan3d.data import FolderSource, ImageSource, TfdsSource, batches, open_source
from gan3d.data.cache import ENVIRONMENT_VARIABLE

# Of a training step on the fastest device it is meant for, times three: enough not to be waited
# for, with other things to do for the processor.
GOAL_IMAGES_PER_SECOND = 1800
MADE_UP = 2000


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    define = lambda kind, *args: kind(*args, flag_values=values)  # noqa: E731
    define(flags.DEFINE_string, "folder", None, f"images; default {MADE_UP} made-up JPEG files")
    define(flags.DEFINE_integer, "resolution", 128, "height and width in pixels")
    define(flags.DEFINE_integer, "batch", 32, "images per batch")
    define(flags.DEFINE_integer, "images", 2048, "images per repeat")
    define(flags.DEFINE_integer, "repeats", 5, "timings of each, of which the median counts")
    define(flags.DEFINE_integer, "heads", 512, "procedural heads; 0 = without")
    define(flags.DEFINE_string, "json", None, "file to write the numbers to")
    return values


def benchmark(
    folder: str | None,
    resolution: int = 128,
    batch: int = 32,
    images: int = 2048,
    repeats: int = 5,
    heads: int = 512,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Times all sources; returns what --json holds.

    Raises:
      ValueError: there is no usable image in the folder.
    """
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="gan3d-benchmark-") as scratch:
        place = pathlib.Path(scratch)
        folder = folder or make_photographs(place / "photographs", MADE_UP)
        write_dataset(folder, place)
        for name, cache, opened in _cases(folder, place, resolution, heads):
            report(name)
            with _cache(place / "cache" if cache else None):
                row, source = _open_twice(opened, cache)
                per_repeat, times = (len(source), 1) if name == "heads" else (images, repeats)
                rates = images_per_second(source, batch, per_repeat, times)
            low, median, high = np.percentile(rates, [25, 50, 75])
            row |= {"images_per_second": median, "quartiles": [low, high]}
            rows.append({"name": name, "images": len(source), **row})
    return {
        "machine": _machine(),
        "resolution": resolution,
        "batch": batch,
        "goal_images_per_second": GOAL_IMAGES_PER_SECOND,
        "cases": rows,
    }


def images_per_second(source: ImageSource, batch: int, images: int, repeats: int) -> list[float]:
    """Rates of the input pipeline, each over `images` images."""
    steps = max(1, images // batch)
    rates = []
    with batches(source, batch, seed=0, mirror=True) as stream:
        for _ in range(repeats):
            began = time.perf_counter()
            for _ in range(steps):
                next(stream)
            rates.append(steps * batch / (time.perf_counter() - began))
    return rates


def make_photographs(folder: pathlib.Path, count: int) -> str:
    """Writes smooth pictures of 256x256 pixels with a little noise, as JPEG."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        picture = np.asarray(coarse.resize((256, 256), Image.Resampling.BICUBIC)).astype(np.int16)
        picture += rng.integers(-8, 9, picture.shape, dtype=np.int16)
        picture = np.clip(picture, 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{i:06d}.jpg", quality=90)
    return os.fspath(folder)


def write_dataset(folder: str, data_dir: pathlib.Path) -> None:
    """Writes a folder's files, as they are, as a TensorFlow dataset named `files`.

    Raises:
      ValueError: there is no image file in the folder.
    """
    import tensorflow_datasets as tfds

    from gan3d.data.folder import image_files
    from gan3d.data.staged_builder import StagedBuilder

    paths = [os.path.join(folder, name) for name, _, _ in image_files(pathlib.Path(folder))]
    if not paths:
        raise ValueError(f"folder must name a folder with image files, got {folder!r}")

    class Files(StagedBuilder, skip_registration=True):
        name = "files"
        VERSION = tfds.core.Version("1.0.0")
        num_images = len(paths)

        def plan(self) -> dict[str, Any]:
            return {}

        def examples(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
            return ({"image": pathlib.Path(path).read_bytes()} for path in paths[start:stop])

        def _info(self) -> tfds.core.DatasetInfo:
            features = tfds.features.FeaturesDict({"image": tfds.features.Image()})
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    config = tfds.download.DownloadConfig(try_download_gcs=False)
    Files(data_dir=data_dir).download_and_prepare(download_config=config)


def _cases(
    folder: str, data_dir: pathlib.Path, resolution: int, heads: int
) -> Iterator[tuple[str, bool, Callable[[], ImageSource]]]:
    """Name, whether with a cache, and how to open every source."""
    in_memory = 2**40

    def from_folder(memory_bytes: int = 0) -> ImageSource:
        return FolderSource(folder, resolution, memory_bytes=memory_bytes)

    def from_dataset() -> ImageSource:
        return TfdsSource("tfds:files", resolution, data_dir=data_dir, memory_bytes=0)

    if heads:
        yield "heads", False, lambda: open_source("heads", resolution, num_heads=heads)
    yield "folder, decoded each time", False, from_folder
    yield "folder, from memory", False, lambda: from_folder(in_memory)
    yield "folder, from the cache", True, from_folder
    yield "tfds, decoded each time", False, from_dataset
    yield "tfds, from the cache", True, from_dataset


def _open_twice(
    opened: Callable[[], ImageSource], cache: bool
) -> tuple[dict[str, Any], ImageSource]:
    """Seconds of the first opening and, where there is a cache, of the next, and the source."""
    row: dict[str, Any] = {"next_opening_seconds": None}
    names = ["first_opening_seconds", "next_opening_seconds"]
    for name in names if cache else names[:1]:
        began = time.perf_counter()
        source = opened()
        source[0]  # what is compiled or read only once belongs to the opening
        row[name] = time.perf_counter() - began
    return row, source


@contextlib.contextmanager
def _cache(root: pathlib.Path | None) -> Iterator[None]:
    """Sets the folder of the caches; None = off."""
    before = os.environ.get(ENVIRONMENT_VARIABLE)
    os.environ[ENVIRONMENT_VARIABLE] = os.fspath(root or "")
    try:
        yield
    finally:
        if before is None:
            del os.environ[ENVIRONMENT_VARIABLE]
        else:
            os.environ[ENVIRONMENT_VARIABLE] = before


def format_table(result: dict[str, Any]) -> str:
    """The result for people."""
    lines = [["source", "images", "first opening s", "next s", "images/s", "quartiles", "of goal"]]
    for row in result["cases"]:
        following = row["next_opening_seconds"]
        rate = row["images_per_second"]
        lines.append(
            [
                row["name"],
                f"{row['images']:,}",
                f"{row['first_opening_seconds']:.1f}",
                "" if following is None else f"{following:.1f}",
                f"{rate:,.0f}",
                " - ".join(f"{value:,.0f}" for value in row["quartiles"]),
                f"{rate / result['goal_images_per_second']:.2f}",
            ]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    table = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    size, batch = result["resolution"], result["batch"]
    table.insert(0, f"{size} x {size}, batches of {batch}, mirrored")
    return "\n".join(table)


def _machine() -> dict[str, Any]:
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "pillow": Image.__version__,
        "numpy": np.__version__,
    }


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    values = _define_flags()
    experiment_flags.parse(values, argv, __doc__)
    for name in ("resolution", "batch", "images", "repeats"):
        if values[name].value < 1:
            raise UsageError(f"--{name} must be at least 1, got {values[name].value}")
    experiment_flags.check_output("json", values.json)
    if values.heads < 0:
        raise UsageError(f"--heads must be at least 0, got {values.heads}")
    try:
        result = benchmark(
            values.folder,
            values.resolution,
            values.batch,
            values.images,
            values.repeats,
            values.heads,
        )
    except ImportError as error:
        raise UsageError(f"this needs {error.name}: pip install {error.name}") from error
    except ValueError as error:
        raise UsageError(str(error)) from error
    print(format_table(result))
    if values.json:
        path = pathlib.Path(values.json)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=2) + "\n")
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(experiment_flags.run(main, sys.argv))
