"""Sites and samplers: how a model draws its stochastic values."""

from fsb.sites.lifts import remat, scan, vmap
from fsb.sites.record import Recorder, bind, collect_sites, trace_sites
from fsb.sites.samplers import (
    Sampler,
    ancestral,
    frozen,
    given,
    mean,
    relaxed,
    replay,
    sampler,
    shifted,
    softened,
)
from fsb.sites.serve import serve, serve_all, serve_batch, serve_no_scan
from fsb.sites.site import Block, Site, per_example, per_turn, site_key

__all__ = [
    "Block",
    "Recorder",
    "Sampler",
    "Site",
    "ancestral",
    "bind",
    "collect_sites",
    "frozen",
    "given",
    "mean",
    "per_example",
    "per_turn",
    "relaxed",
    "remat",
    "replay",
    "sampler",
    "scan",
    "serve",
    "serve_all",
    "serve_batch",
    "serve_no_scan",
    "shifted",
    "site_key",
    "softened",
    "trace_sites",
    "vmap",
]
