"""Times of a chunk of steps, and their ratios, within one interleaved run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fsb.runtime.progress import Progress


def measure(
    variants: Mapping[str, Callable[[], Any]], rounds: int, before: int = 2
) -> dict[str, np.ndarray]:
    """The seconds of a chunk of each variant, [rounds], after ``before`` chunks that compile it."""
    for chunk in variants.values():
        for _ in range(before):
            chunk()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    turns = np.random.default_rng(0)
    with Progress("bench", rounds) as bar:
        for number in range(rounds):
            for name in turns.permutation(list(variants)):
                start = time.perf_counter()
                variants[name]()
                seconds[name].append(time.perf_counter() - start)
            bar.update(number + 1)
    return {name: np.array(values) for name, values in seconds.items()}


def paired(top: np.ndarray, bottom: np.ndarray) -> dict[str, Any]:
    """The median and the quartiles of the ratios within a round."""
    low, middle, high = np.quantile(top / bottom, (0.25, 0.5, 0.75)).tolist()
    return {"ratio": middle, "quartile_1": low, "quartile_3": high}


def spread(seconds: np.ndarray) -> dict[str, Any]:
    """The median and the quartiles of the seconds of one variant."""
    low, middle, high = np.quantile(seconds, (0.25, 0.5, 0.75)).tolist()
    return {"seconds": middle, "quartile_1": low, "quartile_3": high}
