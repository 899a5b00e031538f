"""The cache of decoded images: what it saves, when it is made again, and that it never harms."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
from picture_files import quarters
from PIL import Image

from gan3d.data import FolderSource, cache, encoded
from gan3d.data.cache import cache_root

NUM = 12


@pytest.fixture
def folder(tmp_path):
    """Image i is grey level 10 i; one file is no image."""
    path = tmp_path / "images"
    (path / "sub").mkdir(parents=True)
    for i in range(NUM):
        Image.new("RGB", (16, 16), (10 * i,) * 3).save(path / "sub" / f"{i:02d}.png")
    (path / "bad.png").write_text("no image")
    return path


@pytest.fixture
def root(tmp_path, monkeypatch):
    path = tmp_path / "cache"
    monkeypatch.setenv("GAN3D_CACHE", str(path))
    return path


@pytest.fixture
def decodings(monkeypatch):
    """Names of the files that were decoded."""
    names = []

    def decode(file, resolution):
        names.append(os.path.basename(file))
        return original(file, resolution)

    original = encoded.decode_image
    monkeypatch.setattr(encoded, "decode_image", decode)
    return names


def levels(source):
    return [int(image[0, 0, 0]) for image in source.batch(np.arange(len(source)))]


def only(root):
    (directory,) = root.iterdir()
    return directory


def pixels_of(root):
    (path,) = only(root).glob("pixels-*")
    return path


def test_second_opening_decodes_nothing(folder, root, decodings, caplog):
    first = FolderSource(folder, 8)
    assert len(decodings) == NUM + 1
    assert levels(first) == [10 * i for i in range(NUM)]
    decodings.clear()
    with caplog.at_level("INFO", logger="absl"):
        second = FolderSource(folder, 8, memory_bytes=0)
    assert not decodings
    assert levels(second) == levels(first)
    assert second.skipped == first.skipped != []
    assert "skipped bad.png: cannot identify" in caplog.text
    np.testing.assert_array_equal(second[3], first[3])
    assert not decodings


def test_pixels_are_mapped_and_what_is_handed_out_is_a_copy(folder, root):
    FolderSource(folder, 8)
    source = FolderSource(folder, 8)
    assert not source._pixels.flags.writeable
    source[2][:] = 255
    source.batch(np.array([2]))[:] = 255
    assert levels(source)[2] == 20


def test_run_goes_on_when_the_images_and_the_cache_are_deleted(folder, root):
    source = FolderSource(folder, 8)
    for path in [*folder.rglob("*.png"), *only(root).iterdir()]:
        path.unlink()
    assert levels(source) == [10 * i for i in range(NUM)]


def test_resolutions_and_folders_have_caches_of_their_own(
    folder, root, decodings, tmp_path, monkeypatch
):
    (tmp_path / "other").mkdir()
    quarters().save(tmp_path / "other" / "image.png")
    FolderSource(folder, 8)
    FolderSource(folder, 16)
    FolderSource(tmp_path / "other", 8)
    assert len(list(root.iterdir())) == 3
    decodings.clear()
    assert FolderSource(folder, 8)[0].shape == (8, 8, 3)
    assert FolderSource(folder, 16)[0].shape == (16, 16, 3)
    monkeypatch.chdir(folder.parent)
    assert FolderSource("images", 8).name == "folder:images"
    assert not decodings


@pytest.mark.parametrize("change", ["added", "removed", "rewritten", "touched", "repaired"])
def test_only_what_changed_is_decoded_again(folder, root, decodings, change):
    FolderSource(folder, 8)
    decodings.clear()
    expected, again = [10 * i for i in range(NUM)], []
    if change == "added":
        Image.new("RGB", (16, 16), (200,) * 3).save(folder / "sub" / "04b.png")
        expected.insert(5, 200)
        again = ["04b.png"]
    elif change == "removed":
        (folder / "sub" / "04.png").unlink()
        del expected[4]
    elif change == "rewritten":
        Image.new("RGB", (20, 20), (200,) * 3).save(folder / "sub" / "04.png")
        expected[4] = 200
        again = ["04.png"]
    elif change == "touched":
        os.utime(folder / "sub" / "04.png", ns=(1, 1))
        again = ["04.png"]
    else:
        Image.new("RGB", (20, 20), (200,) * 3).save(folder / "bad.png")
        expected.insert(0, 200)
        again = ["bad.png"]
    for _ in range(2):
        assert levels(FolderSource(folder, 8)) == expected
        assert decodings == again
    assert len(list(only(root).glob("pixels-*"))) == 1


def damage_index(directory, text=None, **changes):
    path = directory / "index.json"
    path.write_text(text if changes == {} else json.dumps(json.loads(path.read_text()) | changes))


DAMAGES = {
    "pixels truncated": lambda d, p: os.truncate(p, p.stat().st_size - 100),
    "pixels empty": lambda d, p: os.truncate(p, 0),
    "pixels zero": lambda d, p: p.write_bytes(p.read_bytes()[:128] + bytes(p.stat().st_size - 128)),
    "pixels gone": lambda d, p: p.unlink(),
    "pixels of another shape": lambda d, p: np.save(p, np.zeros((3, 8, 8, 3), np.uint8)),
    "pixels of another type": lambda d, p: np.save(p, np.zeros((NUM + 1, 8, 8, 3), np.float32)),
    "index truncated": lambda d, p: os.truncate(d / "index.json", 100),
    "index empty": lambda d, p: damage_index(d, ""),
    "index a list": lambda d, p: damage_index(d, "[1, 2]"),
    "index binary": lambda d, p: (d / "index.json").write_bytes(b"\xff\xfe\x00"),
    "unknown file": lambda d, p: damage_index(d, unusable={"99": "why"}),
    "files of another kind": lambda d, p: damage_index(d, files=[["a", "b", "c"]]),
    "infinite size": lambda d, p: damage_index(d, files=[["a", float("inf"), 1]]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_cache_is_made_again(folder, root, damage, caplog):
    FolderSource(folder, 8)
    DAMAGES[damage](only(root), pixels_of(root))
    with caplog.at_level("INFO", logger="absl"):
        assert levels(FolderSource(folder, 8)) == [10 * i for i in range(NUM)]
    assert caplog.text.count("made again, because it is damaged") == 1
    caplog.clear()
    assert levels(FolderSource(folder, 8)) == [10 * i for i in range(NUM)]
    assert "made again" not in caplog.text
    assert len(list(only(root).glob("pixels-*"))) == 1


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("exploded",))


def test_nothing_that_is_read_is_executed(folder, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    FolderSource(folder, 8)
    pixels_of(root).write_bytes(pickle.dumps(Bomb()))
    assert len(FolderSource(folder, 8)) == NUM
    np.save(pixels_of(root), np.array([Bomb()] * (NUM + 1)), allow_pickle=True)
    assert len(FolderSource(folder, 8)) == NUM
    assert not os.path.exists("exploded")
    np.load(pixels_of(root), allow_pickle=False)


def test_another_pillow_or_format_makes_it_again(folder, root, decodings, monkeypatch):
    FolderSource(folder, 8)
    decodings.clear()
    monkeypatch.setattr("PIL.__version__", "0.0")
    FolderSource(folder, 8)
    assert len(decodings) == NUM + 1


def test_without_room_only_the_index_is_kept(folder, root, decodings, monkeypatch):
    monkeypatch.setattr(cache, "MAX_BYTES", 100)
    FolderSource(folder, 8)
    assert sorted(path.name for path in only(root).iterdir()) == ["index.json", "lock"]
    decodings.clear()
    source = FolderSource(folder, 8)
    assert not decodings
    assert levels(source) == [10 * i for i in range(NUM)]
    assert len(decodings) == NUM
    monkeypatch.setattr(cache, "MAX_BYTES", 2**30)
    FolderSource(folder, 8)
    assert pixels_of(root).exists()


@pytest.mark.parametrize("obstacle", ["file in place of the folder", "disk full"])
def test_cache_that_cannot_be_written_is_a_warning(folder, root, obstacle, caplog, monkeypatch):
    if obstacle == "disk full":

        def full(*args):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(cache.os, "fsync", full)
    else:
        root.write_text("in the way")
    with caplog.at_level("INFO", logger="absl"):
        source = FolderSource(folder, 8)
    assert "no cache of decoded images: " in caplog.text
    assert levels(source) == [10 * i for i in range(NUM)]
    if obstacle == "disk full":
        assert [path.name for path in only(root).iterdir()] == ["lock"]


def test_place_of_the_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GAN3D_CACHE", "")
    assert cache_root() is None
    monkeypatch.setenv("GAN3D_CACHE", "~/elsewhere")
    assert cache_root() == tmp_path / "elsewhere"
    monkeypatch.delenv("GAN3D_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert str(cache_root()) == "/xdg/gan3d"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_root() == tmp_path / ".cache" / "gan3d"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == tmp_path / ".cache" / "gan3d"


OPEN = """
import sys, time
from gan3d.data import cache, encoded, FolderSource
if sys.argv[2] == "slow":
    decode = encoded.decode_image
    def slow(file, resolution):
        print("decoding", flush=True)
        time.sleep(0.05)
        return decode(file, resolution)
    encoded.decode_image = slow
    encoded._CHUNK = 1
if sys.argv[2] == "stuck":
    def stuck(*args):
        print("decoding", flush=True)
        time.sleep(60)
    cache._replace_text = stuck
print(sum(int(image[0, 0, 0]) for image in FolderSource(sys.argv[1], 8)._pixels))
"""


def start(folder, how):
    return subprocess.Popen(
        [sys.executable, "-c", OPEN, str(folder), how], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("how", ["slow", "stuck"])
def test_killed_process_leaves_no_bad_cache(folder, root, how, caplog):
    """Killed while the pixels are written, and between them and the index."""
    process = start(folder, how)
    assert process.stdout.readline() == "decoding\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(only(root).glob("pixels-*"))
    assert levels(FolderSource(folder, 8)) == [10 * i for i in range(NUM)]
    assert "made again" not in caplog.text
    assert [path.name for path in only(root).glob("pixels-*")] == [pixels_of(root).name]
    assert pixels_of(root).suffix == ".npy"


def test_processes_that_start_together_decode_once(folder, root):
    processes = [start(folder, "slow") for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes)
    lines = [output.split("\n") for output in outputs]
    assert {line[-2] for line in lines} == {str(sum(10 * i for i in range(NUM)))}
    assert sorted(line.count("decoding") for line in lines) == [0, 0, NUM + 1]
