"""Families that can stand at a site: one small frozen dataclass each."""

from fsb.distributions.bernoulli import Bernoulli
from fsb.distributions.categorical import Categorical
from fsb.distributions.normal import Normal

__all__ = ["Bernoulli", "Categorical", "Normal"]
