"""Proposition 4: how seldom Gumbel-Softmax gives a gradient of any size.

With |f'| = 1, P(|J| >= e) = P(|eta + Z| <= w), w = tau logit((1 + sqrt(1 - 4 e tau)) / 2), which is
2 tau log(1 / (tau e)) pZ(eta) as tau -> 0. Of L layers the chain has L such factors, and
P(|J_1 ... J_L| >= e) = O((tau log(1/tau))^L).
"""

import jax
import jax.numpy as jnp
import numpy as np
from common import (
    SEED,
    ZERO_ONE,
    check,
    claim,
    column,
    figure,
    legend,
    logistic,
    main,
    points,
    sigmoid,
    style,
)
from scipy.integrate import quad

import fsb

ETA, LEAST = 0.6, 0.1
TEMPERATURES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)


def loss(params, sample):
    """One layer, x; and beside it two, each unit's logit the one above less 1/2."""
    one = sample("one", ZERO_ONE, params["one"])
    top = sample("top", ZERO_ONE, params["top"])
    return (one + sample("low", ZERO_ONE, top - 0.5))[:, 0]


def frequencies(tau, count, seed, size=2**18):
    """How often the gradient of one layer, and of two, is at least LEAST."""

    @jax.jit
    def some(key):
        params = {"one": jnp.full((size, 1), ETA), "top": jnp.zeros((size, 1))}
        grads = fsb.value_and_grad(fsb.gumbel_softmax(tau), loss)(params, key)[1]
        return jnp.array([(size * grads[name] >= LEAST).sum() for name in ("one", "top")])

    keys = jax.random.split(jax.random.key(seed), -(-count // size))
    return sum(np.asarray(some(key), np.int64) for key in keys) / (size * len(keys))


def width(tau, least):
    """Half of the interval of eta + Z in which v (1 - v) / tau >= least."""
    root = np.sqrt(np.maximum(1 - 4 * least * tau, 0))
    return np.where(4 * least * tau < 1, tau * np.log((1 + root) ** 2 / (4 * least * tau)), 0)


def exact(tau):
    """The two probabilities, the second by quadrature over the noise of the upper unit."""
    w = width(tau, LEAST)
    one = sigmoid(w - ETA) - sigmoid(-w - ETA)

    def below(zeta):
        v = sigmoid(zeta / tau)
        factor = v * sigmoid(-zeta / tau) / tau
        if factor * 0.25 / tau < LEAST:
            return 0.0
        half = width(tau, LEAST / factor)
        return logistic(zeta) * (sigmoid(half - (v - 0.5)) - sigmoid(-half - (v - 0.5)))

    edge = tau * np.log(1 / (4 * LEAST * tau**2)) + tau
    return one, quad(below, -edge, edge, limit=400, points=[0])[0]


def asymptotes(tau):
    one = 2 * tau * np.log(1 / (tau * LEAST)) * logistic(ETA)
    return one, 2 * (tau * np.log(1 / (tau**2 * LEAST))) ** 2 * logistic(0.0) * logistic(0.5)


def measure(count=2**22):
    rows = []
    for i, tau in enumerate(TEMPERATURES):
        found = frequencies(tau, count, SEED + i)
        for layers in (1, 2):
            p, q = found[layers - 1], exact(tau)[layers - 1]
            rows.append({
                "layers": layers, "temperature": tau, "frequency": p,
                "error": np.sqrt(q * (1 - q) / count), "exact": q,
                "asymptote": asymptotes(tau)[layers - 1],
            })  # fmt: skip
    worst = max(abs(row["frequency"] - row["exact"]) / row["error"] for row in rows)
    least = TEMPERATURES[0]
    one, two = (column(rows, "frequency", layers=k, temperature=least)[0] for k in (1, 2))
    first, second = asymptotes(least)
    product = 4 * least**2 * np.log(1 / (least * LEAST)) ** 2 * logistic(0.0) * logistic(0.5)
    record = claim(
        "P(|J| >= e) vanishes as tau log(1 / (tau e)); with L layers as its L-th power.",
        f"at tau = {least}: P = {one:.5f}, {one / first:.3f} of the asymptote; two layers "
        f"P = {two:.3g}, {two / second:.3f} of 2 (tau log(1/(tau^2 e)))^2 pZ pZ and "
        f"{two / product:.2f} of the product of the two single ones",
        "1; a constant",
        [
            check("P over 2 tau log(1/(tau e)) pZ, one layer", one / first, "=", 1, 0.03),
            check("P over 2 (tau log(1/(tau^2 e)))^2 pZ pZ, two layers", two / second, "=", 1, 0.1),
            check("largest distance from the exact P, standard errors", worst, "<", 4),
        ],
        note=f"e = {LEAST}, {count:,} draws a temperature. The rate holds for two layers; its "
        "constant is not that of the product of the single probabilities but tends to twice it, "
        "for a large factor makes up for a small one. Tolerances 3 %, 10 %, 4 standard errors.",
    )
    return rows, {"B prop 4": record}


def picture(rows):
    found, (left, right) = figure(2)
    line = np.geomspace(0.004, 0.25)
    for k, layers in enumerate((1, 2)):
        tau, p, error = (
            column(rows, key, layers=layers) for key in ("temperature", "frequency", "error")
        )
        name = "one layer" if layers == 1 else "two layers"
        left.errorbar(tau, p, 4 * error, label=f"{name}, measured", **points(k))
        curve = np.array([exact(t)[layers - 1] for t in line])
        dash = {**style(k), "marker": ""}
        left.plot(line, curve, label=f"{name}, exact", **dash)
        right.plot(tau, p / column(rows, "asymptote", layers=layers), label=name, **style(k))
    left.set(xscale="log", yscale="log", xlabel=r"temperature $\tau$")
    left.set_ylabel(f"P(|J| ≥ {LEAST})")
    right.axhline(1, color="0.5", lw=1, ls=":")
    right.set(xscale="log", xlabel=r"temperature $\tau$", ylabel="measured / asymptote")
    legend(left)
    legend(right)
    return found


if __name__ == "__main__":
    main(__file__, measure, picture)
