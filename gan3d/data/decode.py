"""From the bytes of an image file to an upright RGB square.

Shape letters: R resolution.
"""

from __future__ import annotations

import io
import os
import warnings
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

if TYPE_CHECKING:
    from jaxtyping import UInt8

MIN_SIDE_PIXELS = 8
# Pillow also reads formats that run other programs (EPS) or are rarely photographs; a file of one
# of these that calls itself a JPEG is refused.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
_WHITE = (255, 255, 255, 255)

# Images above Pillow's limit are refused here with an error; its warning on stderr, once per
# process and without a file's name, would add nothing.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def decode_image(encoded: str | os.PathLike | bytes, resolution: int) -> UInt8[np.ndarray, "R R 3"]:
    """Reads an image as an upright RGB square: centre crop, antialiased resize.

    The size is checked before anything is decoded. Of an animation the first frame counts.
    Transparent images are laid over white; 16-bit greyscale is scaled from its full range.

    Args:
      encoded: JPEG, PNG, WebP, BMP or GIF: a file's path, or its bytes.
      resolution: height and width of the result, in pixels.

    Returns:
      The image, uint8 [R, R, 3].

    Raises:
      ValueError: the image is too small or too large.
      Exception: whatever Pillow raises for an image it cannot read, most often OSError.
    """
    with _open(encoded) as opened:
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


def why_unreadable(error: Exception, encoded: str | os.PathLike | bytes | None = None) -> str:
    """One line on an error of `decode_image`, without the folder that the file is in.

    Args:
      error: what was raised.
      encoded: what was to be decoded; None = it could not even be read.
    """
    if isinstance(error, UnidentifiedImageError):
        return f"cannot identify image file; it must be one of {', '.join(FORMATS)}"
    text = str(error)
    if encoded is not None and not isinstance(encoded, bytes):
        text = text.replace(os.fspath(encoded), os.path.basename(encoded))
    return f"{type(error).__name__}: {' '.join(text.split())}"


def _open(encoded: str | os.PathLike | bytes) -> Image.Image:
    """Reads an image's header."""
    file = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
    try:
        return Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"image must have at most {Image.MAX_IMAGE_PIXELS} pixels: {error}"
        ) from error


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
