"""The template for a new estimator is an estimator, and right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fsb
from fsb.estimators._template import template

ETA = jnp.array([[0.3, -1.2, 2.0]])


def loss(eta, sample):
    z = sample("z", fsb.Bernoulli(-1.0, 1.0), eta)
    return jnp.sin(z).sum(-1) + z[:, 0] * z[:, 1] ** 2


@pytest.mark.slow
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_it_is_the_mixture_that_it_says(key, weight):
    gradients = {
        name: fsb.value_and_grad(estimator, loss)(ETA, key)[1]
        for name, estimator in (
            ("st", fsb.st()),
            ("darn", fsb.darn()),
            ("template", template(weight)),
        )
    }
    mixed = (1 - weight) * gradients["st"] + weight * gradients["darn"]
    np.testing.assert_allclose(gradients["template"], mixed, rtol=1e-5)
    assert abs(gradients["st"] - gradients["darn"]).max() > 0.01


def test_a_setting_out_of_range():
    with pytest.raises(fsb.FsbError, match="weight=2"):
        template(2)


def test_it_refuses_other_families():
    with pytest.raises(fsb.FsbError, match="template supports Bernoulli sites, not Normal"):
        fsb.value_and_grad(
            template(), lambda eta, sample: sample("z", fsb.Normal(), (eta, 1 + eta)).sum(-1)
        )(jnp.zeros((1, 1)), jax.random.key(0))
