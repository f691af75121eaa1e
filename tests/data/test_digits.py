import numpy as np
import pytest

from fsb.data import digits
from fsb.data.raw import digest
from fsb.errors import FsbError


def test_digits_are_split_and_scaled():
    dataset = digits()
    assert [len(x) for x in (dataset.train, dataset.valid, dataset.test)] == [1437, 180, 180]
    assert dataset.shape == (8, 8)
    assert dataset.train.dtype == np.uint8
    assert (dataset.train.min(), dataset.train.max()) == (0, 255)
    assert dataset.verified
    everything = np.concatenate([dataset.train, dataset.valid, dataset.test])
    assert len(np.unique(everything.reshape(1797, -1), axis=0)) == 1797  # no image in two splits


def test_the_split_is_that_of_every_run_so_far():
    dataset = digits()
    splits = (dataset.train, dataset.valid, dataset.test)
    assert [digest(images)[:8] for images in splits] == ["975aa9bd", "9311dadd", "c22f88e5"]


def test_static_digits_are_fixed_by_the_seed():
    first = digits(binarisation="static", seed=3)
    assert set(np.unique(first.train)) == {0, 255}
    np.testing.assert_array_equal(first.train, digits(binarisation="static", seed=3).train)


def test_a_root_is_a_mistake():
    with pytest.raises(FsbError, match=r"takes no folder"):
        digits(root="somewhere")
