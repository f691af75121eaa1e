"""Lemma 2: the bias of straight-through in Taylor coefficients, as printed and as it should read.

With f = sum_k c_k z_i^k in {-1, 1}. Printed, with ST = f'(z) taken for the gradient in p:

    bias = E sum_{odd k >= 3} (k - 2) c_k + mu_i E sum_{even k >= 2} k c_k

where the gradient in p is 2 E[c_1 + c_3 + ...]: the term k = 1, -c_1, is missing. In the mean
parameter, where ST is f'(z): (k - 1) for (k - 2), and no term is missing.
"""

import jax.numpy as jnp
import numpy as np
from common import SIGNS, check, claim, column, draws, figure, legend, main, points, sigmoid, style

import fsb
from fsb import fourier

ETA = np.array([0.6, -0.9, 1.4])
POLYNOMIAL = np.array([0.0, 0.7, -0.4, 0.3, 0.2, -0.5])
MIX = np.array([[0, 0.5, -0.3], [-0.4, 0, 0.6], [0.2, -0.5, 0]])


def loss(z):
    """Each unit's polynomial of degree 5, times a function of the other two."""
    c = jnp.asarray(POLYNOMIAL[::-1], jnp.float32)
    return (jnp.polyval(c, z) * (1 + z @ jnp.float32(MIX).T)).sum(-1)


def taylor():
    """E[c_k] of every unit, [6, 3]."""
    states = fourier.states(3, SIGNS)
    weight = fourier.probabilities(sigmoid(ETA))
    one = lambda z: loss(z[None])[0]
    each = [np.asarray(fourier.taylor_coefficients(one, jnp.float32(z), 5)) for z in states]
    return np.einsum("s,ski->ki", weight, np.stack(each).astype(np.float64))


def measure(count=2**20):
    p = sigmoid(ETA)
    mu, v, c, k = 2 * p - 1, p * (1 - p), taylor(), np.arange(6)[:, None]
    odd, even = (k % 2 == 1) & (k >= 3), (k % 2 == 0) & (k >= 2)
    tail = mu * (even * k * c).sum(0)
    true = (np.where(k % 2 == 1, c, 0)).sum(0)  # in the mean; twice that in p
    forms = {
        "printed": (odd * (k - 2) * c).sum(0) + tail,
        "with k = 1": (odd * (k - 2) * c).sum(0) - c[1] + tail,
        "corrected": (odd * (k - 1) * c).sum(0) + tail,
    }
    rows, bias = [], {}
    literal = fsb.foust(0.0, 1.0, False, "paper")  # ST without the factor 2, as in the paper
    for name, estimator, unit, target in (
        ("in p, as printed", literal, v, 2 * true),
        ("in the mean", fsb.st(), 2 * v, true),
    ):
        found = draws(estimator, loss, ETA, count, SIGNS).astype(np.float64) / unit
        bias[name] = found.mean(0) - target, found.std(0) / np.sqrt(count)
        for i in range(3):
            rows.append({
                "straight_through": name, "unit": i, "bias": bias[name][0][i],
                "error": bias[name][1][i], **{form: value[i] for form, value in forms.items()},
            })  # fmt: skip
    (stated, stated_error), (mean, mean_error) = bias.values()
    off = abs(stated - forms["printed"]).max()
    corrected = (abs(mean - forms["corrected"]) / mean_error).max()
    missing = (abs(stated - forms["with k = 1"]) / stated_error).max()
    linear = abs(c[1]).max()
    record = claim(
        "The bias of straight-through is a sum over higher Taylor coefficients.",
        f"as printed off by up to {off:.3f} (largest |c_1|: {linear:.3f}), with the term k = 1 at "
        "most "
        f"{missing:.1f} standard errors; (k - 1) for (k - 2) in the mean parameter: at most "
        f"{corrected:.1f} standard errors (of {mean_error.max():.4f})",
        "0",
        [check("printed formula, largest distance", off, "=", 0, 4 * stated_error.max())],
        [
            check("in the mean parameter with (k - 1), standard errors", corrected, "<", 4),
            check("printed formula with the term k = 1, standard errors", missing, "<", 4),
            check("largest corrected bias, in standard errors",
                  (abs(forms["corrected"]) / mean_error).max(), ">", 40),
        ],
        note=f"Polynomials of degree 5 of 3 coupled units, {count:,} draws. The printed sum "
        "starts at "
        "k = 3, but its gradient in p has no factor dz/dp = 2, and k = 1 gives -c_1.",
    )  # fmt: skip
    return rows, {"A lemma 2": record}


def picture(rows):
    found, axes = figure(2, 3.6)
    forms = {"in p, as printed": ("printed", "with k = 1"), "in the mean": ("corrected",)}
    for one, (name, lines) in zip(axes, forms.items(), strict=True):
        unit, bias, error = (
            column(rows, key, straight_through=name) for key in ("unit", "bias", "error")
        )
        one.errorbar(unit, bias, 4 * error, label="measured", **points(0))
        for k, form in enumerate(lines, start=1):
            value = column(rows, form, straight_through=name)
            title = {"printed": "Lemma 2 as printed", "with k = 1": "with the term k = 1",
                     "corrected": "Lemma 2 with $(k - 1)$"}[form]  # fmt: skip
            one.plot(unit + 0.12 * k, value, label=title, **{**style(k), "linestyle": "none"})
        one.axhline(0, color="0.5", lw=0.8)
        one.set(xlabel="unit", ylabel="bias of straight-through", xticks=unit, xlim=(-0.4, 2.6))
        one.set_title(f"gradient {name}", size=10, loc="left")
        legend(one, loc="center right", bbox_to_anchor=(1.0, 0.66))
    return found


if __name__ == "__main__":
    main(__file__, measure, picture)
