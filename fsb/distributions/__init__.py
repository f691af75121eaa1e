"""Distributions for sites, each a small frozen dataclass."""

from fsb.distributions.bernoulli import Bernoulli
from fsb.distributions.binomial import Binomial, Geometric
from fsb.distributions.categorical import Categorical
from fsb.distributions.dirac import Dirac
from fsb.distributions.dirichlet import Beta, Dirichlet
from fsb.distributions.external import External
from fsb.distributions.gamma import ChiSquared, Erlang, Exponential, Gamma
from fsb.distributions.hard_concrete import HardConcrete
from fsb.distributions.laplace import Laplace
from fsb.distributions.logit import logit_of
from fsb.distributions.multivariate_normal import MultivariateNormal
from fsb.distributions.normal import Normal
from fsb.distributions.poisson import Poisson
from fsb.distributions.subset import Subset
from fsb.distributions.top_k import TopK
from fsb.distributions.uniform import Uniform

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "ChiSquared",
    "Dirac",
    "Dirichlet",
    "Erlang",
    "Exponential",
    "External",
    "Gamma",
    "Geometric",
    "HardConcrete",
    "Laplace",
    "MultivariateNormal",
    "Normal",
    "Poisson",
    "Subset",
    "TopK",
    "Uniform",
    "logit_of",
]
