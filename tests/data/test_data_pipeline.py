from __future__ import annotations

import gc
import threading
import time

import numpy as np
import pytest

from gan3d.data.pipeline import batches, epoch_order, mirrored


class NumberedSource:
    """Image i is filled with i; its left half is one brighter."""

    name = "numbered"

    def __init__(self, length):
        self._length = length

    def __len__(self):
        return self._length

    def __getitem__(self, index):
        image = np.full((4, 4, 3), index, np.uint8)
        image[:, :2] += 1
        return image


class BatchedSource(NumberedSource):
    """The same, many at once."""

    def batch(self, indices):
        return np.stack([self[i] for i in indices])


class FailingSource(NumberedSource):
    def __getitem__(self, index):
        raise OSError(f"cannot read image {index}")


def take(iterator, count):
    """The numbers of the images of `count` batches, in order."""
    return np.concatenate([next(iterator)[:, 0, 3, 0] for _ in range(count)])


@pytest.mark.parametrize("prefetch", [0, 2])
def test_every_epoch_is_another_permutation(prefetch):
    with batches(NumberedSource(10), 4, seed=1, prefetch=prefetch) as stream:
        numbers = take(stream, 10).reshape(4, 10)
    for epoch in numbers:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(10))
    assert len({tuple(epoch) for epoch in numbers}) == 4


@pytest.mark.parametrize("start", [0, 3, 8, 10, 37, 10**9 + 7])
def test_stream_is_a_function_of_seed_and_position(start):
    with batches(NumberedSource(10), 5, seed=1, start_images=start, mirror=True) as stream:
        images = np.concatenate([next(stream) for _ in range(6)])
    with batches(NumberedSource(10), 1, seed=1, start_images=start + 15, mirror=True) as resumed:
        rest = np.concatenate([next(resumed) for _ in range(15)])
    np.testing.assert_array_equal(images[15:], rest)


def test_seeds_differ():
    orders = [take(batches(NumberedSource(50), 50, seed=s, prefetch=0), 1) for s in (1, 2, 1)]
    assert (orders[0] != orders[1]).any()
    np.testing.assert_array_equal(orders[0], orders[2])


def test_order_is_fixed_for_all_time():
    """Runs must resume under later versions of the libraries: these numbers may never change."""
    np.testing.assert_array_equal(epoch_order(8, seed=0, epoch=0), [1, 6, 5, 4, 3, 7, 2, 0])
    np.testing.assert_array_equal(mirrored(0, np.arange(8)), [1, 0, 0, 1, 0, 0, 1, 1])


def test_order_is_unbiased():
    first = [epoch_order(5, seed=0, epoch=epoch)[0] for epoch in range(2000)]
    np.testing.assert_allclose(np.bincount(first) / 2000, 0.2, atol=0.04)


def test_batch_larger_than_the_source():
    with batches(NumberedSource(3), 8, seed=0) as stream:
        numbers = take(stream, 3)
    for epoch in numbers.reshape(8, 3):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(3))


def test_batched_access_gives_the_same_images():
    one_by_one = batches(NumberedSource(10), 4, seed=2, prefetch=0)
    at_once = batches(BatchedSource(10), 4, seed=2, prefetch=0)
    for _ in range(4):
        np.testing.assert_array_equal(next(one_by_one), next(at_once))


def test_mirror_turns_half_of_the_images_by_position():
    with batches(NumberedSource(100), 100, seed=3, mirror=True) as stream:
        images = next(stream)
    turned = images[:, 0, 0, 0] < images[:, 0, 3, 0]
    np.testing.assert_array_equal(turned, mirrored(3, np.arange(100)))
    assert 30 < turned.sum() < 70
    assert (mirrored(3, np.arange(100)) != mirrored(4, np.arange(100))).any()


def test_no_mirror_by_default():
    with batches(NumberedSource(100), 100, seed=3) as stream:
        images = next(stream)
    assert (images[:, 0, 0, 0] > images[:, 0, 3, 0]).all()


def parts(process_count, count, **arguments):
    """What each of several processes gets, batch by batch."""
    streams = [
        batches(
            NumberedSource(10),
            12,
            seed=5,
            process_index=i,
            process_count=process_count,
            **arguments,
        )
        for i in range(process_count)
    ]
    shares = [[next(stream) for stream in streams] for _ in range(count)]
    for stream in streams:
        stream.close()
    return shares


@pytest.mark.parametrize("process_count", [1, 2, 4])
@pytest.mark.parametrize("start", [0, 7])
def test_shares_of_the_processes_are_the_batch_of_one(process_count, start):
    with batches(NumberedSource(10), 12, seed=5, start_images=start, mirror=True) as stream:
        whole = [next(stream) for _ in range(5)]
    shared = parts(process_count, 5, start_images=start, mirror=True)
    for batch, shares in zip(whole, shared, strict=True):
        assert [len(share) for share in shares] == [12 // process_count] * process_count
        np.testing.assert_array_equal(np.concatenate(shares), batch)


def test_processes_share_every_epoch_without_overlap():
    """12 images a batch, 10 an epoch: 5 batches are 6 epochs."""
    numbers = np.concatenate([s[:, 0, 3, 0] for shares in parts(4, 5) for s in shares])
    for epoch in numbers.reshape(6, 10):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(10))


@pytest.mark.parametrize("prefetch", [0, 2])
def test_errors_of_the_source_reach_the_consumer(prefetch):
    stream = batches(FailingSource(10), 4, seed=0, prefetch=prefetch)
    with pytest.raises(OSError, match="cannot read image"):
        next(stream)
    stream.close()


def test_close_stops_the_thread_and_ends_the_iterator():
    stream = batches(NumberedSource(10), 4, seed=0)
    next(stream)
    stream.close()
    stream.close()
    assert not running()
    assert list(stream) == []


def test_dropped_iterator_stops_its_thread():
    stream = batches(NumberedSource(10), 4, seed=0)
    next(stream)
    del stream
    gc.collect()
    deadline = time.monotonic() + 5
    while running() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not running()


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="source must hold at least 1 image"):
        batches(NumberedSource(0), 4, seed=0)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        batches(NumberedSource(1), 0, seed=0)
    with pytest.raises(ValueError, match="start_images must be at least 0, got -1"):
        batches(NumberedSource(1), 1, seed=0, start_images=-1)
    with pytest.raises(ValueError, match="prefetch must be at least 0, got -1"):
        batches(NumberedSource(1), 1, seed=0, prefetch=-1)
    with pytest.raises(ValueError, match="process_count must be at least 1, got 0"):
        batches(NumberedSource(1), 1, seed=0, process_count=0)
    with pytest.raises(ValueError, match=r"process_index must be in \[0, 2\), got 2"):
        batches(NumberedSource(1), 2, seed=0, process_index=2, process_count=2)
    with pytest.raises(ValueError, match="batch_size must be divisible by process_count, 4, got 6"):
        batches(NumberedSource(1), 6, seed=0, process_count=4)


def running():
    return [thread for thread in threading.enumerate() if thread.name == "batches"]
