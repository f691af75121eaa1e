"""The laws that suite=scaling fits."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from fsb.bench.scaling import fit, law, require_grid
from fsb.errors import FsbError

X = [50, 100, 200, 400, 800]


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.37, 2.0, 3.0])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_known_exponents_are_found(exponent, share):
    """``share`` of the first time is the constant."""
    times = [4.0 * (share + (1 - share) * (x / X[0]) ** exponent) for x in X]
    found = fit(X, times)
    assert found.exponent == pytest.approx(exponent, abs=1e-3)
    assert found.constant == pytest.approx(4.0 * share, abs=0.01)
    assert found.scale == pytest.approx(4.0 * (1 - share) / X[0] ** exponent, rel=0.02)
    assert found.error < 1e-4


def test_noise_of_a_percent_moves_an_exponent_little():
    rng = np.random.default_rng(0)
    exact = np.array([1.0 + 0.01 * x**1.5 for x in X])
    times = exact[:, None] * np.exp(0.01 * rng.normal(size=(5, 20)))
    row = law(X, times)
    assert row["exponent"] == pytest.approx(1.5, abs=0.03)
    assert row["quartile_1"] < row["exponent"] < row["quartile_3"]
    assert row["quartile_3"] - row["quartile_1"] < 0.1
    assert row["last_exponent"] == pytest.approx(1.5, abs=0.05)
    assert row["share_of_constant"] == pytest.approx(1 / exact[0], abs=0.05)
    assert (row["from"], row["to"]) == (50, 800)


def test_every_point_weighs_by_its_own_size():
    times = np.array([3.3, 5.0, 11.0, 22.0, 70.0])
    found = fit(X, times)
    at = found.constant + found.scale * np.power(X, found.exponent)
    assert found.error == pytest.approx(np.sqrt(np.mean((at / times - 1) ** 2)))
    for moved in (0.98, 1.02):
        other = found.constant + moved * found.scale * np.power(X, found.exponent)
        assert np.sqrt(np.mean((other / times - 1) ** 2)) > found.error


def test_a_time_that_does_not_grow_is_constant():
    found = fit(X, [2.0] * 5)
    assert found.constant + found.scale * max(X) ** found.exponent == pytest.approx(2.0)
    assert found.error < 1e-6


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ({"widht": [1, 2, 3, 4]}, "did you mean width"),
        ({"width": [1, 2, 4]}, "grid.width: needs 4 rising values"),
        ({"layers": [8, 4, 2, 1]}, "grid.layers: needs 4 rising values"),
    ],
)
def test_a_grid_that_cannot_be_fitted(grid, told):
    with pytest.raises(FsbError, match=told):
        require_grid(OmegaConf.create({"grid": grid}))
