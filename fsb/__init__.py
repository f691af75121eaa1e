"""fsb: gradient estimation for networks with stochastic layers, in JAX."""

from importlib.metadata import version as _version

from fsb.diagnostics import exact_gradient, sample_gradients
from fsb.distributions import Bernoulli, Normal
from fsb.estimators import (
    darn,
    deterministic_st,
    exact,
    foust,
    gumbel_softmax,
    local,
    pathwise,
    st,
    st_gumbel_softmax,
)
from fsb.gradients import Gradients, init, stateful_value_and_grad, value_and_grad
from fsb.types import Aux, Distribution, Estimator, Evidence, FsbError

__version__ = _version("fsb")

__all__ = [
    "Aux",
    "Bernoulli",
    "Distribution",
    "Estimator",
    "Evidence",
    "FsbError",
    "Gradients",
    "Normal",
    "darn",
    "deterministic_st",
    "exact",
    "exact_gradient",
    "foust",
    "gumbel_softmax",
    "init",
    "local",
    "pathwise",
    "sample_gradients",
    "st",
    "st_gumbel_softmax",
    "stateful_value_and_grad",
    "value_and_grad",
]
