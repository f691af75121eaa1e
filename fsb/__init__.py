"""fsb: gradient estimation for networks with stochastic layers, in JAX."""

from importlib.metadata import version as _version

import fsb.runtime.startup as _startup  # noqa: F401 -- before the imports that take long
from fsb import distributions, estimators, fourier
from fsb.diagnostics import exact_gradient, sample_gradients
from fsb.distributions import *  # noqa: F403 -- distributions.__all__ is the list
from fsb.errors import FsbError
from fsb.estimators import *  # noqa: F403 -- estimators.__all__ is the list
from fsb.gradients import Gradients, init, stateful_value_and_grad, value_and_grad
from fsb.runtime.xla import avoid_wrong_fusion as _avoid_wrong_fusion
from fsb.sites import remat, scan, vmap
from fsb.types import Aux, Distribution, Estimator, Evidence, Rule

__version__ = _version("fsb")

_avoid_wrong_fusion()  # before JAX computes anything

__all__ = [
    "Aux",
    "Distribution",
    "Estimator",
    "Evidence",
    "FsbError",
    "Gradients",
    "Rule",
    "exact_gradient",
    "fourier",
    "init",
    "remat",
    "sample_gradients",
    "scan",
    "stateful_value_and_grad",
    "value_and_grad",
    "vmap",
]
__all__ += distributions.__all__ + estimators.__all__
