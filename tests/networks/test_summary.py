"""The line that says what a model is."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
import pytest

from fsb.distributions import Normal
from fsb.networks import BernoulliLikelihood, vae
from fsb.networks.summary import summary


@pytest.mark.slow
def test_categorical_units_hold_a_fraction_of_a_bit_more():
    model = vae((4, 4), BernoulliLikelihood(), layers=2, width=20, values=10, hidden=1)
    line = summary(model, (4, 4))
    assert line.endswith("4 deterministic and 2 stochastic layers, 133 stochastic bits an image")


class Mixed(nn.Module):
    """One continuous layer; it does not say how many deterministic ones it has."""

    @nn.compact
    def __call__(self, x, sample):
        return sample("z", Normal(), (nn.Dense(3)(x), jnp.ones((1, 3))))


def test_a_model_of_ones_own_and_continuous_units():
    assert (
        summary(Mixed(), (7,)) == "24 parameters, 1 stochastic layers, 0 stochastic bits an image"
    )
