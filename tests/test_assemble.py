"""From a configuration to the parts of a run."""

from __future__ import annotations

import pytest

from fsb.networks import (
    BernoulliLikelihood,
    DiscretizedGaussianLikelihood,
    DiscretizedLogisticLikelihood,
    GaussianLikelihood,
)
from runs import assembled

LEVELS = "data.binarisation=levels"


@pytest.mark.parametrize(
    ("overrides", "likelihood", "offset"),
    [
        ((), BernoulliLikelihood(), None),
        (("data.binarisation=dequantised",), GaussianLikelihood(), 8.0),
        ((LEVELS,), DiscretizedLogisticLikelihood(), 0.0),
        ((LEVELS, "likelihood=discretized_gaussian"), DiscretizedGaussianLikelihood(), 0.0),
    ],
)
def test_the_likelihood_of_the_data(overrides, likelihood, offset):
    parts, _ = assembled(*overrides)
    assert parts.recipe.model.likelihood == likelihood
    assert type(parts.recipe.model.likelihood) is type(likelihood)
    assert parts.data.preprocess.bits_offset == offset
