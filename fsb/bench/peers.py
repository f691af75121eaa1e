"""suite=peers: the same train step in PyTorch, eager and compiled, and in Storchastic."""

from __future__ import annotations

import importlib.util

from omegaconf import DictConfig

from fsb import estimators
from fsb.bench.step import speeds
from fsb.bench.tables import Tables
from fsb.bench.timing import measure, paired
from fsb.bench.variants import images, recipe_chunk, vae_recipe
from fsb.errors import FsbError

PEERS = (
    ("foust / eager PyTorch", "foust", "eager PyTorch"),
    ("foust / compiled PyTorch", "foust", "compiled PyTorch"),
    ("gumbel_softmax / Storchastic", "gumbel_softmax", "Storchastic"),
)
"""(what, numerator, denominator): times of a step."""


def require_torch() -> None:
    """Raises FsbError if PyTorch is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise FsbError("suite=peers: needs PyTorch: pip install 'fsb[bench]'")


def peers(config: DictConfig) -> Tables:
    """Times of a step, and ratios to the peers that are installed."""
    require_torch()
    from fsb.bench import pytorch

    chunks = {
        name: recipe_chunk(config, vae_recipe(config, getattr(estimators, name)()))
        for name in ("foust", "gumbel_softmax")
    }
    chunks["eager PyTorch"] = pytorch.train_chunk(config, images())
    chunks["compiled PyTorch"] = pytorch.train_chunk(config, images(), compiled=True)
    if importlib.util.find_spec("storch"):
        from fsb.bench.storchastic import train_chunk

        chunks["Storchastic"] = train_chunk(config, images())
    seconds = measure(chunks, config.rounds)
    ratios = []
    for what, top, bottom in PEERS:
        if bottom in seconds:
            ratios.append({"what": what, **paired(seconds[top], seconds[bottom])})
        else:
            ratios.append({"what": what, "note": f"not measured: needs {bottom.lower()}"})
    return {"times": speeds(seconds, config.steps, "foust"), "ratios": ratios}
