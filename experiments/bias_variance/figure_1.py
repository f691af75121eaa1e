"""Figure 1: bias against variance of the estimators, measured.

The paper draws it schematically: single-sample methods trade bias for variance, Gumbel-Softmax and
its kin along a curve in the temperature, and unbiased methods pay with variance or evaluations.
"""

import jax.numpy as jnp
import numpy as np
from common import SIGNS, check, claim, column, draws, figure, legend, main, sigmoid, style

import fsb
from fsb.diagnostics import GradientMoments, quality

ETA = np.array([0.4, -0.7, 1.1, -0.2])
rng = np.random.default_rng(3)
INNER, OUTER = rng.normal(size=(4, 8)), rng.normal(size=8)
TEMPERATURES = (0.1, 0.2, 0.4, 0.7, 1.0)
FAMILIES = {
    "gumbel_softmax": (fsb.gumbel_softmax, TEMPERATURES),
    "st_gumbel_softmax": (fsb.st_gumbel_softmax, TEMPERATURES),
    "gumbel_rao": (fsb.gumbel_rao, TEMPERATURES),
    "foust": (fsb.foust, (0.1, 0.25, 0.5, 1.0)),
}
SINGLE = {"st": fsb.st(), "darn": fsb.darn()}
UNBIASED = {
    "reinforce": fsb.reinforce(),
    "arm": fsb.arm(),
    "disarm": fsb.disarm(),
    "rloo": fsb.rloo(),
    "muprop": fsb.muprop(),
    "rebar": fsb.rebar(),
    "local_expectation": fsb.local_expectation(),
}


def loss(z):
    return jnp.tanh(z @ jnp.float32(INNER)) @ jnp.float32(OUTER)


def measure(count=2**18, batches=16):
    states, p = fsb.fourier.states(4, SIGNS), sigmoid(ETA)
    values = np.tanh(states @ INNER) @ OUTER
    true = fsb.fourier.logit_gradient(fsb.fourier.transform(values, p), p)
    cases = [(name, "", estimator) for name, estimator in {**SINGLE, **UNBIASED}.items()]
    for name, (factory, settings) in FAMILIES.items():
        cases += [(name, value, factory(value)) for value in settings]
    rows = []
    for i, (name, setting, estimator) in enumerate(cases):
        found = draws(estimator, loss, ETA, count, SIGNS, seed=i, size=2**16).astype(np.float64)
        parts = [
            GradientMoments(len(x), x.mean(0), ((x - x.mean(0)) ** 2).sum(0))
            for x in np.split(found, batches)
        ]
        q = quality(parts, true)
        rows.append({
            "estimator": name, "setting": setting, "bias": q.bias / np.linalg.norm(true),
            "error": q.bias_error / np.linalg.norm(true), "z": q.bias_z, "variance": q.variance,
        })  # fmt: skip
    at = lambda name, key: column(rows, key, estimator=name)
    unbiased = max(at(name, "z")[0] for name in UNBIASED)
    biased = min(at(name, "z")[0] for name in SINGLE)
    bias, variance = at("gumbel_softmax", "bias"), at("gumbel_softmax", "variance")
    record = claim(
        "Single-sample estimators trade bias for variance; unbiased ones pay in variance.",
        f"variance of ST {at('st', 'variance')[0]:.3f}, DARN {at('darn', 'variance')[0]:.3f}, "
        f"REINFORCE {at('reinforce', 'variance')[0]:.3f}; bias {100 * at('st', 'bias')[0]:.0f} %, "
        f"{100 * at('darn', 'bias')[0]:.0f} %, 0. Gumbel-Softmax from tau = 1 to 0.1: bias "
        f"{100 * bias[-1]:.0f} % to {100 * bias[0]:.0f} %, variance {variance[-1]:.3f} to "
        f"{variance[0]:.3f}",
        "a drawing without numbers",
        [
            check("largest z of the bias of an unbiased one", unbiased, "<", 4),
            check("least z of the bias of ST, DARN", biased, ">", 4),
            check("variance, REINFORCE over DARN",
                  at("reinforce", "variance")[0] / at("darn", "variance")[0], ">", 1),
            check("variance, DARN over ST",
                  at("darn", "variance")[0] / at("st", "variance")[0], ">", 1),
            check("Gumbel-Softmax: least fall of variance in tau", np.diff(variance).max(), "<", 0),
            check("Gumbel-Softmax: bias at tau = 0.1 over 1", bias[0] / bias[-1], "<", 0.5),
        ],
        note=f"A tanh network of 4 units, {count:,} draws each; bias relative to the gradient.",
    )  # fmt: skip
    return rows, {"B fig 1": record}


def picture(rows):
    found, (axes,) = figure(1, 6.6, 4.4)
    floor = 3e-3
    for k, name in enumerate(FAMILIES):
        bias, variance = (column(rows, key, estimator=name) for key in ("bias", "variance"))
        symbol = r"$\tau$" if name != "foust" else r"$\delta$"
        settings = column(rows, "setting", estimator=name)
        label = f"{name}, {symbol} = {settings[0]:g} ... {settings[-1]:g}"
        axes.plot(np.maximum(bias, floor), variance, label=label, lw=1.2, **style(k))
        for end in {"foust": (), "gumbel_rao": (-1,)}.get(name, (0, -1)):
            axes.annotate(f"{settings[end]:g}", (max(bias[end], floor), variance[end]), size=7,
                          xytext=(4, 4), textcoords="offset points")  # fmt: skip
    names = {"arm": "arm, rloo", "rloo": "", "disarm": "", "reinforce": "reinforce, disarm"}
    for row in rows:
        name = row["estimator"]
        if name in FAMILIES:
            continue
        zero = name in UNBIASED
        x = floor if zero else row["bias"]
        axes.plot(x, row["variance"], "k*" if zero else "kx", ms=7)
        place = (-26, 5) if name == "darn" else (6, -3)
        axes.annotate(names.get(name, name), (x, row["variance"]), size=8, xytext=place,
                      textcoords="offset points")  # fmt: skip
    axes.plot([], [], "k*", label="unbiased, drawn at the left edge", ls="none")
    axes.set(xscale="log", yscale="log", xlim=(0.85 * floor, None))
    axes.set(xlabel="|bias| / |gradient|", ylabel="variance (trace of the covariance)")
    legend(axes)
    return found


if __name__ == "__main__":
    main(__file__, measure, picture)
