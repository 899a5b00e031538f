from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from picture_files import BLUE, GREEN, RED, WHITE, assert_corners, quarters
from PIL import Image, UnidentifiedImageError

from gan3d.data.decode import decode_image, why_unreadable

FOUR = [RED, GREEN, BLUE, WHITE]


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_16_bit_greyscale_keeps_its_range(tmp_path):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)
    Image.fromarray(np.tile(ramp, (64, 1))).save(tmp_path / "image.png")
    image = decode_image(tmp_path / "image.png", 32).astype(int)
    assert (image[..., 0] == image[..., 2]).all()
    np.testing.assert_allclose(image[16, :, 0], np.linspace(2, 253, 32), atol=3)


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA"])
def test_other_modes(tmp_path, mode):
    quarters().convert(mode).save(tmp_path / "image.png")
    grey = [76, 150, 29, 255]
    expected = [RED, GREEN, BLUE, WHITE] if mode == "P" else [(g, g, g) for g in grey]
    image = decode_image(tmp_path / "image.png", 32)
    if mode == "1":
        assert image.shape == (32, 32, 3)
    else:
        assert_corners(image, expected)


def test_transparency_is_laid_over_white(tmp_path):
    image = quarters().convert("RGBA")
    alpha = np.full((64, 64), 255, np.uint8)
    alpha[:32, :32] = 0
    alpha[:32, 32:] = 128
    image.putalpha(Image.fromarray(alpha))
    image.save(tmp_path / "image.png")
    decoded = decode_image(tmp_path / "image.png", 32)
    assert_corners(decoded, [WHITE, (127, 255, 127), BLUE, WHITE])


def test_transparent_palette(tmp_path):
    image = quarters().convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    red = image.getpixel((0, 0))
    image.save(tmp_path / "image.png", transparency=red)
    assert_corners(decode_image(tmp_path / "image.png", 32), [WHITE, GREEN, BLUE, WHITE])


def test_exif_rotation_is_undone(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    quarters().save(tmp_path / "turned.jpg", exif=exif, quality=95)
    decoded = decode_image(tmp_path / "turned.jpg", 32)
    assert_corners(decoded, [BLUE, RED, WHITE, GREEN])


def test_damaged_exif_does_not_lose_the_image(tmp_path):
    quarters().save(tmp_path / "image.jpg", exif=b"Exif\x00\x00nonsense", quality=95)
    assert_corners(decode_image(tmp_path / "image.jpg", 32), [RED, GREEN, BLUE, WHITE])


@pytest.mark.parametrize("size", [(96, 64), (64, 96)])
def test_centre_crop(tmp_path, size):
    wide = Image.new("RGB", size, (90, 90, 90))
    wide.paste(quarters(), ((size[0] - 64) // 2, (size[1] - 64) // 2))
    wide.save(tmp_path / "image.png")
    assert_corners(decode_image(tmp_path / "image.png", 32), [RED, GREEN, BLUE, WHITE])


def test_small_images_are_enlarged(tmp_path):
    quarters(16).save(tmp_path / "image.png")
    assert_corners(decode_image(tmp_path / "image.png", 64), [RED, GREEN, BLUE, WHITE])


def test_resize_is_antialiased(tmp_path):
    checks = np.indices((256, 256)).sum(0) % 2 * 255
    Image.fromarray(checks.astype(np.uint8)).save(tmp_path / "image.png")
    image = decode_image(tmp_path / "image.png", 32).astype(int)
    np.testing.assert_allclose(image, 127, atol=3)


def test_bytes_and_path_give_the_same(tmp_path):
    content = encoded(quarters(), "JPEG", quality=95)
    (tmp_path / "image.jpg").write_bytes(content)
    image = decode_image(content, 32)
    np.testing.assert_array_equal(image, decode_image(tmp_path / "image.jpg", 32))
    np.testing.assert_array_equal(image, decode_image(str(tmp_path / "image.jpg"), 32))
    assert_corners(image, FOUR)


def test_an_image_of_the_right_size_is_not_resampled():
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    image = decode_image(encoded(Image.fromarray(noise), "PNG"), 32)
    np.testing.assert_array_equal(image, noise)


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "GIF", "MPO"])
def test_of_several_frames_the_first_counts(kind):
    others = [Image.new("RGB", (64, 64), (0, 0, 0)), Image.new("RGB", (64, 64), (9, 9, 9))]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(quarters(), kind, save_all=True, append_images=others, **options)
    with Image.open(io.BytesIO(content)) as image:
        assert image.n_frames == 3
    assert_corners(decode_image(content, 32), FOUR)


@pytest.mark.parametrize("kind", ["TIFF", "EPS", "ICO", "PPM", "TGA"])
def test_other_formats_are_refused_whatever_the_name(tmp_path, kind):
    (tmp_path / "image.jpg").write_bytes(encoded(quarters(), kind))
    with pytest.raises(UnidentifiedImageError) as caught:
        decode_image(tmp_path / "image.jpg", 32)
    assert "must be one of JPEG, PNG" in why_unreadable(caught.value, tmp_path / "image.jpg")


def png_that_claims(width, height):
    """A small PNG whose header names another size."""
    content = bytearray(encoded(quarters(), "PNG"))
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    return bytes(content)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(9500, 9500), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_sizes_are_refused_before_decoding(size, monkeypatch):
    """Once above Pillow's limit, at which it warns, and far above, at which it raises itself."""
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ValueError, match=r"image must have at most 89478485 pixels"):
        decode_image(png_that_claims(*size), 32)


@pytest.mark.parametrize("size", [(3000, 3000), (65, 64)])
def test_a_header_that_lies_is_an_error(size):
    with pytest.raises((OSError, SyntaxError, ValueError)) as caught:
        decode_image(png_that_claims(*size), 32)
    assert len(why_unreadable(caught.value).splitlines()) == 1


def test_pillows_warning_does_not_appear():
    program = (
        "import sys, gan3d.data.decode as d\n"
        "try: d.decode_image(sys.stdin.buffer.read(), 32)\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "default::UserWarning", "-c", program],
        input=png_that_claims(9500, 9500),
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode() == "image must have at most 89478485 pixels, got 9500x9500\n"
    assert b"bomb" not in done.stderr


def test_reasons_are_one_line_without_the_folder(tmp_path):
    file = tmp_path / "image.jpg"
    assert (
        why_unreadable(OSError(f"cannot\n read {file}"), file) == "OSError: cannot read image.jpg"
    )
    assert why_unreadable(OSError("gone")) == "OSError: gone"
