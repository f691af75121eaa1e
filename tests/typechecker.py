"""Checks the types and shapes in the signatures of fsb's numerical modules while tests run."""

from __future__ import annotations

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

MODULES = (
    "fsb.diagnostics",
    "fsb.distributions",
    "fsb.fourier",
    "fsb.gradients",
    "fsb.networks._chain",
    "fsb.networks.convolutions",
    "fsb.networks.likelihoods",
    "fsb.networks.priors",
    "fsb.objectives",
    "fsb.sites",
)

check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int may stand for a float


def install():
    """Makes these modules check their arguments and results, if they are not yet imported."""
    install_import_hook(MODULES, "typechecker.check")
