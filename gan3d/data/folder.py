"""Images of a folder: any mix of formats, sizes and colour modes, made squares of one size.

Shape letters: N number of images asked for, R resolution.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import logging
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from jaxtyping import Int, UInt8

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")
MIN_SIDE_PIXELS = 8
CACHE_BYTES = 2 * 2**30
_MAX_THREADS = 16
_PROGRESS_SECONDS = 10.0
_WHITE = (255, 255, 255, 255)


class FolderSource:
    """The images in a folder and its subfolders, in the order of their paths.

    Every file is decoded once at opening, in several threads: what cannot be read is known before
    training starts. The decoded images are kept if they fit `cache_bytes`; otherwise they are
    decoded again whenever they are asked for.

    Attributes:
      name: "folder:PATH".
      skipped: (path below the folder, reason) of every file that has an image's extension and is
        not used.
    """

    def __init__(self, path: str | os.PathLike, resolution: int, *, cache_bytes: int = CACHE_BYTES):
        """Opens a folder.

        Args:
          path: the folder.
          resolution: height and width of the images, in pixels.
          cache_bytes: memory that decoded images may take.

        Raises:
          ValueError: there is no such folder, or no usable image in it.
        """
        self.name = f"folder:{os.fspath(path)}"
        root = Path(path).expanduser()
        if not os.fspath(path) or not root.is_dir():
            raise ValueError(f"data must name an existing folder, got {self.name!r}")
        files = _image_files(root)
        if not files:
            extensions = ", ".join(EXTENSIONS)
            raise ValueError(f"data must name a folder with {extensions} files, got {self.name!r}")
        self._resolution = resolution
        self._pool = ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1), "decode")
        keep = len(files) * resolution * resolution * 3 <= cache_bytes
        self._files: list[Path] = []
        self._images: list[np.ndarray] | None = [] if keep else None
        self.skipped: list[tuple[str, str]] = []
        self._scan(root, files)
        if not self._files:
            name, reason = self.skipped[0]
            raise ValueError(
                f"data must name a folder with usable images, got {self.name!r} "
                f"where all {len(files)} are unusable, such as {name}: {reason}"
            )

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "R R 3"]:
        if self._images is not None:
            return self._images[index]
        return decode_image(self._files[index], self._resolution)

    def batch(self, indices: Int[np.ndarray, " N"]) -> UInt8[np.ndarray, "N R R 3"]:
        """Many images, decoded in several threads where they are not in memory."""
        if self._images is not None:
            return np.stack([self._images[i] for i in indices])
        return np.stack(list(self._pool.map(self.__getitem__, [int(i) for i in indices])))

    def _scan(self, root: Path, files: list[Path]) -> None:
        """Decodes every file, keeps what is usable, and logs what is not."""
        for file, result in _with_progress(files, self._pool.map(self._try_decode, files)):
            if isinstance(result, str):
                self.skipped.append((file.relative_to(root).as_posix(), result))
                continue
            self._files.append(file)
            if self._images is not None:
                self._images.append(result)
        logging.info("%s: %d images", self.name, len(self._files))
        if self.skipped:
            logging.warning("%s: skipped %d of %d files", self.name, len(self.skipped), len(files))
        for name, reason in self.skipped:
            logging.warning("skipped %s: %s", name, reason)

    def _try_decode(self, file: Path) -> UInt8[np.ndarray, "R R 3"] | str:
        """The image, or why there is none."""
        try:
            return decode_image(file, self._resolution)
        # A damaged file makes Pillow raise anything from OSError to IndexError, and not one of them
        # must end the run.
        except Exception as error:
            reason = str(error).replace(str(file), file.name)
            return f"{type(error).__name__}: {reason}"


def decode_image(file: str | os.PathLike, resolution: int) -> UInt8[np.ndarray, "R R 3"]:
    """Reads an image file as an upright RGB square: centre crop, antialiased resize.

    Transparent images are laid over white; 16-bit greyscale is scaled from its full range.

    Args:
      file: JPEG, PNG or WebP.
      resolution: height and width of the result, in pixels.

    Returns:
      The image, uint8 [R, R, 3].

    Raises:
      ValueError: the image is too small or too large.
      Exception: whatever Pillow raises for a file it cannot read, most often OSError.
    """
    with Image.open(file) as opened:
        _check_size(*opened.size)
        # JPEG decodes to 1/2, 1/4 or 1/8 at a fraction of the cost; twice the size leaves the
        # resize its work.
        opened.draft(None, (2 * resolution, 2 * resolution))
        opened.load()
        image = _to_rgb(_upright(opened))
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    image = image.resize(
        (resolution, resolution),
        Image.Resampling.LANCZOS,
        box=(left, top, left + side, top + side),
        reducing_gap=3.0,
    )
    return np.array(image)


def _image_files(root: Path) -> list[Path]:
    """Files below `root` that have an image's extension in any case, sorted by path."""
    files = [
        Path(folder, name)
        for folder, _, names in os.walk(root)
        for name in names
        if os.path.splitext(name)[1].lower() in EXTENSIONS
    ]
    return sorted(files, key=lambda file: file.relative_to(root).as_posix())


def _check_size(width: int, height: int) -> None:
    """Refuses what would be meaningless, or would fill the memory."""
    if min(width, height) < MIN_SIDE_PIXELS:
        raise ValueError(
            f"image must have at least {MIN_SIDE_PIXELS} pixels a side, got {width}x{height}"
        )
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise ValueError(f"image must have at most {limit} pixels, got {width}x{height}")


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says."""
    try:
        return ImageOps.exif_transpose(image)
    # The pixels are good; damaged metadata, for which Pillow has many exceptions, is no reason to
    # lose them.
    except Exception:
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any colour mode to RGB."""
    if image.mode.startswith("I"):
        # Pillow's own conversion clips at 255, which turns 16-bit images white.
        levels = np.asarray(image).astype(np.float32) / 257.0
        image = Image.fromarray(np.round(np.clip(levels, 0.0, 255.0)).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    return image.convert("RGB")


def _with_progress(files: list[Path], results: Iterator) -> Iterator:
    """Pairs files with results, with a line in the log now and then while it takes long."""
    last = time.monotonic()
    for count, pair in enumerate(zip(files, results, strict=True), start=1):
        yield pair
        if time.monotonic() - last > _PROGRESS_SECONDS:
            last = time.monotonic()
            logging.info("read %d of %d files", count, len(files))
