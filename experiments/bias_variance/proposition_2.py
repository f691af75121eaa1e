"""Proposition 2: the variance of Gumbel-Softmax grows as 1 / temperature.

E[J^2] = (1/tau) pZ(eta) int f'(v)^2 v (1 - v) dv + O(1)
"""

import jax.numpy as jnp
import numpy as np
from common import (
    check,
    claim,
    column,
    draws,
    figure,
    fit,
    legend,
    logistic,
    main,
    points,
    style,
    ticks,
)
from scipy.integrate import quad

import fsb

ETA = 0.6
TEMPERATURES = (0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5)
CONSTANT = logistic(ETA) * quad(lambda v: (3 * np.cos(3 * v)) ** 2 * v * (1 - v), 0, 1)[0]


def loss(z):
    return jnp.sin(3 * z[:, 0])


def measure(count=2**21):
    rows = []
    for i, tau in enumerate(TEMPERATURES):
        found = draws(fsb.gumbel_softmax(tau), loss, ETA, count, seed=i)[:, 0].astype(np.float64)
        square = (found - found.mean()) ** 2
        error = square.std() / np.sqrt(count)
        rows.append({"temperature": tau, "variance": square.mean(), "error": error})
    tau, variance, error = (column(rows, key) for key in ("temperature", "variance", "error"))
    (constant, _, _), (spread, _, _) = fit(tau, tau * variance, tau * error, (0, 1, 2))
    small = tau <= 0.05
    (_, rate), (_, rate_error) = fit(
        np.log(tau[small]), np.log(variance[small]), (error / variance)[small], (0, 1)
    )
    record = claim(
        "The variance of Gumbel-Softmax grows as 1 / temperature.",
        f"tau Var -> {constant:.4f} +- {spread:.4f}; Var ~ tau^({rate:.3f} +- {rate_error:.3f}) "
        "up to tau = 0.05",
        f"{CONSTANT:.4f}; -1",
        [
            check("tau Var at tau -> 0", constant, "=", CONSTANT, 0.03 * CONSTANT),
            check("exponent of tau", rate, "=", -1, 0.05),
        ],
        note=f"f = sin 3x at eta = {ETA}, {count:,} draws a temperature; tolerances 3 %, 0.05.",
    )
    return rows, {"B prop 2": record}


def picture(rows):
    found, (left, right) = figure(2)
    tau, variance, error = (column(rows, key) for key in ("temperature", "variance", "error"))
    line = np.geomspace(0.015, 0.6)
    left.errorbar(tau, variance, 4 * error, label="measured, 4 standard errors", **points(0))
    predicted = {**style(1), "marker": ""}
    left.plot(line, CONSTANT / line, label=f"predicted: ${CONSTANT:.3f}/\\tau$", **predicted)
    left.set(xscale="log", yscale="log", ylabel="variance of the gradient in the logit")
    ticks(left.xaxis, (0.02, 0.05, 0.1, 0.2, 0.5))
    ticks(left.yaxis, (0.2, 0.5, 1, 2, 5))
    right.errorbar(tau, tau * variance, 4 * tau * error, label="measured", **points(0))
    right.axhline(CONSTANT, label="predicted limit", **predicted)
    right.set(xlim=(0, None), ylim=(0, 0.13), ylabel=r"$\tau\,\times$ variance")
    for one in (left, right):
        one.set_xlabel(r"temperature $\tau$")
        legend(one)
    return found


if __name__ == "__main__":
    main(__file__, measure, picture)
