"""One row an estimator buys every test of test_contract.py and test_means.py.

A row: the factory, what the forward pass hands on ("hard": a draw; "thresholded"; "noisy" and
"relaxed": not a value of the unit), the mean as an independent formula, the distributions it serves
and the losses of one layer that it is exact for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import oracle as o
import pytest

import fsb


class Row(NamedTuple):
    name: str
    make: Callable[[], fsb.Estimator]
    forward: str
    draws: Callable | None  # (eta, encoding) -> weights and values of a unit
    slope: Callable | None  # (eta, z, encoding) -> pretended dz/deta, or its mean given z
    exact_for: tuple[str, ...] = ()
    slope_is_mean: bool = False
    serves: tuple[str, ...] = ("Bernoulli",)
    wide: bool = True  # few enough values a unit for a wide test network
    variant: bool = False  # of a row above it: left to the slow tests

    def mean(self, net, encodings, loss):
        if self.draws is None:
            return o.true_gradient(net, encodings, loss)
        return o.local_mean(self.draws, self.slope, net, encodings, loss)


def scaled(factor, slope):
    """``factor(encoding)`` times a slope."""
    return lambda eta, z, encoding: factor(encoding) * slope(eta, z, encoding)


def per_span(encoding):
    """1 / (2a): what the published algorithm lacks."""
    return 1 / (encoding[1] - encoding[0])


def noisy_row(name, delta, slope, exact_for=(), variant=True, **arguments):
    draws = partial(o.noisy, delta)
    make = partial(fsb.foust, delta=delta, **arguments)
    return Row(
        name,
        make,
        "noisy" if delta else "hard",
        draws,
        slope,
        exact_for,
        wide=not delta,
        variant=variant,
    )


def relaxed_row(temperature):
    return Row(
        f"gumbel_softmax-{temperature}",
        partial(fsb.gumbel_softmax, temperature),
        "relaxed",
        partial(o.relaxed, temperature),
        partial(o.relaxed_slope, temperature),
        wide=False,
        variant=temperature != 0.5,
    )


def st_relaxed_row(temperature):
    return Row(
        f"st_gumbel_softmax-{temperature}",
        partial(fsb.st_gumbel_softmax, temperature),
        "hard",
        o.hard,
        partial(o.expected_relaxed_slope, temperature),
        slope_is_mean=True,
        variant=temperature != 0.5,
    )


EVERY_LOSS = tuple(o.LOSSES)
LINEAR = ("linear",)
QUADRATIC = ("linear", "quadratic")
SEPARABLE = ("linear", "cubic", "sin", "abs")  # sums of functions of one unit

ROWS = (
    Row("st", fsb.st, "hard", o.hard, o.mean_slope, LINEAR),
    Row("darn", fsb.darn, "hard", o.hard, o.reweighed_slope, QUADRATIC),
    Row(
        "deterministic_st", fsb.deterministic_st, "thresholded", o.thresholded, o.mean_slope, LINEAR
    ),
    Row(
        "deterministic_st-identity",
        partial(fsb.deterministic_st, "identity"),
        "thresholded",
        o.thresholded,
        o.identity_slope,
    ),
    noisy_row("foust", 0.1, o.reweighed_slope, LINEAR, variant=False),
    noisy_row("foust-no_noise", 0.0, o.reweighed_slope, QUADRATIC),
    noisy_row("foust-full_noise", 1.0, o.reweighed_slope, SEPARABLE),
    noisy_row("foust-gamma", 0.3, scaled(lambda e: 0.8, o.reweighed_slope), gamma=0.8),
    noisy_row("foust-not_reweighed", 0.5, o.mean_slope, LINEAR, importance_reweighing=False),
    noisy_row(
        "foust-paper", 0.1, scaled(per_span, o.reweighed_slope), variant=False, scale_mode="paper"
    ),
    noisy_row(
        "foust-paper_st",
        0.0,
        scaled(per_span, o.mean_slope),
        scale_mode="paper",
        importance_reweighing=False,
    ),
    relaxed_row(0.5),
    relaxed_row(1.0),
    st_relaxed_row(0.5),
    st_relaxed_row(1.0),
    Row("exact", fsb.exact, "exact", None, None, EVERY_LOSS),
    Row("pathwise", fsb.pathwise, "hard", None, None, serves=("Normal",)),
)
BERNOULLI_ROWS = tuple(row for row in ROWS if "Bernoulli" in row.serves)


def named(rows, slow_repeats=False):
    """Arguments of ``pytest.mark.parametrize`` for one test a row.

    With ``slow_repeats`` all rows of a factory but its first are left to the slow tests.
    """
    factories = [row.name.split("-")[0] for row in rows]
    marks = [
        pytest.mark.slow if slow_repeats and factory in factories[:i] else ()
        for i, factory in enumerate(factories)
    ]
    return {
        "argvalues": [pytest.param(row, marks=mark) for row, mark in zip(rows, marks, strict=True)],
        "ids": [row.name for row in rows],
    }
