from __future__ import annotations

import numpy as np
import pytest
from picture_files import BLUE, GREEN, RED, WHITE, assert_corners, quarters
from PIL import Image

from gan3d.data import FolderSource, UnreadableImageError, batches, open_source


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


@pytest.mark.parametrize("memory_bytes", [2**30, 0])
def test_nasty_folder(nasty, memory_bytes):
    source = FolderSource(nasty, 32, memory_bytes=memory_bytes)
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
    for i, name in enumerate(["a_plain.jpg", "b_upper.PNG", "deep/c.webp", "deep/er/d.jpeg"]):
        alone = nasty / f"only_{i}"
        alone.mkdir()
        (alone / "image.png").write_bytes((nasty / name).read_bytes())
        np.testing.assert_array_equal(FolderSource(alone, 32)[0], source[i])


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
    with pytest.raises(ValueError, match=r"data must be 'heads', 'ffhq', .*, got 'faces'"):
        open_source("faces", 32)


@pytest.mark.parametrize("damage", ["missing", "truncated", "folder gone"])
def test_file_that_turns_bad_during_a_run_is_named(tmp_path, damage):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(3):
        quarters(32 + i).save(folder / f"{i}.png")
    source = FolderSource(folder, 32, memory_bytes=0)
    if damage == "truncated":
        (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:50])
    else:
        (folder / "1.png").unlink()
    if damage == "folder gone":
        for i in (0, 2):
            (folder / f"{i}.png").unlink()
        folder.rmdir()
    with batches(source, 3, seed=0) as stream:
        with pytest.raises(UnreadableImageError, match=r"\d\.png of folder:.* can no longer be"):
            next(stream)
        assert list(stream) == []
    with pytest.raises(UnreadableImageError) as caught:
        source.batch(np.array([1]))
    message = str(caught.value)
    assert message.startswith(f"1.png of folder:{folder} can no longer be read: ")
    assert len(message.splitlines()) == 1


def test_images_in_memory_outlive_their_files(tmp_path):
    quarters().save(tmp_path / "image.png")
    source = FolderSource(tmp_path, 32)
    (tmp_path / "image.png").unlink()
    assert_corners(source[0], [RED, GREEN, BLUE, WHITE])
    source[0][:] = 0
    assert source[0].any()


def test_link_to_nothing_is_skipped(tmp_path):
    quarters().save(tmp_path / "image.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "nothing.png")
    source = FolderSource(tmp_path, 32)
    assert len(source) == 1
    assert [name for name, _ in source.skipped] == ["link.png"]


def test_thousands_of_skipped_files_do_not_fill_the_log(tmp_path, caplog):
    quarters().save(tmp_path / "image.png")
    for i in range(60):
        (tmp_path / f"{i}.jpg").touch()
    with caplog.at_level("INFO", logger="absl"):
        FolderSource(tmp_path, 32)
    assert "skipped 60 of 61 files" in caplog.text
    assert "and 10 more" in caplog.text
    assert len(caplog.text.splitlines()) < 60
