"""Checks for authors of distributions and estimators; each finding is one line."""

from fsb.testing.distributions import check_distribution
from fsb.testing.estimators import check_estimator

__all__ = ["check_distribution", "check_estimator"]
