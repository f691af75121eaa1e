"""Every pixel of a grid is where it should be."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from fsb.errors import FsbError
from fsb.storage.pictures import (
    GAP,
    image_grid,
    reconstruction_grid,
    save_images,
    save_reconstructions,
)


def flat(*greys):
    """One image of 2 x 3 pixels for every grey."""
    return np.broadcast_to(np.array(greys)[:, None, None], (len(greys), 2, 3))


def places(grid, rows, columns):
    """The first pixel of each place of a grid of 2 x 3 images with a gap of 1."""
    return [[int(grid[1 + 3 * r, 1 + 4 * c]) for c in range(columns)] for r in range(rows)]


def test_images_lie_row_by_row_between_gaps():
    grid = image_grid(flat(0.0, 1.0, 0.2, 0.4), rows=2, columns=3)
    assert grid.dtype == np.uint8
    assert grid.shape == (2 * 3 + 1, 3 * 4 + 1)
    assert places(grid, 2, 3) == [[0, 255, 51], [102, GAP, GAP]]
    assert (grid[::3] == GAP).all()
    assert (grid[:, ::4] == GAP).all()


def test_values_outside_are_clipped():
    grid = image_grid(flat(-3.0, 7.0, np.nan), rows=1, columns=3)
    assert places(grid, 1, 3) == [[0, 255, 0]]


def test_colours_and_channels_of_one():
    images = np.zeros((2, 4, 4, 3))
    images[0, ..., 2] = 1.0
    grid = image_grid(images, 1, 2, gap=0)
    assert grid.shape == (4, 8, 3)
    assert grid[0, 0].tolist() == [0, 0, 255]
    one = jnp.ones((2, 4, 4, 1), jnp.bfloat16)
    assert image_grid(one, 1, 2, gap=0).shape == (4, 8)


@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 3, 2), (1, 2, 3, 3, 3)])
def test_wrong_shapes(shape):
    with pytest.raises(FsbError, match=r"must be \[N, H, W\]"):
        image_grid(np.zeros(shape), 1, 3)


def test_too_many_images():
    with pytest.raises(FsbError, match="4 images do not fit in a 1 x 3 grid"):
        image_grid(flat(0, 0, 0, 0), 1, 3)


def test_each_reconstruction_lies_below_its_original():
    originals, reconstructions = flat(0.0, 0.2, 0.4, 0.6, 0.8), flat(1.0, 0.8, 0.6, 0.4, 0.2)
    grid = reconstruction_grid(originals, reconstructions, columns=2)
    assert places(grid, 4, 2) == [[0, 51], [255, 204], [102, 153], [153, 102]]
    assert places(reconstruction_grid(originals[:1], reconstructions[:1]), 2, 1) == [[0], [255]]


@pytest.mark.parametrize("count", [0, 1])
def test_reconstructions_that_do_not_fit(count):
    with pytest.raises(FsbError, match="must have the same shape and at least one image"):
        reconstruction_grid(np.zeros((count, 2, 3)), np.zeros((count, 2, 2 + count * 2)))


@pytest.mark.slow
def test_saved_pictures_open_and_are_not_blank(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(25, 8, 8))
    save_images(tmp_path / "samples.png", images, title="samples")
    save_reconstructions(tmp_path / "pairs.png", images, 1 - images, title="reconstructions")
    save_images(tmp_path / "tall.png", rng.uniform(size=(60, 8, 8, 3)), columns=2)
    shapes = {}
    for path in tmp_path.iterdir():
        pixels = np.asarray(Image.open(path).convert("RGB"))
        shapes[path.stem] = pixels.shape
        assert 255 > pixels.mean() > 20
        assert pixels.std() > 20
    assert 1 < shapes["samples"][0] / shapes["samples"][1] < 1.1
    assert shapes["pairs"][0] < shapes["pairs"][1]
    assert shapes["tall"][0] < 1600
