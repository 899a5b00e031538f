"""Images of any prepared TensorFlow dataset (TFDS), read without TensorFlow.

tensorflow-datasets is imported when a source is opened: all else works without it.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gan3d.data.encoded import MEMORY_BYTES, EncodedSource

if TYPE_CHECKING:
    from gan3d.data.cache import Identity

FORM = "tfds:NAME[/CONFIG][:SPLIT][:FEATURE]"
DATA_DIR_VARIABLE = "TFDS_DATA_DIR"


class TfdsSpec(NamedTuple):
    """Which images: a dataset's name with its configuration, a split, a feature; None = the only.

    Attributes:
      dataset: NAME or NAME/CONFIG.
      split: as TFDS writes it, such as "train+test" or "train[:90%]".
      feature: name of the image feature.
    """

    dataset: str
    split: str = "train"
    feature: str | None = None


class TfdsSource(EncodedSource):
    """The images of a prepared dataset, in its own order.

    Attributes:
      name: "tfds:..." as it was given.
      skipped: ("image I", reason) of every image that is not used.

    >>> source = TfdsSource("tfds:ffhq:train[:90%]", resolution=64)  # doctest: +SKIP
    >>> TfdsSource("tfds:ffhq:train:image:more", resolution=64)
    Traceback (most recent call last):
    ValueError: data must be of the form tfds:NAME[/CONFIG][:SPLIT][:FEATURE], got ...
    """

    def __init__(
        self,
        spec: str,
        resolution: int,
        *,
        data_dir: str | os.PathLike | None = None,
        memory_bytes: int = MEMORY_BYTES,
    ):
        """Opens a dataset; nothing is downloaded or prepared.

        Args:
          spec: "tfds:NAME[/CONFIG][:SPLIT][:FEATURE]".
          resolution: height and width of the images, in pixels.
          data_dir: where datasets are; None = $TFDS_DATA_DIR, or else ~/tensorflow_datasets.
          memory_bytes: memory that decoded images may take, where there is no cache.

        Raises:
          ValueError: tensorflow-datasets is not installed; the dataset is unknown, not prepared,
            or prepared in a format that only TensorFlow reads; there is no such split or feature,
            or no usable image.
        """
        dataset, split, feature = parse_spec(spec)
        data_dir = data_dir or os.environ.get(DATA_DIR_VARIABLE) or None
        try:
            builder = _find_builder(spec, dataset, data_dir)
            encoded = _EncodedImages(builder, spec, split, feature)
            identities = _identities(builder, split, len(encoded))
        except ImportError as error:
            raise ValueError(_missing(spec, error)) from error
        super().__init__(
            spec,
            encoded,
            identities,
            resolution,
            location=f"{builder.data_dir}:{split}:{encoded.feature}",
            memory_bytes=memory_bytes,
        )


class _EncodedImages(Sequence):
    """The bytes of a dataset's images as they are stored."""

    def __init__(self, builder: Any, spec: str, split: str, feature: str | None):
        import tensorflow_datasets as tfds

        images = {
            name: kind.np_dtype.name
            for name, kind in sorted(builder.info.features.items())
            if isinstance(kind, tfds.features.Image)
        }
        self.feature = _pick_feature(spec, images, feature)
        self._records = _open_split(
            builder, spec, split, {name: tfds.decode.SkipDecoding() for name in images}
        )

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> bytes:
        return self._records[index][self.feature]


def parse_spec(spec: str) -> TfdsSpec:
    """Takes "tfds:NAME[/CONFIG][:SPLIT][:FEATURE]" apart.

    Raises:
      ValueError: it is not of that form.
    """
    parts, depth = [""], 0
    for character in spec.removeprefix("tfds:"):
        depth += {"[": 1, "]": -1}.get(character, 0)
        # A colon within brackets belongs to a slice, as in train[:90%].
        if character == ":" and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    name, _, config = parts[0].partition("/")
    well_formed = name.isidentifier() and not config.startswith("/") and "/" not in config
    if not spec.startswith("tfds:") or len(parts) > 3 or not all(parts) or not well_formed:
        raise ValueError(f"data must be of the form {FORM}, got {spec!r}")
    return TfdsSpec(*parts)


def _find_builder(spec: str, dataset: str, data_dir: str | os.PathLike | None) -> Any:
    """The dataset on disk, without the code that prepared it.

    Raises:
      ImportError: tensorflow-datasets is not installed.
      ValueError: there is no such dataset on disk.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import read_only_builder

    from gan3d.data import builders  # noqa: F401  known by name from here on

    try:
        builder = read_only_builder.builder_from_files(dataset, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(_not_found(spec, dataset, data_dir)) from error
    except ImportError:
        raise
    # What is damaged makes TFDS raise anything.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"data {spec!r} is prepared, but cannot be read: {reason}") from error
    if builder.info.features is None or not hasattr(builder.info.features, "items"):
        raise ValueError(f"data must name a dataset with named features, got {spec!r}")
    return builder


def _not_found(spec: str, dataset: str, data_dir: str | os.PathLike | None) -> str:
    """Why a dataset is not on disk, and what to do, in one line."""
    import tensorflow_datasets as tfds

    from gan3d.data.builders import how_to_prepare

    where = os.path.expanduser(data_dir or "~/tensorflow_datasets")
    place = f"{where} (environment variable {DATA_DIR_VARIABLE})"
    name, _, config = dataset.partition("/")
    prepared = _prepared_configs(os.path.join(where, name))
    if prepared:
        return f"data must name a prepared configuration of {name}, got {spec!r}; in {place}: " + (
            ", ".join(f"tfds:{name}/{other}" for other in prepared)
        )
    known = tfds.list_builders(with_community_datasets=False)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3)
        hint = f"; similar: {', '.join(close)}" if close else ""
        return (
            f"data must name a dataset that TFDS knows, or one that is in {place}, "
            f"got {spec!r}{hint}"
        )
    return f"data {spec!r} is not prepared in {place}; {how_to_prepare(name, config)}"


def _prepared_configs(directory: str) -> list[str]:
    """Configurations of a dataset that are on disk, with at least one version."""
    if not os.path.isdir(directory):
        return []
    return sorted(
        entry.name
        for entry in os.scandir(directory)
        if entry.is_dir()
        and any(os.path.exists(os.path.join(v, "features.json")) for v in os.scandir(entry))
    )


def _pick_feature(spec: str, images: dict[str, str], feature: str | None) -> str:
    """Name of the image feature.

    Args:
      spec: as given, for errors.
      images: name and dtype of the dataset's image features.
      feature: the one that was asked for; None = the only one.
    """
    names = ", ".join(images)
    if not images:
        raise ValueError(f"data must name a dataset with an image feature, got {spec!r} with none")
    if feature is None and len(images) > 1:
        raise ValueError(
            f"data must name one of the image features ({names}) of this dataset, as in "
            f"{spec}{'' if ':' in spec.removeprefix('tfds:') else ':train'}:{next(iter(images))}, "
            f"got {spec!r}"
        )
    feature = feature or next(iter(images))
    if feature not in images:
        raise ValueError(f"data must name an image feature, of {names}, got {spec!r}")
    if images[feature] not in ("uint8", "uint16"):
        raise ValueError(
            f"data must name images of whole numbers, got {spec!r}, where {feature} is "
            f"{images[feature]}"
        )
    return feature


def _open_split(builder: Any, spec: str, split: str, decoders: dict[str, Any]) -> Any:
    """Random access to a split.

    Raises:
      ValueError: there is none of that name, or it is empty, or only TensorFlow reads it.
    """
    available = builder.info.available_file_formats()
    if not any(file_format.value == "array_record" for file_format in available):
        formats = ", ".join(sorted(file_format.value for file_format in available))
        raise ValueError(
            f"data {spec!r} is prepared as {formats}, which only TensorFlow reads; where that is "
            f"installed, tfds convert_format --dataset_version_dir={builder.data_dir} "
            "--out_file_format=array_record adds what is needed"
        )
    splits = builder.info.splits
    empty = f"data must name a split with images, got {spec!r} with none"
    if not splits:
        raise ValueError(empty)
    known = ", ".join(f"{name} ({info.num_examples:,})" for name, info in splits.items())
    try:
        num_examples = splits[split].num_examples
    # TFDS raises ValueError, KeyError, AssertionError, NotImplementedError.
    except Exception as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(
            f"data must name a split of {known}, or a part or a sum of them, got {spec!r}: {reason}"
        ) from error
    if not num_examples:
        raise ValueError(empty)
    return builder.as_data_source(split, decoders=decoders)


def _identities(builder: Any, split: str, num_images: int) -> list[Identity]:
    """Identities of the images: when any of the files changes, all of them do."""
    paths = {str(part.filename) for part in builder.info.splits[split].file_instructions}
    try:
        status = [os.stat(path) for path in sorted(paths)]
    except OSError as error:
        raise ValueError(f"dataset in {builder.data_dir} is incomplete: {error}") from error
    size = sum(one.st_size for one in status)
    newest = max(one.st_mtime_ns for one in status)
    return [(f"image {i}", size, newest) for i in range(num_images)]


def _missing(spec: str, error: ImportError) -> str:
    """What to install, in one line."""
    package = (error.name or "tensorflow_datasets").partition(".")[0]
    if package == "tensorflow":
        return f"data {spec!r} has features that only TensorFlow reads: pip install tensorflow"
    return f"data {spec!r} needs {package}: pip install {package.replace('_', '-')}"
