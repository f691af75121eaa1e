"""The pictures of a run: what stands where."""

import numpy as np
import pytest

from fsb.training import images
from fsb.training.results import variables
from runs import assembled

COPY = ("model=structured", "model.width=64", "data.binarisation=threshold")


def drawn(*overrides):
    parts, _ = assembled(*overrides)
    return parts, images.draw(parts, variables(parts, parts.first_state()))


@pytest.mark.slow
def test_a_reconstruction_stands_by_its_image():
    """From a net that copies: structured prediction hands the upper half on."""
    parts, (x, mean, _) = drawn(*COPY)
    stored = parts.data.test[: images.COUNT]
    np.testing.assert_array_equal(x, stored > 127)
    np.testing.assert_array_equal(mean[:, :4], x[:, :4])
    assert mean.shape == x.shape


@pytest.mark.slow
def test_a_row_of_samples_shares_its_image_where_one_is_needed():
    _, (x, _, samples) = drawn(*COPY)
    rows = samples.reshape(images.ROWS, images.COLUMNS, *x.shape[1:])
    for number, row in enumerate(rows):
        np.testing.assert_array_equal(row[:, :4], np.broadcast_to(x[number, :4], (10, 4, 8)))
        assert len(np.unique(row.reshape(images.COLUMNS, -1), axis=0)) == images.COLUMNS


@pytest.mark.slow
def test_no_two_samples_are_the_same():
    _, (_, _, samples) = drawn("model.width=64")
    assert len(samples) == images.COUNT
    assert len(np.unique(samples.reshape(images.COUNT, -1), axis=0)) == images.COUNT
