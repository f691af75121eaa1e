"""Proposition 8: the variance of DARN, in the mean parameter of a unit in {-1, 1}.

    Var = ((1-p) f'(1) - p f'(-1))^2 / (4 p (1-p)) ~ f'(1)^2 / 4p and f'(-1)^2 / 4(1-p)

at the two ends. In the logit, dmu/deta = 2p(1-p) times as large, it is bounded.
"""

import jax.numpy as jnp
import numpy as np
from common import SIGNS, check, claim, column, draws, figure, legend, main, points, sigmoid, style

import fsb

LOGITS = (-6.0, -5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
LOW, HIGH = 1.7 * np.cos(1.7) + 1.2 * -1.0, 1.7 * np.cos(1.7) + 1.2  # f'(-1), f'(1)


def loss(z):
    return jnp.sin(1.7 * z[:, 0]) + 0.6 * z[:, 0] ** 2


def predicted(p):
    return ((1 - p) * HIGH - p * LOW) ** 2 / (4 * p * (1 - p))


def measure(count=2**22):
    rows = []
    found = draws_of_logits(count)
    for eta, x in zip(LOGITS, found.T, strict=True):
        p = sigmoid(eta)
        square = (x - x.mean()) ** 2
        rows.append({
            "p": p, "variance": square.mean() / (2 * p * (1 - p)) ** 2,
            "error": square.std() / np.sqrt(count) / (2 * p * (1 - p)) ** 2,
            "predicted": predicted(p), "variance_in_logit": square.mean(),
        })  # fmt: skip
    p, variance, error = (column(rows, key) for key in ("p", "variance", "error"))
    apart = max(abs(variance - predicted(p)) / error)
    ends = {}
    for name, chosen, rest in (("p -> 0", p < 0.02, p), ("p -> 1", p > 0.98, 1 - p)):
        ends[name] = np.polyfit(np.log(rest[chosen]), np.log(variance[chosen]), 1)[0]
    bounded = column(rows, "variance_in_logit").max()
    bound = max(LOW**2, HIGH**2) / 4
    record = claim(
        "The variance of DARN in the mean parameter is ((1-p) f'(1) - p f'(-1))^2 / (4p(1-p)): "
        "O(1/p) and O(1/(1-p)) at the ends, bounded in the logit.",
        f"at most {apart:.1f} standard errors from the formula at {len(p)} p from {p[0]:.4f} to "
        f"{p[-1]:.4f}; exponents {ends['p -> 0']:.3f}, {ends['p -> 1']:.3f}; in the logit at most "
        f"{bounded:.3f}",
        f"0; -1, -1; below max f'^2 / 4 = {bound:.3f}",
        [
            check("largest distance, standard errors", apart, "<", 4),
            *(check(f"exponent for {k}", v, "=", -1, 0.06) for k, v in ends.items()),
            check("largest variance in the logit", bounded, "<", bound),
        ],
        note=f"f(z) = sin 1.7z + 0.6 z^2, {count:,} draws a p; tolerances 4 standard errors, 0.06.",
    )
    return rows, {"B prop 8": record}


def draws_of_logits(count):
    """A unit for every logit, all in one layer; the loss is the sum over the units."""
    f = lambda z: (jnp.sin(1.7 * z) + 0.6 * z**2).sum(-1)
    return draws(fsb.darn(), f, LOGITS, count, SIGNS, size=2**17).astype(np.float64)


def picture(rows):
    found, (left, right) = figure(2)
    p, variance, error = (column(rows, key) for key in ("p", "variance", "error"))
    grid = sigmoid(np.linspace(-6.3, 6.3, 200))
    left.errorbar(p / (1 - p), variance, 4 * error, label="measured", **points(0))
    left.plot(grid / (1 - grid), predicted(grid), label="predicted", **{**style(1), "marker": ""})
    left.set(xscale="log", yscale="log", ylabel=r"variance, gradient in $\mu$")
    right.plot(p / (1 - p), column(rows, "variance_in_logit"), label="measured", **points_only())
    inside = predicted(grid) * (2 * grid * (1 - grid)) ** 2
    right.plot(grid / (1 - grid), inside, label="predicted", **{**style(1), "marker": ""})
    right.set(xscale="log", ylim=(0, None), ylabel=r"variance, gradient in $\eta$")
    for one in (left, right):
        one.set_xlabel(r"odds $p / (1 - p)$")
        legend(one)
    return found


def points_only():
    return {**style(0), "linestyle": "none"}


if __name__ == "__main__":
    main(__file__, measure, picture)
