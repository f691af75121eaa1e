"""Proposition 3: for fixed noise the Gumbel-Softmax gradient vanishes exponentially as tau -> 0.

|J| ~ |f'| (1/tau) exp(-|eta + Z| / tau)
"""

import jax
import jax.numpy as jnp
import numpy as np
from common import SEED, ZERO_ONE, check, claim, column, figure, legend, main, style

import fsb

ETA = 0.3
NUMBER = 6
TEMPERATURES = tuple(np.geomspace(0.02, 1.0, 14).round(4))


def realisations(tau):
    """The relaxed value and the gradient of one unit, for the same noise at every temperature."""
    estimate = fsb.value_and_grad(
        fsb.gumbel_softmax(tau), lambda eta, sample: sample("z", ZERO_ONE, eta)[:, 0]
    )
    keys = jax.random.split(jax.random.key(SEED), NUMBER)
    v, j = jax.jit(jax.vmap(estimate, (None, 0)))(jnp.full((1, 1), ETA, jnp.float64), keys)
    return np.asarray(v), np.asarray(j)[:, 0, 0]


def measure():
    with jax.enable_x64(True):  # 1 - v is 1e-12 here
        v, _ = realisations(1.0)
        zeta = np.log(v / (1 - v))  # eta + Z
        rows = [
            {"realisation": k, "zeta": zeta[k], "temperature": tau, "gradient": j}
            for tau in TEMPERATURES
            for k, j in enumerate(realisations(tau)[1])
        ]
    rates, limits = [], []
    for k in range(NUMBER):
        tau, j = (column(rows, key, realisation=k) for key in ("temperature", "gradient"))
        far = (tau < abs(zeta[k]) / 6) & (tau > abs(zeta[k]) / 28)
        rates.append(-np.polyfit(1 / tau[far], np.log(tau[far] * j[far]), 1)[0] / abs(zeta[k]))
        limits.append(tau[far] * j[far] * np.exp(abs(zeta[k]) / tau[far]))
    off = max(abs(np.concatenate(limits) - 1))
    record = claim(
        "For fixed noise the gradient vanishes as exp(-|eta + Z| / tau) / tau.",
        f"rate over |eta + Z| between {min(rates):.4f} and {max(rates):.4f} for {NUMBER} "
        f"realisations; tau |J| exp(|eta + Z| / tau) within {off:.4f} of 1",
        "1; 1",
        [
            check("least rate over |eta + Z|", min(rates), "=", 1, 0.02),
            check("greatest rate over |eta + Z|", max(rates), "=", 1, 0.02),
            check("distance of the constant from 1", off, "<", 0.01),
        ],
        note="f(x) = x, double precision, temperatures from |eta + Z| / 28 to |eta + Z| / 6; in "
        "single precision "
        "J is exactly 0 once |eta + Z| > 17 tau on the side of v = 1. Tolerances 2 %, 1 %.",
    )
    return rows, {"B prop 3": record}


def picture(rows):
    found, (left, right) = figure(2)
    for k in range(NUMBER):
        tau, j = (column(rows, key, realisation=k) for key in ("temperature", "gradient"))
        zeta = abs(column(rows, "zeta", realisation=k)[0])
        name = f"|η + Z| = {zeta:.2f}"
        left.plot(tau, np.maximum(j, 1e-300), label=name, **style(k))
        exact = zeta / tau < 30  # beyond, 1 - v is rounded in double precision too
        right.plot((zeta / tau)[exact], (tau * j)[exact], **style(k))
    x = np.linspace(0, 32)
    right.plot(x, np.exp(-x), color="0.5", lw=1, ls=":", label=r"predicted: $e^{-|\eta+Z|/\tau}$")
    left.set(xscale="log", yscale="log", ylim=(1e-12, 20), xlabel=r"temperature $\tau$")
    left.set_ylabel("|J|, gradient in the logit")
    right.set(yscale="log", xlim=(0, 32), ylim=(1e-14, 2), xlabel=r"$|\eta + Z|/\tau$")
    right.set_ylabel(r"$\tau\,|J|$")
    legend(left)
    legend(right)
    return found


if __name__ == "__main__":
    main(__file__, measure, picture)
