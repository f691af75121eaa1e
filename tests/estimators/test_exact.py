"""The enumeration itself; its gradients are in test_means.py."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import oracle as o
import pytest

import fsb


@pytest.mark.slow
def test_a_site_that_cannot_be_enumerated_is_named_in_one_line():
    def loss(eta, sample):
        return sample("bits", fsb.Bernoulli(), eta).sum(-1) + sample(
            "code", fsb.Normal(), (eta, eta)
        ).sum(-1)

    with pytest.raises(fsb.FsbError) as caught:
        fsb.value_and_grad(fsb.exact(), loss)(jnp.ones((2, 2)), jax.random.key(0))
    assert str(caught.value) == (
        "site 'code': Normal has infinitely many values and cannot be enumerated"
    )


@pytest.mark.slow
def test_value_of_the_exact_estimator_is_the_expectation():
    eta = jnp.array([[0.3, -1.0]])
    value, _ = fsb.value_and_grad(
        fsb.exact(), lambda eta, sample: jnp.exp(sample("b", fsb.Bernoulli(-1, 1), eta)).prod(-1)
    )(eta, jax.random.key(0))
    p = o.sigmoid(np.asarray(eta[0]))
    assert value == pytest.approx(np.prod(p * np.e + (1 - p) / np.e), rel=1e-5)
