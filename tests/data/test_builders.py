"""Datasets that this package writes: FFHQ from its files, and continuing what was interrupted."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from gan3d.data import TfdsSource
from gan3d.data.ffhq_files import FfhqFiles

tfds = pytest.importorskip("tensorflow_datasets")

from gan3d.data import builders, staged_builder  # noqa: E402
from gan3d.data.builders import Ffhq  # noqa: E402

NUM = 10


def thumbnail(i, size=(128, 128)):
    file = io.BytesIO()
    Image.new("RGB", size, (20 * i, 0, 0)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """The official layout, with two images a subfolder."""
    path = tmp_path / "thumbnails128x128"
    for i in range(NUM):
        below = path / f"{i // 2 * 1000:05d}"
        below.mkdir(parents=True, exist_ok=True)
        (below / f"{i:05d}.png").write_bytes(thumbnail(i))
    (path / "LICENSE.txt").write_text("whatever")
    return path


def zipped(folder):
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*"), reverse=True):
            archive.write(file, file.relative_to(folder.parent))
    return path


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(Ffhq, "shard_images", 4)


def prepare(source, root, num_images=NUM):
    builder = Ffhq(source=source, num_images=num_images, data_dir=root)
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    builder.download_and_prepare(download_config=config)
    return builder


def levels(source):
    return [int(image[0, 0, 0]) for image in source.batch(np.arange(len(source)))]


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_ffhq_files_are_stored_unchanged(folder, tmp_path, small_shards, kind):
    builder = prepare(folder if kind == "folder" else zipped(folder), tmp_path / "data")
    decoders = {"image": tfds.decode.SkipDecoding()}
    records = builder.as_data_source("train", decoders=decoders)
    assert [record["image"] for record in records] == [thumbnail(i) for i in range(NUM)]
    assert [record["file_name"].decode() for record in records] == [
        f"{i:05d}.png" for i in range(NUM)
    ]
    assert builder.info.splits["train"].shard_lengths == [4, 4, 2]
    source = TfdsSource(f"tfds:ffhq/thumbnails128-{NUM}", 16, data_dir=tmp_path / "data")
    assert levels(source) == [20 * i for i in range(NUM)]
    left = {path.name for path in (tmp_path / "data" / "ffhq" / "thumbnails128-10").iterdir()}
    assert left == {"1.0.0"}


def test_a_trial_is_not_taken_for_the_whole(folder, tmp_path):
    prepare(folder, tmp_path, num_images=2)
    with pytest.raises(ValueError, match=r"prepared configuration of ffhq.*ffhq/thumbnails128-2"):
        TfdsSource("tfds:ffhq", 16, data_dir=tmp_path)
    assert Ffhq(data_dir=tmp_path).num_images == 70_000
    assert not Ffhq(data_dir=tmp_path).is_prepared()


def test_the_whole_goes_by_its_short_name(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(builders.ffhq_files, "NUM_IMAGES", NUM)
    monkeypatch.setattr(Ffhq.BUILDER_CONFIGS[0], "num_images", NUM)
    prepare(folder, tmp_path)
    assert len(TfdsSource("tfds:ffhq", 16, data_dir=tmp_path)) == NUM


def damage(folder, kind):
    if kind == "missing":
        (folder / "02000" / "00005.png").unlink()
    elif kind == "size":
        (folder / "02000" / "00005.png").write_bytes(thumbnail(5, (128, 127)))
    elif kind == "truncated":
        (folder / "02000" / "00005.png").write_bytes(thumbnail(5)[:100])
    elif kind == "jpeg":
        Image.new("RGB", (128, 128)).save(folder / "02000" / "00005.png", "JPEG")
    elif kind == "other name":
        (folder / "02000" / "thumb.png").write_bytes(thumbnail(5))
    elif kind == "number":
        (folder / "02000" / "70000.png").write_bytes(thumbnail(5))
    else:
        (folder / "00005.png").write_bytes(thumbnail(5))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", r"00000\.png to 00009\.png .* 1 are missing, the first is 00005\.png"),
        ("size", r"128x128 pixels, 00005\.png \(.*02000.*\) has 128x127"),
        ("truncated", r"readable PNG files, 00005\.png \(.*\) is not: "),
        ("jpeg", r"readable PNG files, 00005\.png \(.*\) is not: UnidentifiedImageError"),
        ("other name", r"no PNG files but 00000\.png to 69999\.png, .* has .*thumb\.png"),
        ("number", r"no PNG files but .* has .*70000\.png"),
        ("twice", r"every image once, .* has .*00005\.png and .*00005\.png"),
    ],
)
@pytest.mark.parametrize("archived", [False, True])
def test_wrong_file_is_named(folder, tmp_path, kind, message, archived):
    damage(folder, kind)
    source = zipped(folder) if archived else folder
    with pytest.raises(ValueError, match=message) as caught:
        prepare(source, tmp_path / "data")
    assert len(str(caught.value).splitlines()) == 1
    assert not Ffhq(num_images=NUM, data_dir=tmp_path / "data").is_prepared()


def test_wrong_source_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"source must be the zip .* got None"):
        prepare(None, tmp_path)
    with pytest.raises(ValueError, match=r"source must be the zip .* got '.*none'"):
        prepare(str(tmp_path / "none"), tmp_path)
    (tmp_path / "a.zip").write_text("no zip")
    with pytest.raises(ValueError, match=r"a\.zip: File is not a zip file"):
        prepare(tmp_path / "a.zip", tmp_path)
    with pytest.raises(ValueError, match=r"70,000 images\), .* 70,000 are missing"):
        FfhqFiles(tmp_path)
    with pytest.raises(ValueError, match=r"num_images must be in \[1, 70000\], got 0"):
        Ffhq(num_images=0, data_dir=tmp_path)


def stop_after(monkeypatch, count, error):
    """Makes reading fail after `count` more files; returns the list of files read."""
    read = []

    def get(self, index):
        if len(read) == count:
            raise error
        read.append(index)
        return original(self, index)

    original = FfhqFiles.__getitem__
    monkeypatch.setattr(FfhqFiles, "__getitem__", get)
    return read


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("disk"), ValueError("bad file")])
def test_interrupted_run_continues(folder, tmp_path, small_shards, monkeypatch, error):
    """Stopped in the second of three shards: the first is not read again."""
    with monkeypatch.context() as context:
        stop_after(context, 6, error)
        with pytest.raises(type(error)):
            prepare(folder, tmp_path)
    builder = Ffhq(num_images=NUM, data_dir=tmp_path)
    assert not builder.is_prepared()
    spec = f"tfds:ffhq/thumbnails128-{NUM}"
    with pytest.raises(ValueError, match="is not prepared in"):
        TfdsSource(spec, 16, data_dir=tmp_path)
    read = stop_after(monkeypatch, 99, None)
    prepare(folder, tmp_path)
    assert read == list(range(4, NUM))
    assert levels(TfdsSource(spec, 16, data_dir=tmp_path)) == [20 * i for i in range(NUM)]


def test_what_a_killed_process_left_is_removed(folder, tmp_path, small_shards):
    parent = tmp_path / "ffhq" / f"thumbnails128-{NUM}"
    (parent / "incomplete.ABC123_1.0.0").mkdir(parents=True)
    staged = parent / "incomplete.staged_1.0.0"
    staged.mkdir()
    (staged / "ffhq-train.array_record-00001-of-00003.unfinished").write_text("half a shard")
    prepare(folder, tmp_path)
    assert [path.name for path in parent.iterdir()] == ["1.0.0"]


def test_another_source_starts_anew(folder, tmp_path, small_shards, monkeypatch):
    with monkeypatch.context() as context:
        stop_after(context, 6, OSError())
        with pytest.raises(OSError):
            prepare(folder, tmp_path)
    read = stop_after(monkeypatch, 99, None)
    prepare(zipped(folder), tmp_path)
    assert read == list(range(NUM))


def test_two_processes_do_not_write_the_same(folder, tmp_path, small_shards, monkeypatch):
    other = []

    def get(self, index):
        if not other:
            other.append(index)
            with pytest.raises(ValueError, match="another process is preparing ffhq in"):
                prepare(folder, tmp_path)
        return original(self, index)

    original = FfhqFiles.__getitem__
    monkeypatch.setattr(FfhqFiles, "__getitem__", get)
    prepare(folder, tmp_path)
    assert other


def test_progress_is_logged(folder, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("gan3d.data.progress.SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level("INFO", logger="absl"):
        prepare(folder, tmp_path)
    assert f"wrote 5 of {NUM} images, " in caplog.text
    assert staged_builder.FILE_FORMAT in str(list(tmp_path.rglob("*train*")))


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "128px-16384-seed0"),
        ({"num_heads": 5, "resolution": 32, "seed": 7}, "32px-5-seed7"),
        (
            {
                "yaw_degrees": 45.0,
                "pitch_degrees": 7.5,
                "fov_degrees": 30.0,
                "view_prior": "gaussian",
            },
            "128px-16384-seed0-yaw45-pitch7.5-fov30-gaussian",
        ),
    ],
)
def test_name_of_the_heads_says_what_they_are(fields, name):
    assert builders.heads_config(**fields).name == name


def test_heads_out_of_range_are_named():
    with pytest.raises(ValueError, match="num_heads must be at least 1, got 0"):
        builders.heads_config(num_heads=0)
    with pytest.raises(ValueError, match="resolution must be at least 8, got 4"):
        builders.heads_config(resolution=4)
