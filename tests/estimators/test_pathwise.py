"""Pathwise gradients against quadrature of E[f d log p], with f itself and not its derivative."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import oracle as o
import pytest

import fsb

LOC, SCALE = np.float32([[0.3, -0.6]] * 6), np.float32([[0.8, 0.5]] * 6)
C = np.float32([1.0, 0.6])
NOISE = np.linspace(-7, 7, 701)
WEIGHT = np.exp(-(NOISE**2) / 2) * (NOISE[1] - NOISE[0]) / np.sqrt(2 * np.pi)


def grid(noise, *etas):
    """z and d log p / d (loc, scale) of a unit of each (loc, scale), at standard noise."""
    return [
        (loc + scale * e, (e / scale, (e * e - 1) / scale))
        for e, (loc, scale) in zip(noise, etas, strict=True)
    ]


def one_layer(params, sample):
    """A row a loss of the oracle, two units each."""
    z = sample("z", fsb.Normal(), params)
    rows = [f(jnp, z[k]) for k, (f, _) in enumerate(o.LOSSES.values())]
    return jnp.stack(rows) @ C


def two_layers(params, sample):
    """The second unit has the first one's sine as its location."""
    z = sample("z", fsb.Normal(), (params[0][:, :1], params[1][:, :1]))
    y = sample("y", fsb.Normal(), (jnp.sin(2 * z) + params[0][:, 1:], params[1][:, 1:]))
    return (y**2 * z + jnp.cos(y))[:, 0]


def check(loss, expected, number=2**17):
    """``expected`` [2, 6, 2]: by loc and scale, row and unit."""
    params = (jnp.asarray(LOC), jnp.asarray(SCALE))
    draws = fsb.sample_gradients(fsb.pathwise(), loss, params, jax.random.key(0), number)
    draws = len(LOC) * np.stack(draws, 1).astype(float)  # undoes the mean over the batch
    standard_error = draws.std(0) / np.sqrt(number)
    error = np.abs(draws.mean(0) - expected)

    assert (error < 4.5 * standard_error + 1e-3 * np.abs(expected) + 1e-4).all()
    relative = np.tensordot(draws, expected, expected.ndim) / (expected**2).sum()
    standard_error = relative.std() / np.sqrt(number)
    assert 7 * standard_error < 0.02  # sees an error of 2%
    assert abs(relative.mean() - 1) < 4 * standard_error + 1e-3


@pytest.mark.slow
def test_mean_of_one_layer():
    noise = np.meshgrid(NOISE, NOISE, indexing="ij")
    weight = np.outer(WEIGHT, WEIGHT)
    (z0, scores0), (z1, scores1) = grid(noise, *zip(LOC[0], SCALE[0], strict=True))
    z = np.stack([z0, z1], -1)
    expected = np.zeros((2, len(o.LOSSES), 2))
    for row, (f, _) in enumerate(o.LOSSES.values()):
        value = f(np, z) @ C
        for unit, scores in enumerate((scores0, scores1)):
            expected[:, row, unit] = [(weight * value * score).sum() for score in scores]
    check(one_layer, expected)


@pytest.mark.slow
def test_mean_of_two_layers():
    noise = np.meshgrid(NOISE, NOISE, indexing="ij")
    ((z, scores_z),) = grid(noise[:1], (LOC[0, 0], SCALE[0, 0]))
    ((y, scores_y),) = grid(noise[1:], (np.sin(2 * z) + LOC[0, 1], SCALE[0, 1]))
    value = np.outer(WEIGHT, WEIGHT) * (y**2 * z + np.cos(y))
    expected = [[(value * scores[i]).sum() for scores in (scores_z, scores_y)] for i in (0, 1)]
    check(two_layers, np.broadcast_to(np.array(expected)[:, None], (2, len(LOC), 2)))


@pytest.mark.slow
def test_sine_has_the_closed_form():
    """E sin(wz) = sin(wm) exp(-w^2 s^2 / 2)."""
    w, m, s = 1.3, 0.4, 0.7
    number = 2**18
    eta = (jnp.full((number, 1), m), jnp.full((number, 1), s))
    _, grads = fsb.value_and_grad(
        fsb.pathwise(), lambda eta, sample: jnp.sin(w * sample("z", fsb.Normal(), eta))[:, 0]
    )(eta, jax.random.key(0))
    damping = np.exp(-((w * s) ** 2) / 2)
    by_loc, by_scale = (number * np.asarray(g, float)[:, 0] for g in grads)
    for got, true in (
        (by_loc, w * np.cos(w * m) * damping),
        (by_scale, -(w**2) * s * np.sin(w * m) * damping),
    ):
        assert got.mean() == pytest.approx(true, abs=4 * got.std() / np.sqrt(number))
