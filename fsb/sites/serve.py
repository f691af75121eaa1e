"""Checks that an estimator supports the sites of a model."""

from __future__ import annotations

from typing import Any

from fsb.errors import FsbError
from fsb.sites.site import Site
from fsb.types import Distribution


def serve(name: str, dist: Distribution, *families: type) -> None:
    """Checks that an estimator supports a distribution.

    Raises:
      FsbError: if ``dist`` is an instance of none of ``families``.

    >>> from fsb.distributions import Bernoulli, Categorical, Normal
    >>> serve("st", Normal(), Bernoulli, Categorical)
    Traceback (most recent call last):
    fsb.errors.FsbError: st supports Bernoulli and Categorical sites, not Normal
    """
    if not isinstance(dist, families):
        names = [family.__name__ for family in families]
        allowed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
        raise FsbError(f"{name} supports {allowed} sites, not {type(dist).__name__}")


def serve_all(name: str, sites: tuple[Site, ...], *families: type) -> None:
    """Applies ``serve`` to every site of a run; the error names the site."""
    for site in sites:
        try:
            serve(name, site.dist, *families)
        except FsbError as error:
            raise FsbError(f"site {site.name!r}: {error}") from None


def serve_no_scan(name: str, sites: tuple[Site, ...], instead: str) -> None:
    """Refuses sites in scans, with the estimator to use instead."""
    for site in sites:
        if site.scans:
            raise FsbError(
                f"site {site.name!r}: {name} does not support sites in scans; use {instead}"
            )


def serve_batch(name: str, losses: Any, sites: tuple[Site, ...], shared: bool = False) -> None:
    """Checks that every site has one row for each loss, or one for all of them if ``shared``.

    The losses may be shapes in place of arrays.
    """
    batch = losses.shape[0]
    for site in sites:
        shape = site.z.shape
        if shape[:1] == (batch,):
            continue
        if shape[:1] != (1,):
            raise FsbError(
                f"site {site.name!r} has the shape {shape} and the losses ({batch},): {name} needs "
                f"one row for each loss; a site that all examples share is {(1, *shape)}"
            )
        if not shared:
            raise FsbError(
                f"site {site.name!r}: {name} does not support a site that all examples share, "
                f"{shape} beside losses ({batch},); use reinforce, rloo, disarm, arms or a local "
                "estimator"
            )
