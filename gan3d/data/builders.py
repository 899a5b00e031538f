"""TFDS builders of this package: FFHQ's thumbnails, and the procedural heads.

Importing this module registers them with TFDS and needs tensorflow-datasets. `python -m
experiments.prepare` runs them; without TensorFlow, since images are stored encoded.
"""

from __future__ import annotations

import dataclasses
import io
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from gan3d.data import ffhq_files
from gan3d.data.ffhq_files import FfhqFiles
from gan3d.data.staged_builder import StagedBuilder


@dataclasses.dataclass(eq=False)
class FfhqConfig(tfds.core.BuilderConfig):
    """Which part of FFHQ.

    Attributes:
      num_images: number of images, the first ones.
    """

    num_images: int = ffhq_files.NUM_IMAGES


class Ffhq(StagedBuilder):
    """The 128x128 thumbnails of Flickr-Faces-HQ, the PNG files unchanged, in their order.

    Features: image; file_name, such as "00000.png".
    """

    name = "ffhq"
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [FfhqConfig("thumbnails128")]  # noqa: RUF012  TFDS wants a list

    def __init__(
        self,
        *,
        source: str | os.PathLike | None = None,
        num_images: int = ffhq_files.NUM_IMAGES,
        **kwargs: Any,
    ):
        """Names the dataset.

        Args:
          source: the zip `thumbnails128x128`, or the folder it was unpacked to; to prepare it.
          num_images: fewer than 70,000 for a trial, which is then a configuration of its own.
          **kwargs: of `tfds.core.DatasetBuilder`.

        Raises:
          ValueError: `num_images` is out of range.
        """
        if not 1 <= num_images <= ffhq_files.NUM_IMAGES:
            raise ValueError(
                f"num_images must be in [1, {ffhq_files.NUM_IMAGES}], got {num_images}"
            )
        self._source = source
        if num_images != ffhq_files.NUM_IMAGES:
            name = f"{self.BUILDER_CONFIGS[0].name}-{num_images}"
            kwargs.setdefault("config", FfhqConfig(name, num_images=num_images))
        super().__init__(**kwargs)

    @property
    def num_images(self) -> int:
        return self.builder_config.num_images

    def plan(self) -> dict[str, Any]:
        source = self._checked_source()
        status = source.stat()
        return {
            "source": os.fspath(source.resolve()),
            "changed": status.st_mtime_ns if source.is_file() else None,
        }

    def examples(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        files = self._files()
        for index in range(start, stop):
            name, content = files[index]
            yield {"image": content, "file_name": name}

    def _files(self) -> FfhqFiles:
        """The files, listed once."""
        if not hasattr(self, "_listed"):
            self._listed = FfhqFiles(self._checked_source(), self.num_images)
        return self._listed

    def _checked_source(self) -> Path:
        source = Path(self._source or "").expanduser()
        if not self._source or not source.exists():
            raise ValueError(
                "source must be the zip thumbnails128x128 of FFHQ, or the folder it was unpacked "
                f"to, got {self._source!r}"
            )
        return source

    def _info(self) -> tfds.core.DatasetInfo:
        size = ffhq_files.RESOLUTION
        return tfds.core.DatasetInfo(
            builder=self,
            description="Flickr-Faces-HQ, the official thumbnails of 128x128 pixels.",
            homepage="https://github.com/NVlabs/ffhq-dataset",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
                    "file_name": tfds.features.Text(),
                }
            ),
            disable_shuffling=True,
        )


@dataclasses.dataclass(eq=False)
class HeadsConfig(tfds.core.BuilderConfig):
    """Which heads; the fields are the arguments of `open_source` of the same name."""

    num_heads: int = 16384
    resolution: int = 128
    seed: int = 0
    yaw_degrees: float = 90.0
    pitch_degrees: float = 15.0
    fov_degrees: float = 20.0
    view_prior: str = "uniform"


def heads_config(**fields: Any) -> HeadsConfig:
    """Configuration with a name that says all that is not the default.

    Args:
      **fields: of `HeadsConfig`.

    Raises:
      ValueError: a number is out of range.
    """
    config = HeadsConfig("", **fields)
    for field, least in (("num_heads", 1), ("resolution", 8), ("seed", 0)):
        if getattr(config, field) < least:
            raise ValueError(f"{field} must be at least {least}, got {getattr(config, field)}")
    config.name = f"{config.resolution}px-{config.num_heads}-seed{config.seed}"
    for field in ("yaw_degrees", "pitch_degrees", "fov_degrees"):
        if getattr(config, field) != getattr(HeadsConfig, field):
            config.name += f"-{field.removesuffix('_degrees')}{getattr(config, field):g}"
    if config.view_prior != HeadsConfig.view_prior:
        config.name += f"-{config.view_prior}"
    return config


class Gan3dHeads(StagedBuilder):
    """The procedural heads, for those who do not have this package.

    Features: image, a PNG; yaw and pitch, the viewpoint it is seen from, in radians (see
    `gan3d.scene.View`); index, the number of the head in its family. The family's parameters are
    in the metadata.
    """

    name = "gan3d_heads"
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [heads_config()]  # noqa: RUF012  TFDS wants a list

    def __init__(self, **kwargs: Any):
        """Names the dataset.

        Args:
          **kwargs: fields of `HeadsConfig`, and arguments of `tfds.core.DatasetBuilder`.

        Raises:
          ValueError: a number is out of range.
        """
        fields = {name: kwargs.pop(name) for name in _heads_fields() if name in kwargs}
        if fields:
            config = heads_config(**fields)
            kwargs["config"] = self.builder_configs.get(config.name, config)
        super().__init__(**kwargs)

    @property
    def num_images(self) -> int:
        return self.builder_config.num_heads

    def plan(self) -> dict[str, Any]:
        return _heads_parameters(self.builder_config)

    def examples(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        source = self._heads()
        for index in range(start, stop):
            file = io.BytesIO()
            Image.fromarray(source[index]).save(file, "PNG")
            view = source.view(index)
            yield {
                "image": file.getvalue(),
                "yaw": np.float32(view.yaw),
                "pitch": np.float32(view.pitch),
                "index": index,
            }

    def _heads(self) -> Any:
        """The heads, opened once: their renderer takes seconds to compile."""
        if not hasattr(self, "_opened"):
            from gan3d.data.heads import HeadsSource
            from gan3d.scene import ViewPrior

            fields = _heads_parameters(self.builder_config)
            ranges = [math.radians(fields.pop(f"{angle}_degrees")) for angle in ("yaw", "pitch")]
            fields["prior"] = ViewPrior(*ranges, fields.pop("view_prior"))
            self._opened = HeadsSource(**fields)
        return self._opened

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.resolution
        return tfds.core.DatasetInfo(
            builder=self,
            description="Procedural heads with backgrounds, and the viewpoints they are seen from.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
                    "yaw": np.float32,
                    "pitch": np.float32,
                    "index": np.int64,
                }
            ),
            metadata=tfds.core.MetadataDict(_heads_parameters(self.builder_config)),
            disable_shuffling=True,
        )


def how_to_prepare(name: str, config: str = "") -> str:
    """What to type to prepare a dataset that TFDS knows."""
    if name == Ffhq.name:
        return "prepare it with python -m experiments.prepare --dataset=ffhq --source=ZIP_OR_FOLDER"
    if name == Gan3dHeads.name:
        return "prepare it with python -m experiments.prepare --dataset=heads"
    full = f"{name}/{config}" if config else name
    return (
        f"prepare it with tfds build {full} --file_format=array_record (for many datasets that "
        "needs TensorFlow)"
    )


def _heads_fields() -> list[str]:
    names = [field.name for field in dataclasses.fields(HeadsConfig)]
    return names[len(dataclasses.fields(tfds.core.BuilderConfig)) :]


def _heads_parameters(config: HeadsConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in _heads_fields()}
