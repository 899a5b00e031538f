"""The files of FFHQ's official thumbnails: 00000.png to 69999.png, in a zip or unpacked."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

NUM_IMAGES = 70_000
RESOLUTION = 128
_NAME = re.compile(r"\d{5}\.png")


class FfhqFiles:
    """Image i is the content of file i, unchanged; i in [0, num_images)."""

    def __init__(self, source: str | os.PathLike, num_images: int = NUM_IMAGES):
        """Finds all files; nothing is read yet.

        Args:
          source: the zip, or the folder that it was unpacked to.
          num_images: number of images, the first ones; the dataset has 70,000.

        Raises:
          ValueError: there is no such zip or folder, or a file is missing or one too many.
        """
        self._source = Path(source).expanduser()
        self._num_images = num_images
        self._read: Callable[[str], bytes]
        if self._source.is_dir():
            paths = [str(path) for path in self._source.rglob("*.png")]
            self._read = lambda path: Path(path).read_bytes()
        elif self._source.is_file():
            archive = _open_zip(self._source)
            paths = [name for name in archive.namelist() if name.endswith(".png")]
            self._read = archive.read
        else:
            raise ValueError(f"source must be a zip or a folder, there is no {self._source}")
        self._paths = self._by_number(paths)

    def __getitem__(self, index: int) -> tuple[str, bytes]:
        """Name and content of a file.

        Raises:
          ValueError: it is not a readable PNG of 128x128 pixels.
        """
        path = self._paths[index]
        name = f"{index:05d}.png"
        try:
            content = self._read(path)
            with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
                size = image.size
                image.load()
        # Damaged files and archives raise anything.
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ValueError(
                f"source must hold readable PNG files, {name} ({path}) is not: {reason}"
            ) from error
        if size != (RESOLUTION, RESOLUTION):
            raise ValueError(
                f"source must hold images of {RESOLUTION}x{RESOLUTION} pixels, {name} ({path}) "
                f"has {size[0]}x{size[1]}"
            )
        return name, content

    def _by_number(self, paths: list[str]) -> list[str]:
        """The paths in order of their numbers."""
        found: dict[str, str] = {}
        for path in sorted(paths):
            name = path.replace(os.sep, "/").rpartition("/")[2]
            if not _NAME.fullmatch(name) or int(name[:5]) >= NUM_IMAGES:
                raise ValueError(
                    f"source must hold no PNG files but 00000.png to {NUM_IMAGES - 1:05d}.png, "
                    f"{self._source} has {path}"
                )
            if name in found:
                raise ValueError(
                    f"source must hold every image once, {self._source} has {found[name]} "
                    f"and {path}"
                )
            found[name] = path
        names = [f"{number:05d}.png" for number in range(self._num_images)]
        missing = [name for name in names if name not in found]
        if missing:
            raise ValueError(
                f"source must hold 00000.png to {names[-1]} ({self._num_images:,} images), in "
                f"{self._source} {len(missing):,} are missing, the first is {missing[0]}"
            )
        return [found[name] for name in names]


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"source must be a zip or a folder, {path}: {error}") from error
