"""Every unbiased estimator on a sigmoid belief net with three layers, by enumeration.

All that a VAE has: weights, biases and a learned prior, an encoder that the sites hang on, and a
loss (the -ELBO with analytic entropies) that holds the parameters directly as well.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest
from contract import BERNOULLI_ROWS, named

import fsb
from fsb.diagnostics import gradient_moments
from fsb.lab import problems

PROBLEM = problems.sbn(layers=3, width=2, batch_size=2)
UNBIASED = [
    row
    for row in BERNOULLI_ROWS
    if row.draws is None and row.forward != "exact" and not row.variant
]
BATCHES, CHUNKS, CHUNK = 16, 8, 256


@pytest.fixture(scope="module")
def exact():
    return fsb.exact_gradient(PROBLEM.loss, PROBLEM.points[0])


@pytest.mark.slow
@pytest.mark.parametrize("row", **named(UNBIASED))
def test_every_parameter_of_three_layers(row, exact):
    params, estimator = PROBLEM.points[0], row.make()
    fitted = fsb.init(estimator, PROBLEM.loss, params, jax.random.key(1))
    draw = jax.jit(gradient_moments(estimator, PROBLEM.loss, CHUNKS, CHUNK))
    batches = [draw(params, fitted, key) for key in jax.random.split(jax.random.key(2), BATCHES)]
    whole = batches[0]
    for batch in batches[1:]:
        whole = whole.merge(batch)
    variance = np.asarray(whole.squared_deviations, float) / float(whole.draws)
    true = np.asarray(jax.flatten_util.ravel_pytree(exact)[0], float)
    error = np.asarray(whole.mean, float) - true
    standard_error = np.sqrt(variance / float(whole.draws))
    assert (abs(error) <= 5 * standard_error + 1e-5).all()
    assert np.abs(true).min() >= 0
    projections = np.array([float(np.asarray(b.mean, float) @ true) for b in batches]) / (
        true @ true
    )
    spread = projections.std(ddof=1) / np.sqrt(BATCHES)
    assert abs(projections.mean() - 1) < 4 * spread + 1e-4
    assert 7 * spread < 0.1
    names = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)}
    assert any("prior" in name for name in names)
    assert len(names) == 13
