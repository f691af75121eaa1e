"""Gradient estimators: each a factory that returns an ``Estimator``."""

from fsb.estimators.darn import darn
from fsb.estimators.exact import exact
from fsb.estimators.foust import foust
from fsb.estimators.gumbel_softmax import gumbel_softmax, st_gumbel_softmax
from fsb.estimators.local import local
from fsb.estimators.pathwise import pathwise
from fsb.estimators.st import deterministic_st, st

__all__ = [
    "darn",
    "deterministic_st",
    "exact",
    "foust",
    "gumbel_softmax",
    "local",
    "pathwise",
    "st",
    "st_gumbel_softmax",
]
