import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsb.data.preprocess import choose, dequantised, dynamic, levels, static, threshold
from fsb.errors import FsbError

LEVELS = np.arange(256, dtype=np.uint8)[None].repeat(4000, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dynamic", "threshold", "dequantised", "levels"])
def test_expect_is_the_mean_of_apply(name, key):
    preprocess = choose(name)
    x = jax.jit(preprocess.apply)(key, LEVELS)
    assert x.shape == LEVELS.shape
    assert x.dtype == jnp.float32
    x = np.asarray(x, np.float64)
    error, variance = x.mean(0) - preprocess.expect(LEVELS[0]), x.var(0) / len(x)
    assert (abs(error) <= 4.5 * variance**0.5 + 1e-6).all()
    assert abs(error.mean()) <= 4 * variance.sum() ** 0.5 / error.size + 1e-6


@pytest.mark.slow
def test_dynamic_is_binary_fresh_and_exact_at_the_ends(key):
    apply = dynamic().apply
    x = np.asarray(apply(key, LEVELS))
    assert set(np.unique(x)) == {0.0, 1.0}
    assert not x[:, 0].any()
    assert x[:, 255].all()
    assert (x != np.asarray(apply(jax.random.key(1), LEVELS))).mean() > 0.2
    two = np.asarray(apply(key, np.full((4000, 2), 127, np.uint8)))
    assert abs(np.corrcoef(two.T)[0, 1]) < 0.06  # two halves of one word


@pytest.mark.slow
def test_dynamic_with_an_odd_number_of_pixels(key):
    x = dynamic().apply(key, jnp.full((3, 3, 3), 255, jnp.uint8))
    assert x.shape == (3, 3, 3)
    assert bool(x.all())


def test_threshold_is_above_127(key):
    x = threshold().apply(key, np.array([[127, 128]], np.uint8))
    assert x.tolist() == [[0.0, 1.0]]


def test_dequantised_lies_within_its_level(key):
    k = np.asarray(dequantised().apply(key, LEVELS)) * 256 - LEVELS
    assert k.min() >= 0
    assert k.max() <= 1
    assert k.std() == pytest.approx(12**-0.5, rel=0.01)
    assert dequantised().likelihood == "gaussian"


def test_levels_are_the_middles_of_their_bins(key):
    x = np.asarray(levels().apply(key, LEVELS))
    np.testing.assert_array_equal(256 * x[0], np.arange(256) + 0.5)
    np.testing.assert_array_equal(x, levels().apply(jax.random.key(1), LEVELS))
    assert levels().likelihood == "discretized_logistic"
    assert levels().bits_offset == 0.0  # their masses are those of the bytes


def test_bits_offset_bounds_the_mass_of_a_level():
    # If y has density 1 on [0, 1), every level has mass 1/256: 8 bits a pixel, and ELBO = 0.
    assert dequantised().bits_offset == 8.0
    assert dynamic().bits_offset is None


def test_static_is_drawn_once_and_keeps_binary_images(key, images):
    grey = images(5000, 3, 3)
    stored = static(5).store(grey, 0)
    assert set(np.unique(stored)) == {0, 255}
    assert stored.mean() == pytest.approx(grey.mean(), abs=2)
    np.testing.assert_array_equal(stored, static(5).store(grey, 0))
    assert (stored != static(6).store(grey, 0)).any()
    assert (stored != static(5).store(grey, 1)).any()
    np.testing.assert_array_equal(static(9).store(stored, 2), stored)
    x = static(5).apply(key, stored)
    np.testing.assert_array_equal(np.asarray(x) * 255, stored)


def test_a_wrong_name_gives_the_nearest():
    with pytest.raises(FsbError, match=r"dynamc.*did you mean dynamic"):
        choose("dynamc")
