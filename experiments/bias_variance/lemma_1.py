"""Lemma 1: REINFORCE estimates the Fourier coefficients of degree one.

dE f / dp_i = (2 / sigma_i) fhat^(p)(i) = 2 fhat^(p_i -> 1/2)(i),   sigma_i^2 = 4 p_i (1 - p_i)
"""

import jax.numpy as jnp
import numpy as np
from common import SIGNS, check, claim, column, draws, figure, legend, main, points, sigmoid, style

import fsb
from fsb import fourier

ETA = np.array([0.0, 0.8, -1.2, 2.0, -0.4])
rng = np.random.default_rng(7)
INNER, OUTER = rng.normal(size=(5, 12)), rng.normal(size=12)


def loss(z):
    return jnp.tanh(z @ jnp.float32(INNER)) @ jnp.float32(OUTER)


def coefficients():
    """(2 / sigma_i) fhat^(p)(i), and 2 fhat(i) with unit i alone at p_i = 1/2."""
    states, p = fourier.states(5, SIGNS), sigmoid(ETA)
    values = np.tanh(states @ INNER) @ OUTER
    own = 2 ** np.arange(5)[::-1]
    biased = 2 / np.sqrt(4 * p * (1 - p)) * fourier.transform(values, p)[own]
    half = [
        2 * fourier.transform(values, np.where(np.arange(5) == i, 0.5, p))[own[i]] for i in range(5)
    ]
    return biased, np.array(half)


def measure(count=2**21):
    p = sigmoid(ETA)
    found = draws(fsb.reinforce(), loss, ETA, count, SIGNS, size=2**17).astype(np.float64)
    found /= p * (1 - p)  # from the logit to p
    mean, error = found.mean(0), found.std(0) / np.sqrt(count)
    biased, half = coefficients()
    rows = [
        {
            "unit": i,
            "p": p[i],
            "mean": mean[i],
            "error": error[i],
            "biased": biased[i],
            "half": half[i],
        }
        for i in range(5)
    ]
    apart, precise = (abs(mean - biased) / error).max(), np.median(error / abs(biased))
    record = claim(
        "The mean of REINFORCE is 2 / sigma_i times the Fourier coefficient of degree one.",
        f"mean of {count:,} draws at most {apart:.1f} standard errors from (2 / sigma_i) fhat(i) "
        "for 5 "
        f"units (median standard error {100 * precise:.1f} %); the two forms agree to "
        f"{abs(biased - half).max():.0e}",
        "0; 0",
        [
            check("largest distance of the mean, standard errors", apart, "<", 4),
            check("difference of the two forms", abs(biased - half).max(), "=", 0, 1e-10),
            check("median relative standard error", precise, "<", 0.02),
        ],
        note="A tanh network of 5 units in {-1, 1}.",
    )
    return rows, {"A lemma 1": record}


def picture(rows):
    found, (axes,) = figure(1, 4.6, 3.6)
    mean, error, biased = (column(rows, key) for key in ("mean", "error", "biased"))
    span = [biased.min() - 0.3, biased.max() + 0.7]
    axes.plot(span, span, label="equal", **{**style(1), "marker": ""})
    axes.errorbar(biased, mean, 4 * error, label="REINFORCE, 4 standard errors", **points(0))
    for row in rows:
        axes.annotate(f"p = {row['p']:.2f}", (row["biased"], row["mean"]), size=7, xytext=(6, -8),
                      textcoords="offset points")  # fmt: skip
    axes.set(xlabel=r"$(2/\sigma_i)\,\hat f(i)$", ylabel="mean of the draws, gradient in p")
    legend(axes)
    return found


if __name__ == "__main__":
    main(__file__, measure, picture)
