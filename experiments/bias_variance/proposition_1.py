"""Proposition 1: the bias of Gumbel-Softmax as its temperature goes to 0.

    E[J] = true - tau pZ'(eta) int f'(v) logit(v) dv + tau^2/2 pZ''(eta) int f'(v) logit(v)^2 dv...

with pZ' = p(1-p)(1-2p). For linear losses the first integral is 0 and the second pi^2/3 f'.
"""

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
    sigmoid,
    style,
)
from scipy.integrate import quad

import fsb

TEMPERATURES = (0.05, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.4)
LOSSES = {  # eta, f, f', f(1) - f(0), powers of tau to fit
    "2x^2 - x": (1.3, lambda z: 2 * z[:, 0] ** 2 - z[:, 0], lambda v: 4 * v - 1, 1.0, (1, 2, 3)),
    "x": (0.0, lambda z: z[:, 0], lambda v: 1.0 + 0 * v, 1.0, (2, 4)),
}


def coefficients(eta, slope):
    """Of tau and tau^2 in the bias, by quadrature."""
    p, v = sigmoid(eta), logistic(eta)
    moment = lambda k: quad(lambda x: slope(x) * np.log(x / (1 - x)) ** k, 0, 1)[0]
    return -v * (1 - 2 * p) * moment(1), 0.5 * v * (1 - 6 * v) * moment(2)


def measure(count=2**23):
    rows = []
    for name, (eta, f, _, rise, _) in LOSSES.items():
        for i, tau in enumerate(TEMPERATURES):
            found = draws(fsb.gumbel_softmax(tau), f, eta, count, seed=i)[:, 0].astype(np.float64)
            bias, error = found.mean() - logistic(eta) * rise, found.std() / np.sqrt(count)
            rows.append({"loss": name, "temperature": tau, "bias": bias, "error": error})

    def fitted(name, powers):
        series = (column(rows, key, loss=name) for key in ("temperature", "bias", "error"))
        return fit(*series, powers)

    general, general_error = fitted("2x^2 - x", (1, 2, 3))
    absent, absent_error = fitted("x", (1, 2, 3))
    linear, linear_error = fitted("x", (2, 4))
    first = coefficients(*(LOSSES["2x^2 - x"][k] for k in (0, 2)))[0]
    second = coefficients(*(LOSSES["x"][k] for k in (0, 2)))[1]
    record = claim(
        "The bias of Gumbel-Softmax vanishes with its temperature: O(tau) in general, O(tau^2) for "
        "linear losses.",
        f"bias / tau -> {general[0]:.4f} +- {general_error[0]:.4f} (2x^2 - x); "
        f"{absent[0]:.4f} +- {absent_error[0]:.4f} (x), where bias / tau^2 -> {linear[0]:.4f} "
        f"+- {linear_error[0]:.4f}",
        f"{first:.4f}; 0 and {second:.4f}",
        [
            check("bias / tau, 2x^2 - x", general[0], "=", first, 0.08 * abs(first)),
            check("bias / tau, x", absent[0], "=", 0, 4 * absent_error[0]),
            check("bias / tau^2, x", linear[0], "=", second, 0.08 * abs(second)),
        ],
        note=f"Least squares over {len(TEMPERATURES)} temperatures, {count:,} draws each; "
        "tolerance 8 %; where 0 is predicted, 4 standard errors.",
    )
    return rows, {"B prop 1": record}


def picture(rows):
    found, axes = figure(2)
    tau = np.linspace(0.01, 0.42, 30)
    for one, (name, (eta, _, slope, _, powers)) in zip(axes, LOSSES.items(), strict=True):
        x, y, e = (column(rows, key, loss=name) for key in ("temperature", "bias", "error"))
        one.errorbar(x, y, 4 * e, label="measured, 4 standard errors", **points(0))
        power = powers[0]
        term = coefficients(eta, slope)[power - 1]
        unit = r"\tau" if power == 1 else r"\tau^2"
        leading = {**style(1), "marker": ""}
        one.plot(tau, term * tau**power, label=f"predicted: ${term:.4f}\\,{unit}$", **leading)
        exact = [
            quad(lambda v: slope(v) * (logistic(t * np.log(v / (1 - v)) - eta) - logistic(eta)),  # noqa: B023
                 0, 1)[0] for t in tau
        ]  # fmt: skip
        one.plot(tau, exact, color="0.5", lw=1, ls=":", label="all orders, by quadrature")
        one.set(xlabel=r"temperature $\tau$", ylabel="bias of the gradient in the logit")
        one.set_title(f"f(x) = ${name}$, $\\eta$ = {eta}", size=10, loc="left")
        legend(one)
    return found


if __name__ == "__main__":
    main(__file__, measure, picture)
