"""Proposition 9: correlated samples by the noise operator do not beat independent ones.

With J(x'_m), x'_m ~ N_rho(x), m = 1..M: the mean is E J, so that the bias is that of J, and

    Var = Var(J) / M + (1 - 1/M) sum_{S nonempty} rho^{2|S|} Jhat(S)^2.
"""

import jax
import jax.numpy as jnp
import numpy as np
from common import SIGNS, check, claim, column, draws, figure, legend, main, points, sigmoid, style

import fsb
from fsb import fourier

ETA = np.array([0.4, -0.7, 1.1, -0.2])
SAMPLES = 5
RHO = (0.0, 0.3, 0.5, 0.7, 0.9, 1.0)
rng = np.random.default_rng(3)
INNER, OUTER = rng.normal(size=(4, 8)), rng.normal(size=8)


def loss(z):
    return jnp.tanh(z @ jnp.float32(INNER)) @ jnp.float32(OUTER)


def table():
    """J of DARN at every state, one unit a row, [4, 16], by the definition, and p."""
    states = fourier.states(4, SIGNS)
    slope = np.asarray(jax.vmap(jax.grad(lambda z: loss(z[None])[0]))(jnp.float32(states)))
    return (slope * sigmoid(-states * ETA)).T, sigmoid(ETA)


def measure(count=2**18):
    values, p = table()
    spectrum = fourier.transform(values, p)
    weights = fourier.degree_weights(spectrum)[:, 1:].sum(0)
    mean, total = spectrum[:, 0], weights.sum()
    cases = [(rho, True) for rho in RHO] + [(0.0, False)]
    rows = []
    for i, (rho, correlated) in enumerate(cases):
        estimator = fsb.noise_operator(fsb.darn(), rho, SAMPLES, correlated)
        found = draws(estimator, loss, ETA, count, SIGNS, seed=i, size=2**16).astype(np.float64)
        square = ((found - found.mean(0)) ** 2).sum(1)
        smooth = (rho ** (2 * np.arange(1, 5)) * weights).sum() if correlated else 0.0
        error = found.std(0) / np.sqrt(count)
        rows.append({
            "samples": "correlated" if correlated else "independent", "rho": rho,
            "variance": square.mean(), "error": square.std() / np.sqrt(count),
            "predicted": total / SAMPLES + (1 - 1 / SAMPLES) * smooth,
            "shift": (abs(found.mean(0) - mean) / error).max(),
        })  # fmt: skip
    apart = max(abs(row["variance"] - row["predicted"]) / row["error"] for row in rows)
    shift = max(row["shift"] for row in rows)
    independent = rows[-1]["variance"]
    at = column(rows, "variance", samples="correlated", rho=0.7)[0]
    ratio = at / independent
    never = min(row["variance"] + 4 * row["error"] for row in rows[:-1]) / independent
    record = claim(
        "Correlated samples by the noise operator leave the bias as it is, and their variance is "
        "above that of as many independent samples.",
        f"variance of M = {SAMPLES} samples at rho = 0.7: {at:.4f}, independent {independent:.4f}, "
        f"ratio {ratio:.2f}; at most {apart:.1f} standard errors from the formula; mean moved by "
        "at "
        f"most {shift:.1f} standard errors",
        f"{rows[RHO.index(0.7)]['predicted']:.4f}, {rows[-1]['predicted']:.4f}",
        [
            check("largest distance from the formula, standard errors", apart, "<", 4),
            check("largest shift of the mean, standard errors", shift, "<", 4.2),
            check("variance at rho = 0.7 over independent", ratio, ">", 1.05),
            check("least ratio of any rho, up by 4 standard errors", never, ">", 1),
        ],
        note=f"DARN on a tanh network of 4 units, {count:,} draws a rho, {len(rows) * 4} means. "
        "This contradicts Figure 4 of the ICML version of A, whose text could not be had.",
    )
    return rows, {"B prop 9": record}


def picture(rows):
    found, (axes,) = figure(1, 5.2, 3.6)
    rho, variance, error = (
        column(rows, key, samples="correlated") for key in ("rho", "variance", "error")
    )
    axes.errorbar(rho, variance, 4 * error, label="correlated, measured", **points(0))
    values, p = table()
    weights = fourier.degree_weights(fourier.transform(values, p))[:, 1:].sum(0)
    line = np.linspace(0, 1)
    smooth = line[:, None] ** (2 * np.arange(1, 5)) @ weights
    curve = weights.sum() / SAMPLES + (1 - 1 / SAMPLES) * smooth
    axes.plot(line, curve, label="correlated, predicted", **{**style(1), "marker": ""})
    axes.axhline(rows[-1]["variance"], label="independent, measured", **{**style(3), "marker": ""})
    axes.set(xlabel=r"$\rho$, probability to keep a unit", ylim=(0, None))
    axes.set_ylabel(f"variance of the mean of {SAMPLES}")
    legend(axes)
    return found


if __name__ == "__main__":
    main(__file__, measure, picture)
