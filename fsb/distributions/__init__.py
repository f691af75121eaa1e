"""Distributions for sites, each a small frozen dataclass."""

from fsb.distributions.bernoulli import Bernoulli
from fsb.distributions.categorical import Categorical
from fsb.distributions.dirac import Dirac
from fsb.distributions.dirichlet import Beta, Dirichlet
from fsb.distributions.gamma import ChiSquared, Erlang, Exponential, Gamma
from fsb.distributions.laplace import Laplace
from fsb.distributions.multivariate_normal import MultivariateNormal
from fsb.distributions.normal import Normal
from fsb.distributions.poisson import Poisson

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "ChiSquared",
    "Dirac",
    "Dirichlet",
    "Erlang",
    "Exponential",
    "Gamma",
    "Laplace",
    "MultivariateNormal",
    "Normal",
    "Poisson",
]
