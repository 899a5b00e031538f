"""Prepared TensorFlow datasets without TensorFlow; the datasets are written by the tests."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from gan3d.data import TfdsSource, UnreadableImageError, batches, encoded, open_source
from gan3d.data.tfds_source import parse_spec

tfds = pytest.importorskip("tensorflow_datasets")


def png(level, size=(16, 16)):
    file = io.BytesIO()
    Image.new("RGB", size, (level, 0, 0)).save(file, "PNG")
    return file.getvalue()


class Levels(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Image i is red level 10 i, in splits of 10 and 4, and an empty one."""

    name = "levels"
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name=name) for name in ("one_image", "two_images", "no_image")
    ]
    url_infos = None

    def _info(self):
        image = tfds.features.Image(shape=(None, None, 3))
        features = {
            "one_image": {"picture": image},
            "two_images": {"left": image, "right": image},
            "no_image": {},
        }[self.builder_config.name]
        features |= {
            "label": tfds.features.ClassLabel(num_classes=3),
            "nested": {"text": tfds.features.Text(), "inner": image},
            "boxes": tfds.features.Sequence({"box": tfds.features.BBoxFeature()}),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0, 10), "test": self._generate_examples(10, 14)}

    def _generate_examples(self, start, stop):
        images = [n for n in self.info.features if n in ("picture", "left", "right")]
        for i in range(start, stop):
            yield (
                i,
                {
                    **{name: png(10 * i + 5 * (name == "right"), (16 + i, 20)) for name in images},
                    "label": i % 3,
                    "nested": {"text": "hello", "inner": png(0)},
                    "boxes": [{"box": tfds.features.BBox(0.0, 0.0, 1.0, 1.0)}],
                },
            )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    for config in Levels.BUILDER_CONFIGS:
        builder = Levels(data_dir=root, config=config.name, file_format="array_record")
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )
    return root


@pytest.fixture(autouse=True)
def data_dir(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))


def levels(source):
    return [int(image[0, 0, 0]) for image in source.batch(np.arange(len(source)))]


@pytest.mark.parametrize("memory_bytes", [2**30, 0])
def test_images_in_their_order(memory_bytes):
    source = TfdsSource("tfds:levels", 8, memory_bytes=memory_bytes)
    assert levels(source) == [10 * i for i in range(10)]
    assert source[3].shape == (8, 8, 3)
    assert source[3].dtype == np.uint8
    assert source.name == "tfds:levels"
    with batches(source, 10, seed=0) as stream:
        assert sorted(next(stream)[:, 0, 0, 0]) == [10 * i for i in range(10)]


@pytest.mark.parametrize(
    ("split", "numbers"),
    [
        ("test", range(10, 14)),
        ("train+test", range(14)),
        ("train[:90%]", range(9)),
        ("train[2:5]", range(2, 5)),
        ("train[-2:]+test[:1]", [8, 9, 10]),
        ("test+train[:20%]", [10, 11, 12, 13, 0, 1]),
    ],
)
def test_splits(split, numbers):
    assert levels(open_source(f"tfds:levels:{split}", 8)) == [10 * i for i in numbers]
    with_feature = open_source(f"tfds:levels/one_image:{split}:picture", 8)
    assert levels(with_feature) == [10 * i for i in numbers]


def test_feature_is_picked_among_several():
    assert levels(open_source("tfds:levels/two_images:train[:2]:left", 8)) == [0, 10]
    assert levels(open_source("tfds:levels/two_images:train[:2]:right", 8)) == [5, 15]
    with pytest.raises(
        ValueError, match=r"one of the image features \(left, right\) .*:train:left"
    ):
        open_source("tfds:levels/two_images", 8)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tfds:levels:valid", r"a split of train \(10\), test \(4\), .* got 'tfds:levels:valid'"),
        ("tfds:levels:train[:0]", r"must name a split with images, got .* with none"),
        ("tfds:levels:train[:99]", r"split of train .*: Requested slice \[:99\] incompatible"),
        ("tfds:levels:train[:50", r"must name a split of train"),
        ("tfds:levels:train:label", r"an image feature, of picture, got 'tfds:levels:train:label'"),
        ("tfds:levels:train:nosuch", r"an image feature, of picture"),
        ("tfds:levels/no_image", r"a dataset with an image feature"),
        ("tfds:levels/nosuch", r"a prepared configuration of levels, .*tfds:levels/one_image"),
        ("tfds:cifar10", r"is not prepared in .*TFDS_DATA_DIR.*tfds build cifar10 --file_format"),
        ("tfds:ffhq", r"is not prepared in .*experiments\.prepare --dataset=ffhq --source="),
        ("ffhq", r"is not prepared in .*experiments\.prepare --dataset=ffhq --source="),
        ("tfds:cifar1", r"a dataset that TFDS knows, .*similar: cifar10"),
        ("tfds:", r"data must be of the form tfds:NAME\[/CONFIG\]\[:SPLIT\]\[:FEATURE\], got"),
        ("tfds:levels:", r"data must be of the form"),
        ("tfds:levels:a:b:c", r"data must be of the form"),
        ("tfds:../levels", r"data must be of the form"),
        ("tfds:levels/../..", r"data must be of the form"),
        ("tfds:huggingface:levels/x", r"a dataset that TFDS knows"),
    ],
)
def test_mistakes_are_named_in_one_line(spec, message):
    with pytest.raises(ValueError, match=message) as caught:
        open_source(spec, 8)
    assert len(str(caught.value).splitlines()) == 1


def test_specs():
    assert parse_spec("tfds:a") == ("a", "train", None)
    assert parse_spec("tfds:a/b.c-1:train[1:2]+test[:3%]:x") == (
        "a/b.c-1",
        "train[1:2]+test[:3%]",
        "x",
    )


def copy(prepared, target):
    from shutil import copytree

    copytree(prepared / "levels", target / "levels")
    return target / "levels" / "one_image" / "1.0.0"


def test_tfrecord_needs_tensorflow(prepared, tmp_path):
    directory = copy(prepared, tmp_path)
    info = directory / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(ValueError, match="prepared as tfrecord, which only TensorFlow") as caught:
        TfdsSource("tfds:levels", 8, data_dir=tmp_path)
    assert f"--dataset_version_dir={directory} --out_file_format=array_record" in str(caught.value)
    info.write_text(
        info.read_text().replace(
            '"fileFormat": "tfrecord"',
            '"fileFormat": "tfrecord", "alternativeFileFormats": ["array_record"]',
        )
    )
    assert levels(TfdsSource("tfds:levels", 8, data_dir=tmp_path))[:2] == [0, 10]


@pytest.mark.parametrize("damage", ["no json", "no shard"])
def test_damaged_dataset_is_one_line(prepared, tmp_path, damage):
    directory = copy(prepared, tmp_path)
    if damage == "no json":
        (directory / "dataset_info.json").write_text("{")
    else:
        next(directory.glob("*train*")).unlink()
    with pytest.raises(ValueError, match=r"cannot be read: |is incomplete: ") as caught:
        TfdsSource("tfds:levels", 8, data_dir=tmp_path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("damage", ["emptied", "overwritten"])
def test_file_that_turns_bad_during_a_run_is_one_line(prepared, tmp_path, damage):
    directory = copy(prepared, tmp_path)
    source = TfdsSource("tfds:levels:train[2:]", 8, data_dir=tmp_path, memory_bytes=0)
    (shard,) = directory.glob("*train*")
    shard.write_bytes(b"" if damage == "emptied" else bytes(shard.stat().st_size))
    with pytest.raises(
        UnreadableImageError, match=r"^image 3 of tfds:levels:train\[2:\] can no"
    ) as e:
        source[3]
    assert len(str(e.value).splitlines()) == 1


def test_features_that_need_tensorflow(prepared, tmp_path):
    directory = copy(prepared, tmp_path)
    path = directory / "features.json"
    features = json.loads(path.read_text())
    features["featuresDict"]["features"]["film"] = {
        "pythonClassName": "tensorflow_datasets.core.features.video_feature.Video",
        "video": {"shape": {"dimensions": ["-1", "16", "16", "3"]}, "dtype": "uint8"},
    }
    path.write_text(json.dumps(features))
    if importlib.util.find_spec("tensorflow") is None:
        with pytest.raises(ValueError, match=r"features that only TensorFlow reads: pip install"):
            TfdsSource("tfds:levels", 8, data_dir=tmp_path)


def test_images_whose_values_are_floats_are_refused():
    from gan3d.data.tfds_source import _pick_feature

    with pytest.raises(ValueError, match=r"images of whole numbers, .* depth is float32"):
        _pick_feature("tfds:x", {"depth": "float32"}, None)


def test_decoded_images_are_kept(tmp_path, monkeypatch, prepared):
    monkeypatch.setenv("GAN3D_CACHE", str(tmp_path / "cache"))
    copy(prepared, tmp_path)
    expected = levels(TfdsSource("tfds:levels", 8, data_dir=tmp_path))
    other = TfdsSource("tfds:levels:test", 8, data_dir=tmp_path)
    decode, count = encoded.decode_image, []
    monkeypatch.setattr(encoded, "decode_image", lambda *args: count.append(0) or decode(*args))
    assert levels(TfdsSource("tfds:levels", 8, data_dir=tmp_path)) == expected
    assert levels(TfdsSource("tfds:levels:test", 8, data_dir=tmp_path)) == levels(other)
    assert not count
    shard = next((tmp_path / "levels" / "one_image" / "1.0.0").glob("*train*"))
    shard.touch()
    assert levels(TfdsSource("tfds:levels", 8, data_dir=tmp_path)) == expected
    assert len(count) == 10


WITHOUT_TFDS = """
import sys
class Block:
    def find_spec(self, name, *args):
        if name.partition(".")[0] in ("tensorflow_datasets", "array_record", "tensorflow"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Block())
from gan3d.data import open_source
import gan3d.training.loop, experiments.train
print(len(open_source("heads", 8, num_heads=3)), len(open_source("folder:" + sys.argv[1], 8)))
try:
    open_source("tfds:mnist", 8)
except ValueError as error:
    print(error)
from experiments import flags, prepare
sys.exit(flags.run(prepare.main, ["prepare", "--dataset=heads"]))
"""


def test_all_else_works_without_tensorflow_datasets(tmp_path):
    (tmp_path / "image.png").write_bytes(png(1))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TFDS, str(tmp_path)], capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [
        "3 1",
        "data 'tfds:mnist' needs tensorflow_datasets: pip install tensorflow-datasets",
    ], done.stderr
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: this needs tensorflow_datasets: pip")


def test_no_tensorflow_is_imported(prepared):
    program = (
        "import sys; from gan3d.data import open_source\n"
        "open_source('tfds:levels', 8)[0]\n"
        "print(sorted({'tensorflow', 'jax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "['jax']\n", done.stderr
