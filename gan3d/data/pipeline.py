"""From a source to an endless stream of batches, prepared ahead of the training step.

The stream is a pure function of (seed, position): the image at position p is decided by p alone, so
that a run resumed after p images sees exactly what it would have seen.

Shape letters: B batch size, R resolution.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Int, UInt8, UInt64

    from gan3d.data.sources import ImageSource

_ORDER_STREAM, _MIRROR_STREAM = 1, 2
_POLL_SECONDS = 0.1


def batches(
    source: ImageSource,
    batch_size: int,
    seed: int,
    start_images: int = 0,
    mirror: bool = False,
    prefetch: int = 2,
    process_index: int = 0,
    process_count: int = 1,
) -> Batches:
    """Endless batches of a source: every epoch is a new permutation; a batch may span epochs.

    The image at a position of the stream, mirrored or not, depends on the seed and the position
    alone. Of several processes each gets its share of every batch, in order: one after the other
    the shares are the batch that a single process would get.

    Args:
      source: the images.
      batch_size: images per batch over all processes, B.
      seed: seed of the order and of the mirroring.
      start_images: position of the first image; images seen so far, when a run is resumed.
      mirror: mirror half of the images, chosen at random by position.
      prefetch: batches prepared ahead by a thread; 0 = none, each is prepared when asked for.
      process_index: which process this is, in [0, P).
      process_count: number of processes, P; divides B.

    Returns:
      Iterator of uint8 [B/P, R, R, 3]. Close it, or use it as a context manager, to stop the
      thread.

    Raises:
      ValueError: the source is empty, or a number is out of range.

    >>> from gan3d.visualize import save_png
    >>> for level in (0, 100, 200):
    ...     save_png(folder / f"{level}.png", np.full((8, 8, 3), level, np.uint8))
    >>> source = open_source(f"folder:{folder}", resolution=8)
    >>> stream: Batches = batches(source, batch_size=3, seed=0)
    >>> images = next(stream)  # an epoch has every image once
    >>> print(images.shape, sorted(int(image.mean()) for image in images))
    (3, 8, 8, 3) [0, 100, 200]
    >>> stream.close()
    """
    if len(source) < 1:
        raise ValueError(f"source must hold at least 1 image, got {source.name!r} with none")
    if prefetch < 0:
        raise ValueError(f"prefetch must be at least 0, got {prefetch}")
    _check_numbers(batch_size, start_images, process_index, process_count)
    share = batch_size // process_count
    start = start_images + process_index * share
    return Batches(_prepare(source, share, batch_size, seed, start, mirror), prefetch)


def _check_numbers(
    batch_size: int, start_images: int, process_index: int, process_count: int
) -> None:
    """Raises ValueError if a number is out of range."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if start_images < 0:
        raise ValueError(f"start_images must be at least 0, got {start_images}")
    if process_count < 1:
        raise ValueError(f"process_count must be at least 1, got {process_count}")
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index must be in [0, {process_count}), got {process_index}")
    if batch_size % process_count:
        raise ValueError(
            f"batch_size must be divisible by process_count, {process_count}, got {batch_size}"
        )


class Batches(Iterator):
    """Iterator of batches that a thread prepares ahead; the thread's errors reach the consumer."""

    def __init__(self, prepared: Iterator[UInt8[np.ndarray, "B R R 3"]], prefetch: int):
        self._prepared = prepared
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        if prefetch:
            self._ready: queue.Queue = queue.Queue(maxsize=prefetch)
            # The thread knows the queue and the event, not `self`: an iterator that was dropped
            # without being closed is then collected, and its thread stops.
            arguments = (prepared, self._ready, self._stop)
            self._thread = threading.Thread(
                target=_fill, args=arguments, name="batches", daemon=True
            )
            weakref.finalize(self, self._stop.set)
            self._thread.start()

    def __next__(self) -> UInt8[np.ndarray, "B R R 3"]:
        if self._stop.is_set():
            raise StopIteration
        if self._thread is None:
            return next(self._prepared)
        item = self._ready.get()
        if isinstance(item, BaseException):
            self.close()
            raise item
        return item

    def close(self) -> None:
        """Stops the thread and waits for it; the iterator is then exhausted."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def epoch_order(num_images: int, seed: int, epoch: int) -> Int[np.ndarray, " N"]:
    """The permutation of one epoch."""
    # Sorting hashes, and not a library's shuffle, keeps the order the same over versions of the
    # library.
    return np.argsort(_hash(seed, _ORDER_STREAM, epoch, np.arange(num_images)), kind="stable")


def mirrored(seed: int, positions: Int[np.ndarray, " B"]) -> Bool[np.ndarray, " B"]:
    """Which positions of the stream are mirrored: a fair coin for each."""
    return (_hash(seed, _MIRROR_STREAM, positions) >> np.uint64(63)).astype(bool)


def _prepare(
    source: ImageSource, share: int, stride: int, seed: int, position: int, mirror: bool
) -> Iterator[UInt8[np.ndarray, "B R R 3"]]:
    """The stream itself: `share` images from `position` on, and again every `stride` positions."""
    orders: dict[int, np.ndarray] = {}
    while True:
        positions = np.arange(position, position + share, dtype=np.int64)
        epochs, offsets = np.divmod(positions, len(source))
        orders = {
            epoch: orders[epoch] if epoch in orders else epoch_order(len(source), seed, epoch)
            for epoch in np.unique(epochs).tolist()
        }
        indices = np.array([orders[e][o] for e, o in zip(epochs.tolist(), offsets, strict=True)])
        images = _fetch(source, indices)
        if mirror:
            flips = mirrored(seed, positions)[:, None, None, None]
            images = np.where(flips, images[:, :, ::-1], images)
        yield images
        position += stride


def _fetch(source: ImageSource, indices: Int[np.ndarray, " B"]) -> UInt8[np.ndarray, "B R R 3"]:
    """Images of a source, all at once if it can."""
    fetch_batch = getattr(source, "batch", None)
    if fetch_batch is not None:
        return fetch_batch(indices)
    return np.stack([source[int(index)] for index in indices])


def _fill(prepared: Iterator, ready: queue.Queue, stop: threading.Event) -> None:
    """Body of the thread: puts batches, or the error that ended them, until told to stop."""
    while not stop.is_set():
        try:
            item = next(prepared)
        except BaseException as error:
            item = error
        while not stop.is_set():
            try:
                ready.put(item, timeout=_POLL_SECONDS)
                break
            except queue.Full:
                continue
        if isinstance(item, BaseException):
            return


def _hash(*words: int | Int[np.ndarray, " N"]) -> UInt64[np.ndarray, " N"]:
    """64 well-mixed bits of a sequence of integers or integer arrays: rounds of SplitMix64."""
    state = np.zeros(1, np.uint64)
    for word in words:
        state = state ^ np.atleast_1d(np.asarray(word)).astype(np.uint64)
        state = state + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state
