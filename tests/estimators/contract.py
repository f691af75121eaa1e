"""One row for an estimator gives it every test of test_contract.py and test_means.py.

A row: the factory, what the forward pass hands on ("hard": a draw; "thresholded"; "noisy" and
"relaxed": not a value of the unit; "tempered": a draw of other probabilities; "several": the mean
of runs), the mean as an independent formula
(the true gradient for an unbiased one), the distributions it serves and the losses of one layer
that it is exact for; for a local estimator of categorical units its formula there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import categorical_oracle as c
import jax
import oracle as o
import pytest

import fsb
from fsb.estimators._template import template


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
    draws_needed: int = 2**16  # for a standard error that shows a wrong factor of 1.02
    categorical: c.Formula | None = None

    @property
    def by_formula(self):
        """The derivative is a function of eta and a hard draw: single draws show all."""
        return self.forward == "hard" and self.slope is not None and not self.slope_is_mean

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
        serves=BOTH,
        wide=False,
        variant=temperature != 0.5,
        categorical=c.Formula(partial(c.relaxed, temperature), weights=None),
    )


def discrete(name, make, jacobian, exact_for=(), slope=None, boolean_exact_for=None, **fields):
    """A hard forward pass; the slope of Boolean units that of two values, unless given."""
    formula = c.Formula(jacobian, exact_for)
    row = Row(name, make, "hard", o.hard, slope or c.boolean(jacobian), serves=BOTH)
    if boolean_exact_for is None:
        boolean_exact_for = exact_for
    return row._replace(exact_for=boolean_exact_for, categorical=formula, **fields)


def boolean(name, make, slope, exact_for=(), **fields):
    """A hard forward pass of Boolean units; ``slope(eta, z, encoding)`` is dz/deta in NumPy."""
    return Row(name, make, "hard", o.hard, slope, exact_for, **fields)


def rao_row(
    name, make, temperature, jacobian=c.expected_relaxed, slope=o.expected_relaxed_slope, **fields
):
    """One whose mean given the draw is that of the relaxed derivative, or made of it."""
    jacobian, slope = partial(jacobian, temperature), partial(slope, temperature)
    row = discrete(f"{name}-{temperature}", partial(make, temperature), jacobian, slope=slope)
    return row._replace(categorical=row.categorical._replace(is_mean=True), **fields)


def decoupled_row(forward, backward):
    """Two temperatures, of the draws and of the slopes."""
    make = partial(fsb.decoupled_st_gumbel_softmax, forward, backward)
    jacobian = partial(c.decoupled, forward, backward)
    slope = partial(o.decoupled_slope, forward, backward)
    name = f"decoupled_st_gumbel_softmax-{forward}-{backward}"
    row = discrete(name, make, jacobian, slope=slope, slope_is_mean=True)
    weights = lambda eta: c.softmax(eta / forward)
    return row._replace(
        draws=partial(o.tempered, forward),
        forward="tempered",
        categorical=row.categorical._replace(weights=weights, is_mean=True),
    )


def redge_row(end, steps):
    """Draws of other probabilities, and the mean given the draw of a derivative with noise."""
    jacobian, slope = (partial(f, end, steps) for f in (c.denoised_jacobian, o.denoised_slope))
    row = discrete(f"redge-{end}-{steps}", partial(fsb.redge, end, steps), jacobian, slope=slope)
    weights = partial(c.denoised_probabilities, end, steps)
    return row._replace(
        draws=partial(o.denoised_draws, end, steps),
        slope_is_mean=True,
        forward="tempered",
        categorical=row.categorical._replace(weights=weights, is_mean=True),
    )


def reinmax_cv_row(temperature):
    """The mean given the draw is the derivative of ReinMax."""
    make, jacobian = partial(fsb.reinmax_cv, temperature), partial(c.reinmax, temperature)
    row = discrete(f"reinmax_cv-{temperature}", make, jacobian, slope_is_mean=True)
    return row._replace(categorical=row.categorical._replace(is_mean=True))


def thresholded_row(name, derivative, slope, jacobian, exact_for=()):
    return Row(
        name,
        partial(fsb.deterministic_st, derivative),
        "thresholded",
        o.thresholded,
        slope,
        exact_for,
        serves=BOTH,
        categorical=c.Formula(jacobian, exact_for, c.argmax),
    )


def unbiased(name, make, forward="hard", draws_needed=2**18, **fields):
    """A row of ``value_and_grad``'s contract whose mean is the true gradient, at any depth."""
    row = Row(name, make, forward, None, None, EVERY_LOSS, draws_needed=draws_needed)
    return row._replace(**fields)


def estimate(estimator, loss):
    """``fsb.value_and_grad`` for every estimator; one with a control or state gets a fresh one."""

    def value_and_grad(params, key):
        control, state = fsb.init(estimator, loss, params, jax.random.key(9))
        out = fsb.stateful_value_and_grad(estimator, loss)(params, control, state, key)
        return out.value, out.params

    return value_and_grad


BOTH = ("Bernoulli", "Categorical")
CATEGORICAL = ("Categorical",)  # and at Boolean sites as a row above, bit for bit
EVERY_FAMILY = (*BOTH, "Normal")
EVERY_LOSS = tuple(o.LOSSES)
LINEAR = ("linear",)
QUADRATIC = ("linear", "quadratic")
SEPARABLE = ("linear", "cubic", "sin", "abs")  # sums of functions of one unit

ROWS = (
    discrete("st", fsb.st, c.mean_jacobian, LINEAR, o.mean_slope),
    discrete("darn", fsb.darn, partial(c.darn, "uniform"), LINEAR, o.reweighed_slope, QUADRATIC),
    discrete(
        "darn-half",
        partial(fsb.darn, "half"),
        partial(c.darn, "half"),
        LINEAR,
        boolean_exact_for=QUADRATIC,
        variant=True,
    ),
    discrete(
        "darn-mean",
        partial(fsb.darn, "mean"),
        partial(c.darn, "mean"),
        LINEAR,
        variant=True,
    ),
    discrete("zgr", fsb.zgr, c.zgr, QUADRATIC),
    discrete("reinmax", fsb.reinmax, partial(c.reinmax, 1.0), QUADRATIC),
    discrete("reinmax-2.0", partial(fsb.reinmax, 2.0), partial(c.reinmax, 2.0), variant=True),
    discrete("mve", fsb.mve, partial(c.least_squares, 1.0), LINEAR),
    discrete("mve-8.0", partial(fsb.mve, 8.0), partial(c.least_squares, 8.0), LINEAR, variant=True),
    discrete(
        "mve-inf", partial(fsb.mve, math.inf), c.exact_for_quadratics, QUADRATIC, variant=True
    ),
    discrete("gst", fsb.gst, partial(c.gst, 1.0, 1.0)),
    discrete(
        "gst-probability",
        partial(fsb.gst, 0.7, "probability"),
        partial(c.gst, "probability", 0.7),
        variant=True,
    ),
    thresholded_row("deterministic_st", "sigmoid", o.mean_slope, c.mean_jacobian, LINEAR),
    thresholded_row("deterministic_st-identity", "identity", o.identity_slope, c.identity),
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
    boolean("template", template, o.mixed_slope, LINEAR),
    relaxed_row(0.5),
    rao_row("st_gumbel_softmax", fsb.st_gumbel_softmax, 0.5, slope_is_mean=True),
    decoupled_row(2.0, 0.7),
    redge_row(0.4, 3),
    rao_row("gumbel_rao", fsb.gumbel_rao, 0.5),
    rao_row("gumbel_rao", fsb.gumbel_rao, 0.1, variant=True),
    rao_row("reinmax_rao", fsb.reinmax_rao, 0.7, c.reinmax_rao, o.midpoint_slope),
    reinmax_cv_row(2.0),
    Row("exact", fsb.exact, "exact", None, None, EVERY_LOSS, serves=BOTH),
    Row("pathwise", fsb.pathwise, "hard", None, None, serves=("Normal",)),
    Row("fourier_exact", fsb.fourier_exact, "hard", None, None, serves=("Normal",)),
    unbiased("arm", fsb.arm, draws_needed=2**17),
    unbiased("disarm", fsb.disarm, draws_needed=2**17),
    unbiased("arms", fsb.arms, draws_needed=2**16),
    unbiased("disarm_tree", fsb.disarm_tree, draws_needed=2**15, serves=CATEGORICAL),
    unbiased("disarm_sb", fsb.disarm_sb, draws_needed=2**15, serves=CATEGORICAL, variant=True),
    unbiased("carms", fsb.carms, draws_needed=2**14, serves=CATEGORICAL),
    unbiased("bitflip", fsb.bitflip, draws_needed=2**17),
    unbiased("ugc", fsb.ugc, draws_needed=2**17),
    unbiased("local_expectation", fsb.local_expectation, draws_needed=2**14, serves=BOTH),
    unbiased(
        "local_expectation-5",
        partial(fsb.local_expectation, 5),
        "several",
        2**12,
        serves=BOTH,
        variant=True,
    ),
    unbiased("double_cv", partial(fsb.double_cv, 5, -0.5), "several", 2**17, serves=BOTH),
    unbiased(
        "double_cv-fixed", partial(fsb.double_cv, 8, -0.7, False), "several", 2**16, variant=True
    ),
    unbiased("debias", lambda: fsb.debias(fsb.st()), draws_needed=2**17, serves=BOTH),
    unbiased("rodeo", partial(fsb.rodeo, 4, 4, 0.5, 0.25), "several", 2**16),
    unbiased("reinforce", fsb.reinforce, serves=EVERY_FAMILY),
    unbiased("reinforce-nvil", fsb.nvil, serves=EVERY_FAMILY, variant=True),
    unbiased("rloo", fsb.rloo, "several", serves=EVERY_FAMILY),
    unbiased("muprop", fsb.muprop, draws_needed=2**17, serves=EVERY_FAMILY),
    unbiased(
        "muprop-rollout",
        partial(fsb.muprop, True),
        draws_needed=2**16,
        serves=EVERY_FAMILY,
        variant=True,
    ),
    unbiased("rebar", fsb.rebar, draws_needed=2**16, serves=BOTH),
    unbiased(
        "rebar-fixed",
        partial(fsb.rebar, 0.8, 0.7, False, False),
        draws_needed=2**17,
        serves=BOTH,
        variant=True,
    ),
    unbiased("relax", fsb.relax, draws_needed=2**16, serves=BOTH, variant=True),
)
BERNOULLI_ROWS = tuple(row for row in ROWS if "Bernoulli" in row.serves)


QUICK = {"st", "foust", "gumbel_softmax-0.5", "arm", "pathwise"}


def named(rows, slow_repeats=False, slow_but_few=False):
    """Arguments of ``pytest.mark.parametrize`` for one test a row.

    With ``slow_repeats`` all rows of a factory but its first are left to the slow tests; with
    ``slow_but_few`` all but a few of every kind.
    """
    factories = [row.name.split("-")[0] for row in rows]

    def is_slow(i, row):
        if slow_but_few and row.name not in QUICK:
            return True
        return slow_repeats and factories[i] in factories[:i]

    marks = [pytest.mark.slow if is_slow(i, row) else () for i, row in enumerate(rows)]
    return {
        "argvalues": [pytest.param(row, marks=mark) for row, mark in zip(rows, marks, strict=True)],
        "ids": [row.name for row in rows],
    }
