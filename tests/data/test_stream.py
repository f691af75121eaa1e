import threading
import time

import jax
import numpy as np
import pytest

from fsb.data.stream import epoch_indices, feed, permutation, resident
from fsb.errors import FsbError
from fsb.runtime.devices import layout


@pytest.mark.slow
def test_epochs_are_permutations_without_the_rest(key):
    indices = epoch_indices(key, 0, 9, num_examples=10, batch=3)
    assert indices.shape == (9, 3)
    assert indices.dtype == np.int32
    for epoch in range(3):
        seen = indices[3 * epoch : 3 * epoch + 3].ravel()
        expected = jax.random.permutation(jax.random.fold_in(key, epoch), 10)[:9]
        np.testing.assert_array_equal(seen, expected)
    assert (indices[:3] != indices[3:6]).any()


@pytest.mark.parametrize("cuts", [[1] * 20, [7, 13], [3, 4, 1, 12]])
def test_any_slicing_gives_the_same_order(key, cuts):
    whole = epoch_indices(key, 5, 20, num_examples=11, batch=2)
    at, pieces = 5, []
    for steps in cuts:
        pieces.append(epoch_indices(key, at, steps, 11, 2))
        at += steps
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_keys_differ_and_nothing_is_compiled_twice(key):
    first = epoch_indices(key, 0, 4, 101, 10)
    compiled = permutation._cache_size()
    assert (first != epoch_indices(jax.random.key(7), 0, 4, 101, 10)).any()
    epoch_indices(key, 1234, 57, 101, 10)
    assert permutation._cache_size() == compiled


@pytest.mark.parametrize("batch", [0, 11, -1])
def test_a_batch_must_fit(key, images, batch):
    with pytest.raises(FsbError, match=r"batch="):
        epoch_indices(key, 0, 1, 10, batch)
    with pytest.raises(FsbError, match=r"batch="):
        feed(images(10, 2), key, batch, 4)


def collect(pool_feed, plan, start=0):
    """The images of each step, as a training loop with calls of these lengths sees them."""
    seen, shapes = [], set()
    for steps in plan:
        pool, indices = pool_feed(start, steps)
        shapes.add((pool.shape, indices is None or indices.shape))
        of = pool if indices is None else np.asarray(pool)[np.asarray(indices)]
        seen += [*np.asarray(of)[:steps]]
        start += steps
    return np.stack(seen), shapes


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 2**30])
@pytest.mark.parametrize("plan", [[4, 4, 4], [4, 1, 3, 2, 2], [1] * 12])
def test_both_feeds_give_the_images_of_epoch_indices(key, images, limit, plan):
    x = images(23, 3, 2)
    expected = x[epoch_indices(key, 0, 12, 23, 6)]
    with feed(x, key, 6, chunk=4, limit_bytes=limit, mesh=layout(2)) as pool_feed:
        seen, shapes = collect(pool_feed, plan)
        np.testing.assert_array_equal(seen, expected)
        assert len(shapes) == 1
        # going back, as after a resume, starts the order anew
        again, _ = collect(pool_feed, [3], start=6)
        np.testing.assert_array_equal(again, expected[6:9])
        with pytest.raises(FsbError, match=r"steps=5"):
            pool_feed(0, 5)


def test_resident_is_decided_by_size(images):
    x = images(10, 4)
    assert resident(x, 40)
    assert not resident(x, 39)


class Counted:
    """Images that count how often they are gathered, and fail from some access on."""

    def __init__(self, images, fail_at=10**9):
        self.images, self.fail_at = images, fail_at
        self.shape, self.nbytes, self.accesses = images.shape, images.nbytes, 0

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.accesses += 1
        if self.accesses > self.fail_at:
            raise OSError("the disk is gone")
        return self.images[index]


def threads():
    return {thread for thread in threading.enumerate() if thread is not threading.main_thread()}


@pytest.mark.slow
def test_the_next_chunk_is_gathered_meanwhile_and_no_further(key, images):
    x = Counted(images(50, 2))
    with feed(x, key, 5, chunk=10, limit_bytes=0) as pool_feed:
        pool_feed(0, 10)
        deadline = time.monotonic() + 20
        while x.accesses < 30 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)
        assert 30 <= x.accesses <= 31  # two chunks ahead, and one batch in hand


@pytest.mark.slow
def test_an_error_of_the_thread_is_raised_by_the_next_call(key, images):
    before = threads()
    with feed(Counted(images(50, 2), fail_at=6), key, 5, chunk=4, limit_bytes=0) as pool_feed:
        pool_feed(0, 4)
        with pytest.raises(OSError, match=r"the disk is gone"):
            pool_feed(4, 4)
        assert threads() <= before


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_leaving_the_block_ends_the_thread(key, images, error):
    before = threads()

    def train():
        with feed(images(50, 2), key, 5, 4, limit_bytes=0) as pool_feed:
            pool_feed(0, 4)
            assert threads() - before
            raise error

    with pytest.raises(error):
        train()
    assert threads() <= before


@pytest.mark.parametrize(("limit", "of_each"), [(0, (4, 2, 2)), (2**30, (20, 2))])
def test_what_a_device_holds(key, images, limit, of_each):
    """All images, where they are few; else its share of every batch."""
    with feed(images(20, 2), key, 16, 4, limit_bytes=limit, mesh=layout(8)) as pool_feed:
        pool, _ = pool_feed(0, 1)
    assert [shard.data.shape for shard in pool.addressable_shards] == 8 * [of_each]
