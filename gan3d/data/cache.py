"""Decoded images kept on disk from one start to the next.

A cache is a folder with `index.json` (which files there were, with their sizes and times, and which
of them are unusable and why) and, if there is room, `pixels-TOKEN.npy`, the decoded images of all
files, which is mapped into memory. It is written under a lock, each file under another name that
is changed when it is complete, the index last: a process that is killed leaves no bad cache behind.
Nothing that is read is executed: JSON, and numpy without pickle.

Shape letters: F number of files, R resolution.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import uuid
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL
from absl import logging

from gan3d.data.locks import exclusive

if TYPE_CHECKING:
    from jaxtyping import UInt8

ENVIRONMENT_VARIABLE = "GAN3D_CACHE"
MAX_BYTES = 16 * 2**30
# Raised when decoding changes, or the layout of a cache.
_FORMAT = 1
_INDEX = "index.json"
_SAMPLES = 64

# Name, size in bytes and time of last change in nanoseconds: two files for which these are the
# same are taken for the same.
Identity = tuple[str, int, int]


@dataclasses.dataclass(frozen=True)
class Decoded:
    """All files of a source, decoded.

    Attributes:
      identities: of the files, in order.
      reasons: why a file is unusable, None = it is usable.
      pixels: image i of file i, whatever for unusable files; None = not kept.
    """

    identities: list[Identity]
    reasons: list[str | None]
    pixels: UInt8[np.ndarray, "F R R 3"] | None


def cache_root() -> Path | None:
    """The folder of all caches: $GAN3D_CACHE, or gan3d in the user's cache folder; None = off."""
    given = os.environ.get(ENVIRONMENT_VARIABLE)
    if given == "":
        return None
    if given is not None:
        return Path(given).expanduser()
    # The specification of XDG wants paths that are not absolute ignored.
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path("~/.cache").expanduser()) / "gan3d"


class DecodedCache:
    """The cache of one source at one resolution.

    Every method raises OSError if the folder cannot be written, or the disk is full.

    Attributes:
      directory: where it is.
    """

    def __init__(self, root: Path, location: str, resolution: int):
        """Names the cache; nothing is read or written yet.

        Args:
          root: folder of all caches.
          location: what the images come from, such as an absolute path; different for different
            sources.
          resolution: height and width of the images, in pixels.
        """
        self._made_with = [_FORMAT, PIL.__version__, location, resolution]
        key = hashlib.sha256(f"{_FORMAT}\0{resolution}\0{location}".encode(errors="replace"))
        label = "".join(c if c.isalnum() else "_" for c in os.path.basename(location))[:40]
        self.directory = root / f"{label}-{resolution}px-{key.hexdigest()[:16]}"
        self._resolution = resolution

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes out, or waits for them; ends with the process, however it ends."""
        self.directory.mkdir(parents=True, exist_ok=True)
        waiting = f"waiting for another process that fills {self.directory}"
        with exclusive(self.directory / "lock", lambda: logging.info("%s", waiting)):
            yield

    def read(self) -> Decoded | None:
        """What was kept, whether or not the files have changed since; None = nothing usable."""
        try:
            index = json.loads((self.directory / _INDEX).read_text(encoding="utf-8"))
            return self._parse(index)
        except FileNotFoundError:
            return None
        # Damage can look like anything, and none of it must end the run.
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            logging.warning("made again, because it is damaged: %s (%s)", self.directory, reason)
            return None

    def has_room(self, num_files: int) -> bool:
        """Whether the pixels of so many files may be kept: at most half of what is free."""
        needed = num_files * self._resolution**2 * 3
        return needed <= min(MAX_BYTES, shutil.disk_usage(self.directory).free // 2)

    def write(
        self,
        identities: list[Identity],
        results: Iterable[UInt8[np.ndarray, "R R 3"] | str],
        keep_pixels: bool,
    ) -> Decoded:
        """Replaces the cache.

        Args:
          identities: of the files.
          results: their images, or why there is none; taken while it is written.
          keep_pixels: keep the images, not only which ones are usable.

        Returns:
          The new content, with the pixels mapped from the file.
        """
        token = uuid.uuid4().hex
        name = f"pixels-{token}.npy" if keep_pixels else None
        temporary = self.directory / f"pixels-{token}.tmp"
        if keep_pixels:
            try:
                reasons = self._write_pixels(temporary, len(identities), results)
                os.replace(temporary, self.directory / name)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        else:
            reasons = [result if isinstance(result, str) else None for result in results]
        pixels = self._map(name, len(identities))
        index = {
            "made_with": self._made_with,
            "files": [list(identity) for identity in identities],
            "unusable": {str(i): reason for i, reason in enumerate(reasons) if reason},
            "pixels": name,
            "sample": _sample(pixels),
        }
        _replace_text(self.directory / _INDEX, json.dumps(index))
        self._remove_leftovers(name)
        return Decoded(identities, reasons, pixels)

    def _parse(self, index: dict) -> Decoded | None:
        if index["made_with"] != self._made_with:
            return None
        identities = [(str(name), int(size), int(time)) for name, size, time in index["files"]]
        reasons: list[str | None] = [None] * len(identities)
        for i, reason in index["unusable"].items():
            reasons[int(i)] = str(reason)
        pixels = self._map(index["pixels"], len(identities))
        if _sample(pixels) != index["sample"]:
            raise ValueError("checksum of the pixels differs")
        return Decoded(identities, reasons, pixels)

    def _map(self, name: str | None, num_files: int) -> UInt8[np.ndarray, "F R R 3"] | None:
        """Maps the pixels, read only."""
        if name is None:
            return None
        try:
            pixels = np.load(self.directory / name, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise ValueError(f"{name} is missing") from error
        shape = (num_files, self._resolution, self._resolution, 3)
        if pixels.shape != shape or pixels.dtype != np.uint8:
            raise ValueError(f"{name} must be uint8 {shape}, is {pixels.dtype} {pixels.shape}")
        return pixels.view(np.ndarray)

    def _write_pixels(
        self, path: Path, num_files: int, results: Iterable[UInt8[np.ndarray, "R R 3"] | str]
    ) -> list[str | None]:
        """Writes the .npy file through to the disk; returns the reasons."""
        reasons: list[str | None] = []
        shape = (num_files, self._resolution, self._resolution, 3)
        blank = bytes(self._resolution**2 * 3)
        # Written, not mapped: a full disk is then an error and not the end of the process.
        with open(path, "wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for result in results:
                unusable = isinstance(result, str)
                reasons.append(result if unusable else None)
                file.write(blank if unusable else result.tobytes())
            file.flush()
            os.fsync(file.fileno())
        return reasons

    def _remove_leftovers(self, keep: str | None) -> None:
        """Removes pixels that the index does not name: older ones, and those of killed processes.

        Processes that have mapped them keep them.
        """
        for path in self.directory.glob("pixels-*"):
            if path.name != keep:
                path.unlink(missing_ok=True)


def _sample(pixels: UInt8[np.ndarray, "F R R 3"] | None) -> int | None:
    """Checksum of some images over the whole file: of all of them it would take too long."""
    if pixels is None:
        return None
    return zlib.crc32(np.ascontiguousarray(pixels[:: max(1, len(pixels) // _SAMPLES)]))


def _replace_text(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
