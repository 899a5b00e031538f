"""Sources of images that lie in files: what is unusable is known at opening, pixels are kept.

Shape letters: N number of images asked for, F number of files, R resolution.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import logging

from gan3d.data.cache import ENVIRONMENT_VARIABLE, Decoded, DecodedCache, Identity, cache_root
from gan3d.data.decode import decode_image, why_unreadable
from gan3d.data.progress import with_progress

if TYPE_CHECKING:
    from jaxtyping import Int, UInt8

MEMORY_BYTES = 2 * 2**30
_MAX_THREADS = 16
# Files given to the threads at a time; what they have decoded waits in memory until it is stored.
_CHUNK = 1024
_MAX_LINES = 50


class UnreadableImageError(OSError):
    """An image that was good when its source was opened can no longer be read.

    >>> from gan3d.visualize import save_png
    >>> save_png(folder / "a.png", np.zeros((8, 8, 3), np.uint8))
    >>> source = FolderSource(folder, resolution=8, memory_bytes=0)  # keep no pixels
    >>> (folder / "a.png").unlink()
    >>> try:
    ...     source[0]
    ... except UnreadableImageError as error:
    ...     print(str(error).startswith("a.png of folder:"))
    True
    """


class EncodedSource:
    """Images of files, made squares of one size: the part that all such sources share.

    Every file is decoded once at the first opening, in several threads, so that what cannot be
    read is known before training starts. The decoded images are kept in a cache on disk (see
    `gan3d.data.cache`), from which all later openings take them; without a cache they are kept in
    memory if they fit; otherwise they are decoded again whenever they are asked for.

    Attributes:
      name: what it was opened from.
      skipped: (name, reason) of every file that is not used.
    """

    def __init__(
        self,
        name: str,
        encoded: Sequence[Path | bytes],
        identities: list[Identity],
        resolution: int,
        *,
        location: str,
        memory_bytes: int = MEMORY_BYTES,
    ):
        """Decodes the files, or finds them decoded.

        Args:
          name: what it was opened from.
          encoded: the files: a path or the bytes of each. May raise for one that cannot be read.
          identities: name, size and time of last change of each.
          resolution: height and width of the images, in pixels.
          location: names the source in the cache.
          memory_bytes: memory that decoded images may take, where there is no cache.

        Raises:
          ValueError: there is no usable image.
        """
        self.name = name
        self._encoded, self._identities = encoded, identities
        self._resolution = resolution
        self._pool = ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1), "decode")
        decoded = self._decoded(location, memory_bytes)
        self._pixels = decoded.pixels
        self._usable = np.flatnonzero([reason is None for reason in decoded.reasons])
        names = [identity[0] for identity in identities]
        self.skipped = [(n, r) for n, r in zip(names, decoded.reasons, strict=True) if r]
        self._report()

    def __len__(self) -> int:
        return len(self._usable)

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "R R 3"]:
        file = int(self._usable[index])
        if self._pixels is not None:
            return self._pixels[file].copy()
        result = self._try_decode(file)
        if isinstance(result, str):
            raise UnreadableImageError(
                f"{self._identities[file][0]} of {self.name} can no longer be read: {result}"
            )
        return result

    def batch(self, indices: Int[np.ndarray, " N"]) -> UInt8[np.ndarray, "N R R 3"]:
        """Many images, decoded in several threads where they are not kept.

        Raises:
          UnreadableImageError: a file has gone or changed, and its pixels were not kept.
        """
        if self._pixels is not None:
            return self._pixels[self._usable[indices]]
        return np.stack(list(self._pool.map(self.__getitem__, [int(i) for i in indices])))

    def _decoded(self, location: str, memory_bytes: int) -> Decoded:
        """All files, from the cache if there is one."""
        root = cache_root()
        if root is not None:
            try:
                return self._from_cache(DecodedCache(root, location, self._resolution))
            except OSError as error:
                logging.warning("no cache of decoded images: %s", error)
        files = range(len(self._identities))
        shape = (len(files), self._resolution, self._resolution, 3)
        pixels = np.zeros(shape, np.uint8) if np.prod(shape) <= memory_bytes else None
        reasons: list[str | None] = []
        for file, result in zip(files, self._decode_all({}, None), strict=True):
            reasons.append(result if isinstance(result, str) else None)
            if pixels is not None and not isinstance(result, str):
                pixels[file] = result
        return Decoded(self._identities, reasons, pixels)

    def _from_cache(self, cache: DecodedCache) -> Decoded:
        """The cache's content; made first, of what has changed, if any file has.

        Raises:
          OSError: the cache cannot be written.
        """
        with cache.locked():
            kept = cache.read()
            room = cache.has_room(len(self._identities))
            complete = kept is not None and (kept.pixels is not None or not room)
            if complete and kept.identities == self._identities:
                return kept
            # Without pixels nothing can be taken over but the reasons, which are few.
            known = {file: i for i, file in enumerate(kept.identities)} if complete else {}
            logging.info(
                "decoding %s; kept for the next start in %s (%s moves it, empty = off)",
                self.name,
                cache.directory,
                ENVIRONMENT_VARIABLE,
            )
            return cache.write(self._identities, self._decode_all(known, kept), keep_pixels=room)

    def _decode_all(
        self, known: dict[Identity, int], kept: Decoded | None
    ) -> Iterator[UInt8[np.ndarray, "R R 3"] | str]:
        """Image, or why there is none, of every file in order.

        Args:
          known: where in `kept` files are that have not changed.
          kept: what was decoded before.
        """

        def result(file: int) -> UInt8[np.ndarray, "R R 3"] | str:
            before = known.get(self._identities[file])
            if before is None:
                return self._try_decode(file)
            if kept.reasons[before] is not None:
                return kept.reasons[before]
            return self._try_decode(file) if kept.pixels is None else kept.pixels[before]

        total = len(self._identities)
        chunks = (range(i, min(i + _CHUNK, total)) for i in range(0, total, _CHUNK))
        results = (image for chunk in chunks for image in self._pool.map(result, chunk))
        return with_progress(results, total, "decoded {} images")

    def _try_decode(self, file: int) -> UInt8[np.ndarray, "R R 3"] | str:
        """The image, or why there is none."""
        encoded = None
        try:
            encoded = self._encoded[file]
            return decode_image(encoded, self._resolution)
        # A damaged file makes Pillow raise anything from OSError to IndexError, and not one of them
        # must end the run.
        except Exception as error:
            return why_unreadable(error, encoded)

    def _report(self) -> None:
        """Logs what was found.

        Raises:
          ValueError: nothing usable was.
        """
        total = len(self._identities)
        if not len(self):
            name, reason = self.skipped[0]
            raise ValueError(
                f"data must name usable images, got {self.name!r} "
                f"where all {total} are unusable, such as {name}: {reason}"
            )
        logging.info("%s: %d images", self.name, len(self))
        if self.skipped:
            logging.warning("%s: skipped %d of %d files", self.name, len(self.skipped), total)
        for name, reason in self.skipped[:_MAX_LINES]:
            logging.warning("skipped %s: %s", name, reason)
        if len(self.skipped) > _MAX_LINES:
            logging.warning("and %d more", len(self.skipped) - _MAX_LINES)
