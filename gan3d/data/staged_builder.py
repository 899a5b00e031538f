"""TFDS builders that continue where they were stopped.

TFDS itself writes a dataset into a folder with a name of its own, which it deletes if anything
fails and renames when all is done: nothing that is not finished can look finished, but nothing is
kept either. Here every shard is written once, into a folder that stays (staged), and TFDS is handed
all of them at the end.
"""

from __future__ import annotations

import abc
import itertools
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from absl import logging

from gan3d.data.locks import exclusive
from gan3d.data.progress import with_progress

FILE_FORMAT = "array_record"
_PLAN = "plan.json"


class StagedBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """A dataset of one split, "train", whose examples are a function of their number.

    No TensorFlow: examples are written as array_record, with images that are encoded already. Of an
    interrupted `download_and_prepare` all complete shards stay, in
    DATA_DIR/NAME/CONFIG/incomplete.staged_VERSION.

    Attributes:
      shard_images: images per file.
    """

    shard_images = 1000
    # No checksums of downloads; where TFDS looks for them it needs a package it does not require.
    url_infos = None

    def __init__(self, **kwargs: Any):
        kwargs["file_format"] = FILE_FORMAT
        super().__init__(**kwargs)

    @property
    @abc.abstractmethod
    def num_images(self) -> int:
        """Number of examples."""

    @abc.abstractmethod
    def plan(self) -> dict[str, Any]:
        """What the examples are made from: staged shards of another plan are not continued."""

    @abc.abstractmethod
    def examples(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """Examples number `start` to `stop` - 1.

        Raises:
          ValueError: the source has to be changed; names the file.
        """

    def is_prepared(self) -> bool:
        # That of TFDS warns where there is nothing yet.
        return os.path.exists(os.path.join(self.data_dir, "features.json"))

    def _create_builder_config(self, builder_config: Any, version: Any) -> Any:
        # That of TFDS warns of every configuration that is not in its list.
        if isinstance(builder_config, tfds.core.BuilderConfig):
            return builder_config
        return super()._create_builder_config(builder_config, version)

    def _log_download_bytes(self) -> None:
        # That of TFDS says that something is downloaded.
        logging.info("writing %s", self.data_dir)

    def _log_download_done(self) -> None:
        pass

    def _shard_iterators_per_split(self, dl_manager: Any) -> Mapping[str, list]:
        # TFDS calls it where this class has its own `_download_and_prepare`, but wants it there.
        raise NotImplementedError

    def _download_and_prepare(self, dl_manager: Any, download_config: Any = None) -> None:
        # For the time of this call, TFDS has set data_dir to its temporary folder.
        temporary = Path(self.data_dir)
        staged = temporary.parent / f"incomplete.staged_{self.version}"
        staged.mkdir(exist_ok=True)

        def refuse() -> None:
            raise ValueError(f"another process is preparing {self.name} in {temporary.parent}")

        with exclusive(staged / "lock", refuse):
            _remove_leftovers(temporary, self.version)
            _start_or_continue(staged, self.plan())
            self._write_shards(staged)
            self._publish(staged, temporary)
            shutil.rmtree(staged)

    def _shards(self, directory: Path) -> Iterator[tuple[Path, int, int]]:
        """Path, first and last + 1 example of every shard."""
        template = self._get_filename_template("train").replace(data_dir=directory)
        starts = range(0, self.num_images, self.shard_images)
        for number, start in enumerate(starts):
            path = template.sharded_filepath(shard_index=number, num_shards=len(starts))
            yield Path(path), start, min(start + self.shard_images, self.num_images)

    def _write_shards(self, directory: Path) -> None:
        """Writes the shards that are not there."""
        missing = [shard for shard in self._shards(directory) if not shard[0].exists()]
        done = self.num_images - sum(stop - start for _, start, stop in missing)
        if done:
            logging.info("continuing: %d of %d images are written", done, self.num_images)
        # One stream over all shards, so that the lines of progress do not start anew with each.
        examples = itertools.chain.from_iterable(self.examples(a, b) for _, a, b in missing)
        examples = with_progress(examples, self.num_images, "wrote {} images", done)
        for path, start, stop in missing:
            unfinished = path.with_name(f"{path.name}.unfinished")
            records = map(
                self.info.features.serialize_example, itertools.islice(examples, stop - start)
            )
            _write_records(unfinished, records)
            os.replace(unfinished, path)

    def _publish(self, staged: Path, temporary: Path) -> None:
        """Moves the shards to where TFDS expects them, and describes them."""
        lengths, num_bytes = [], 0
        for path, start, stop in self._shards(staged):
            lengths.append(stop - start)
            num_bytes += path.stat().st_size
            os.replace(path, temporary / path.name)
        template = self._get_filename_template("train")
        info = tfds.core.SplitInfo(
            name="train", shard_lengths=lengths, num_bytes=num_bytes, filename_template=template
        )
        self.info.set_splits(tfds.core.splits.SplitDict([info]))


def _start_or_continue(staged: Path, plan: dict[str, Any]) -> None:
    """Empties the folder, unless it has been filled by the same plan."""
    text = json.dumps(plan, sort_keys=True)
    path = staged / _PLAN
    if path.exists() and path.read_text() == text:
        return
    for other in staged.iterdir():
        if other.name != "lock":
            other.unlink()
    path.write_text(text)


def _remove_leftovers(temporary: Path, version: Any) -> None:
    """Removes what killed processes have left, the staged folder aside."""
    # Who holds the lock is the only one who prepares, so that these belong to nobody.
    for other in temporary.parent.glob(f"incomplete.??????_{version}"):
        if other.name != temporary.name and not other.name.startswith("incomplete.staged"):
            shutil.rmtree(other)


def _write_records(path: Path, records: Iterable[bytes]) -> None:
    from array_record.python import array_record_module

    writer = array_record_module.ArrayRecordWriter(os.fspath(path), "group_size:1")
    try:
        for record in records:
            writer.write(record)
    finally:
        writer.close()
