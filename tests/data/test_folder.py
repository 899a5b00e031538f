from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gan3d.data import FolderSource, open_source
from gan3d.data.folder import decode_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(size=64):
    """Red and green above, blue and white below."""
    image = np.zeros((size, size, 3), np.uint8)
    half = size // 2
    image[:half, :half], image[:half, half:] = RED, GREEN
    image[half:, :half], image[half:, half:] = BLUE, WHITE
    return Image.fromarray(image)


def corners(image):
    """The colours well inside the four quarters, row by row."""
    low, high = image.shape[0] // 4, 3 * image.shape[0] // 4
    return [image[i, j].astype(int) for i in (low, high) for j in (low, high)]


def assert_corners(image, expected, atol=8):
    np.testing.assert_allclose(corners(image), expected, atol=atol)


def write_truncated_jpeg(path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, quality=95)
    path.write_bytes(path.read_bytes()[:2000])


@pytest.fixture
def nasty(tmp_path):
    """A folder with every kind of file, and subfolders."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    quarters().save(tmp_path / "a_plain.jpg", quality=95)
    quarters().save(tmp_path / "b_upper.PNG", format="PNG")
    quarters().save(tmp_path / "deep" / "c.webp", lossless=True)
    quarters().save(tmp_path / "deep" / "er" / "d.jpeg", quality=95)
    quarters().convert("CMYK").save(tmp_path / "e_cmyk.jpg", quality=95)
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)
    Image.fromarray(np.tile(ramp, (64, 1))).save(tmp_path / "f_grey16.png")
    write_truncated_jpeg(tmp_path / "t_truncated.jpg")
    (tmp_path / "t_text.png").write_text("this is no image")
    (tmp_path / "t_empty.jpg").write_bytes(b"")
    Image.new("RGB", (1, 1)).save(tmp_path / "t_tiny.png")
    quarters().save(tmp_path / "ignored.bmp")
    (tmp_path / "notes.txt").write_text("no image by its name either")
    return tmp_path


@pytest.mark.parametrize("cache_bytes", [2**30, 0])
def test_nasty_folder(nasty, cache_bytes):
    source = FolderSource(nasty, 32, cache_bytes=cache_bytes)
    assert len(source) == 6
    images = source.batch(np.arange(6))
    assert images.shape == (6, 32, 32, 3)
    assert images.dtype == np.uint8
    for i in (0, 1, 3, 4):
        assert_corners(images[i], [RED, GREEN, BLUE, WHITE])
    np.testing.assert_array_equal(source[2], images[2])
    reasons = dict(source.skipped)
    assert sorted(reasons) == ["t_empty.jpg", "t_text.png", "t_tiny.png", "t_truncated.jpg"]
    assert "truncated" in reasons["t_truncated.jpg"]
    assert "cannot identify image file" in reasons["t_text.png"]
    assert "at least 8 pixels a side, got 1x1" in reasons["t_tiny.png"]


def test_skipped_files_are_logged_with_count_name_and_reason(nasty, caplog):
    with caplog.at_level("INFO", logger="absl"):
        FolderSource(nasty, 32)
    text = caplog.text
    assert "skipped 4 of 10 files" in text
    assert "skipped t_tiny.png: " in text
    assert "notes.txt" not in text
    assert "ignored.bmp" not in text


def test_order_is_that_of_the_paths(nasty):
    source = FolderSource(nasty, 32)
    names = [file.relative_to(nasty).as_posix() for file in source._files]
    assert names == sorted(names)


def test_16_bit_greyscale_keeps_its_range(nasty):
    image = decode_image(nasty / "f_grey16.png", 32).astype(int)
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


def test_12_megapixel_photo(tmp_path):
    quarters(64).resize((4000, 3000), Image.Resampling.NEAREST).save(
        tmp_path / "photo.jpg", quality=30
    )
    source = FolderSource(tmp_path, 64)
    assert_corners(source[0], [RED, GREEN, BLUE, WHITE], atol=16)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bomb_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64)
    quarters(64).save(tmp_path / "fits.png")
    Image.new("RGB", (64, 65)).save(tmp_path / "over.png")
    Image.new("RGB", (256, 256)).save(tmp_path / "way_over.png")
    source = FolderSource(tmp_path, 32)
    assert len(source) == 1
    assert [name for name, _ in source.skipped] == ["over.png", "way_over.png"]


def test_folders_without_use_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"data must name an existing folder, got 'folder:.*none'"):
        FolderSource(tmp_path / "none", 32)
    with pytest.raises(ValueError, match=r"data must name a folder with \.jpg"):
        FolderSource(tmp_path, 32)
    file = tmp_path / "image.png"
    file.write_text("no image")
    with pytest.raises(ValueError, match="data must name an existing folder"):
        FolderSource(file, 32)
    with pytest.raises(ValueError, match=r"where all 1 are unusable, such as image\.png: "):
        FolderSource(tmp_path, 32)
    with pytest.raises(ValueError, match="data must name an existing folder, got 'folder:'"):
        open_source("folder:", 32)


def test_open_source(nasty):
    assert open_source(f"folder:{nasty}", 32).name == f"folder:{nasty}"
    heads = open_source("heads", 32, num_heads=5, yaw_degrees=45)
    assert heads.name == "heads"
    assert len(heads) == 5
    assert heads.prior.yaw_range == pytest.approx(np.pi / 4)
    with pytest.raises(ValueError, match="data must be 'heads' or 'folder:PATH', got 'faces'"):
        open_source("faces", 32)
