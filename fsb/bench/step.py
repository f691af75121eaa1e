"""suite=step: FouST's train step beside simpler ones, its matrix products and PyTorch's."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
from omegaconf import DictConfig

from fsb.bench.tables import Row, Tables
from fsb.bench.timing import measure, paired
from fsb.bench.variants import VARIANTS, Chunk, images, matrix_products, recipe_chunk, vae_recipe

BOUNDS = (
    ("foust / st", "foust", "st", 1.03),
    ("foust / no sampling", "foust", "no sampling", 1.10),
    ("foust / matrix products alone", "foust", "matrix products", 1 / 0.8),
    ("foust / eager PyTorch", "foust", "eager PyTorch", 1 / 1.2),
)
"""(what, numerator, denominator, at most): times of a step."""


def step(config: DictConfig) -> Tables:
    """The time of every variant, and whether the ratios are within their bounds."""
    seconds = measure(chunks(config), config.rounds)
    return {"variants": speeds(seconds, config.steps), "bounds": verdicts(seconds)}


def chunks(config: DictConfig) -> dict[str, Chunk]:
    """Every variant by name, with PyTorch's if it is asked for and installed."""
    found = {
        name: recipe_chunk(config, vae_recipe(config, make())) for name, make in VARIANTS.items()
    }
    found["matrix products"] = matrix_products(config)
    if config.torch and importlib.util.find_spec("torch"):
        from fsb.bench.pytorch import train_chunk as torch_chunk

        found["eager PyTorch"] = torch_chunk(config, images())
    return found


def speeds(seconds: dict[str, np.ndarray], steps: int, first: str = "st") -> list[Row]:
    """One row for each variant: the time of a step, and its ratio to that of the first."""
    rows = []
    for name, values in seconds.items():
        time = float(np.median(values)) / steps
        row = {"variant": name, "ms_per_step": 1e3 * time, "steps_per_second": 1 / time}
        rows.append(row | paired(values, seconds[first]))
    return rows


def verdicts(seconds: dict[str, np.ndarray]) -> list[Row]:
    """One row for each bound: the ratio, and whether it is met; None if it was not measured."""
    rows = []
    for what, top, bottom, most in BOUNDS:
        row: dict[str, Any] = {"what": what, "at_most": most, "met": None, "ratio": None}
        if bottom in seconds:
            row |= paired(seconds[top], seconds[bottom])
            row["met"] = row["ratio"] <= most
        else:
            row["note"] = "not measured: needs torch"
        rows.append(row)
    return rows
