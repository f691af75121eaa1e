"""From a configuration to the parts of a run."""

from __future__ import annotations

import pytest

from fsb.cli.program import preflight
from fsb.cli.schema import Train
from fsb.errors import FsbError
from fsb.networks import (
    BernoulliLikelihood,
    DiscretizedGaussianLikelihood,
    DiscretizedLogisticLikelihood,
    GaussianLikelihood,
)
from fsb.training.setup import assemble
from runs import assembled

LEVELS = "data.binarisation=levels"


@pytest.mark.slow
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


def test_a_part_without_a_factory_is_named():
    with pytest.raises(FsbError, match="estimator: its configuration has no _target_"):
        preflight("train", ["~estimator._target_"], Train, assemble)
