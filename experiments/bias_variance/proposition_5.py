"""Proposition 5: ST-Gumbel-Softmax goes to DARN, with a variance that grows as 1 / temperature.

    E[J] -> p(1-p) (f'(0) + f'(1)) / 2,   E[J^2] = (1/tau) p(1-p) (f'(0)^2 + f'(1)^2) / 12 + O(1)

so that it is unbiased for quadratic losses in the limit. The way there is linear in tau:
bias = -tau pZ'(eta) (f'(1) - f'(0)) log 2 for a quadratic loss.
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
    sigmoid,
    style,
)

import fsb

ETA = 1.3
TEMPERATURES = (0.02, 0.03, 0.05, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.4)
LOSSES = {  # f, f'(0), f'(1), f(1) - f(0)
    "2x^2 - x": (lambda z: 2 * z[:, 0] ** 2 - z[:, 0], -1.0, 3.0, 1.0),
    "\\sin 3x": (lambda z: jnp.sin(3 * z[:, 0]), 3.0, 3 * np.cos(3), np.sin(3)),
}


def limits(name):
    """Of the mean, of its slope in tau, and of tau E[J^2]."""
    _, low, high, _ = LOSSES[name]
    tilt = logistic(ETA) * np.tanh(ETA / 2) * (high - low) * np.log(2)
    return logistic(ETA) * (low + high) / 2, tilt, logistic(ETA) * (low**2 + high**2) / 12


def measure(count=2**22):
    rows = []
    for name, (f, _, _, rise) in LOSSES.items():
        for i, tau in enumerate(TEMPERATURES):
            found = draws(fsb.st_gumbel_softmax(tau), f, ETA, count, seed=i)[:, 0]
            found = found.astype(np.float64)
            square = found**2
            rows.append({
                "loss": name, "temperature": tau, "mean": found.mean(),
                "error": found.std() / np.sqrt(count), "square": square.mean(),
                "square_error": square.std() / np.sqrt(count), "true": logistic(ETA) * rise,
            })  # fmt: skip
    shown, checks = [], []
    for name in LOSSES:
        tau, mean, error, square, square_error = (
            column(rows, key, loss=name)
            for key in ("temperature", "mean", "error", "square", "square_error")
        )
        (limit, slope, *_), (limit_error, slope_error, *_) = fit(tau, mean, error, (0, 1, 2, 3))
        (growth, _, _), (growth_error, _, _) = fit(tau, tau * square, tau * square_error, (0, 1, 2))
        true, predicted = column(rows, "true", loss=name)[0], limits(name)
        shown.append(
            f"{name.strip(chr(92))}: mean -> {limit:.4f} +- {limit_error:.4f} (gradient "
            f"{true:.4f}), tau E[J^2] -> {growth:.4f} +- {growth_error:.4f}"
        )
        checks += [
            check(f"limit of the mean, {name}", limit, "=", predicted[0], 4 * limit_error),
            check(f"tau E[J^2], {name}", growth, "=", predicted[2], 0.03 * predicted[2]),
        ]
        if name == "2x^2 - x":
            checks.append(check("bias in the limit, quadratic", limit, "=", true, 4 * limit_error))
            shown[-1] += f", bias / tau -> {slope:.4f} +- {slope_error:.4f}"
    record = claim(
        "ST-Gumbel-Softmax is asymptotically unbiased for quadratic losses, and its variance grows "
        "as 1 / temperature.",
        "; ".join(shown),
        "; ".join(
            "mean {:.4f}, slope {:.4f}, tau E[J^2] {:.4f}".format(*limits(n)) for n in LOSSES
        ),
        checks,
        note=f"eta = {ETA}, p = {sigmoid(ETA):.3f}; {count:,} draws a temperature; tolerances "
        "4 standard errors and 3 %. Our addition: the bias goes linearly in tau.",
    )
    return rows, {"B prop 5": record}


def picture(rows):
    found, (left, right) = figure(2)
    line = np.linspace(0, 0.42)
    for k, name in enumerate(LOSSES):
        tau, mean, error, square, square_error, true = (
            column(rows, key, loss=name)
            for key in ("temperature", "mean", "error", "square", "square_error", "true")
        )
        darn, tilt, growth = limits(name)
        left.errorbar(tau, mean - true, 4 * error, label=f"${name}$, measured", **points(k))
        dash = {**style(k), "marker": ""}
        left.plot(line, darn - true[0] + tilt * line, label=f"${name}$, predicted slope", **dash)
        left.plot(0, darn - true[0], marker="*", ms=9, color=style(k)["color"], ls="none")
        right.errorbar(tau, tau * square, 4 * tau * square_error, label=f"${name}$", **points(k))
        right.plot(0, growth, marker="*", ms=9, color=style(k)["color"], ls="none")
    left.plot([], [], "*", color="0.4", ms=8, label="limit: bias of DARN")
    right.plot([], [], "*", color="0.4", ms=8, label="predicted limit")
    left.set(xlabel=r"temperature $\tau$", ylabel="bias of the gradient in the logit")
    right.set(xlabel=r"temperature $\tau$", ylabel=r"$\tau\,E[J^2]$", ylim=(0, None))
    legend(left)
    legend(right)
    return found


if __name__ == "__main__":
    main(__file__, measure, picture)
