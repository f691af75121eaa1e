"""suite=scaling: how the time of a step grows with width, layers, batch, samples, evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from omegaconf import DictConfig, OmegaConf
from scipy.optimize import minimize_scalar, nnls

from fsb import estimators
from fsb.bench.tables import Row, Tables
from fsb.bench.timing import measure
from fsb.bench.variants import Chunk, chosen, recipe_chunk, vae_recipe
from fsb.errors import FsbError, unknown
from fsb.types import Estimator

KEYS = ("width", "layers", "batch_size")
COUNTS: dict[str, tuple[str, Callable[[int], Estimator]]] = {
    "samples": ("multi_sample", lambda count: estimators.multi_sample(estimators.foust(), count)),
    "evaluations": ("rloo", estimators.rloo),
}
"""What is not a key of the configuration: the estimator, and how its count is given."""

EXPONENTS = (0.1, 4.0)
FEWEST = 4  # points of a curve


class Law(NamedTuple):
    """t = constant + scale x^exponent; error: the root mean square of the relative residuals."""

    constant: float
    scale: float
    exponent: float
    error: float


def fit(x: Sequence[float], t: Sequence[float]) -> Law:
    """The law with the least relative squares; its constant and scale are not negative.

    >>> law = fit([1, 2, 4, 8, 16], [3 + 2 * x**1.5 for x in (1, 2, 4, 8, 16)])
    >>> [round(value, 3) for value in law]
    [3.0, 2.0, 1.5, 0.0]
    """
    unit = max(x)  # (x / unit)^exponent stays between 0 and 1
    places, times = np.divide(x, unit), np.asarray(t, float)

    def linear(exponent: float) -> tuple[np.ndarray, float]:
        columns = np.stack([np.ones_like(places), places**exponent], axis=1)
        return nnls(columns / times[:, None], np.ones_like(times))

    tried = np.linspace(*EXPONENTS, 79)
    best = int(np.argmin([linear(exponent)[1] for exponent in tried]))
    around = tried[max(best - 1, 0)], tried[min(best + 1, len(tried) - 1)]
    square = lambda exponent: linear(exponent)[1] ** 2
    found = minimize_scalar(square, bounds=around, method="bounded", options={"xatol": 1e-9})
    (constant, scale), residual = linear(found.x)
    error = residual / math.sqrt(len(x))
    return Law(float(constant), float(scale / unit**found.x), float(found.x), float(error))


def require_grid(config: DictConfig) -> None:
    """Raises FsbError if a curve of the grid is unknown, or has too few values to be fitted."""
    for axis, values in config.grid.items():
        if axis not in (*KEYS, *COUNTS):
            raise unknown("grid", axis, (*KEYS, *COUNTS))
        if values and (len(values) < FEWEST or list(values) != sorted(set(values))):
            raise FsbError(f"grid.{axis}: needs {FEWEST} rising values or more, or none: {values}")


def scaling(config: DictConfig) -> Tables:
    """One interleaved run for each curve: its times, and the law fitted to their medians."""
    require_grid(config)
    laws, points = [], []
    for axis, values in config.grid.items():
        names = list(config.estimators) if axis in KEYS else [COUNTS[axis][0]]
        for name in names if values else ():
            chunks = {value: chunk(config, axis, name, value) for value in values}
            seconds = measure({str(v): c for v, c in chunks.items()}, config.rounds)
            times = 1e3 / config.steps * np.stack([seconds[str(value)] for value in values])
            laws.append({"over": axis, "estimator": name, **law(values, times)})
            for value, some in zip(values, times, strict=True):
                low, middle, high = np.quantile(some, (0.25, 0.5, 0.75)).tolist()
                row = {"over": axis, "estimator": name, "value": value, "ms_per_step": middle}
                points.append(row | {"quartile_1": low, "quartile_3": high})
    return {"exponents": laws, "points": points}


def chunk(config: DictConfig, axis: str, name: str, value: int) -> Chunk:
    """The steps of one point of a curve."""
    if axis in COUNTS:
        return recipe_chunk(config, vae_recipe(config, COUNTS[axis][1](value)))
    changed = OmegaConf.create({**config, axis: value})
    return recipe_chunk(changed, vae_recipe(changed, chosen([name])[name]))


def law(values: Sequence[int], times: np.ndarray) -> Row:
    """The law of the medians of times [points, rounds], and the quartiles over the rounds.

    last_exponent: the slope of log t between the two largest values, without a constant.
    """
    medians = np.median(times, axis=1)
    whole = fit(values, medians)
    each = [fit(values, some).exponent for some in times.T]
    low, high = np.quantile(each, (0.25, 0.75)).tolist()
    rise, run = np.diff(np.log(medians))[-1], np.diff(np.log(values))[-1]
    return {
        "from": values[0],
        "to": values[-1],
        "exponent": whole.exponent,
        "quartile_1": low,
        "quartile_3": high,
        "constant_ms": whole.constant,
        "share_of_constant": whole.constant / float(medians[0]),
        "error_percent": 100 * whole.error,
        "last_exponent": float(rise / run),
    }
