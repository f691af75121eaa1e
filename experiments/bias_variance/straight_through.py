"""Straight-through in its encodings: exact for linear losses; and the factor 2.

In {-a, a} the gradient in p is 2a f'(z). A's Algorithm 1 (and its baseline ST, A's eq. 9) leave the
2a out: they are 1 / (2a) of the estimate, half of it in {-1, 1}.
"""

import numpy as np
from common import (
    ZERO_ONE,
    check,
    claim,
    column,
    draws,
    figure,
    legend,
    main,
    sigmoid,
    style,
    ticks,
)

import fsb

ETA = 0.4
SCALES = (0.25, 0.5, 1.0, 2.0)
ESTIMATORS = {
    "st": fsb.st(),
    "darn": fsb.darn(),
    "st as in A": fsb.foust(0.0, 1.0, False, "paper"),
    "reweighed as in A": fsb.foust(0.0, 1.0, True, "paper"),
}
LOSSES = {
    "linear": lambda z: 3 * z - 1,
    "quadratic": lambda z: 0.5 * (z - 0.45) ** 2 + 2 * z,
}


def together(z):
    """Each loss of a unit of its own."""
    return sum(f(z[:, k]) for k, f in enumerate(LOSSES.values()))


def measure(count=2**20):
    encodings = [("{0, 1}", ZERO_ONE)] + [(f"a = {a}", fsb.Bernoulli(-a, a)) for a in SCALES]
    v, rows = sigmoid(ETA) * sigmoid(-ETA), []
    for i, (encoding, dist) in enumerate(encodings):
        for name, estimator in ESTIMATORS.items():
            both = draws(estimator, together, [ETA, ETA], count, dist, seed=i).astype(np.float64)
            for (kind, f), x in zip(LOSSES.items(), both.T, strict=True):
                low, high = (float(f(z)) for z in (dist.low, dist.high))
                true = v * (high - low)
                rows.append({
                    "encoding": encoding, "span": dist.span, "estimator": name, "loss": kind,
                    "true": true, "mean": x.mean(), "error": x.std() / np.sqrt(count),
                    "ratio": x.mean() / true, "ratio_error": x.std() / np.sqrt(count) / abs(true),
                })  # fmt: skip
    pick = lambda name, kind: [r for r in rows if r["estimator"] == name and r["loss"] == kind]
    straight = pick("st", "linear")
    off = max(abs(r["ratio"] - 1) for r in straight)
    noise = max(r["ratio_error"] for r in straight) * np.sqrt(count)
    half = {name: next(r for r in rows if r["estimator"] == name and r["loss"] == kind
                       and r["encoding"] == "a = 1.0")
            for name, kind in (("st as in A", "linear"), ("reweighed as in A", "quadratic"),
                               ("darn", "quadratic"))}  # fmt: skip
    scaled = [r for name, kind in (("st as in A", "linear"), ("reweighed as in A", "quadratic"))
              for r in pick(name, kind) if r["encoding"] != "{0, 1}"]  # fmt: skip
    z = max(abs(r["ratio"] * r["span"] - 1) / (r["ratio_error"] * r["span"] + 1e-5) for r in scaled)
    background = claim(
        "Straight-through is unbiased and without variance for linear losses, in any encoding.",
        f"mean over gradient within {off:.0e} of 1 and standard deviation {noise:.0e} in "
        f"{len(straight)} encodings",
        "1; 0",
        [
            check("largest |mean / gradient - 1|", off, "=", 0, 1e-5),
            check("largest standard deviation over gradient", noise, "=", 0, 1e-5),
        ],
    )
    misspecified = claim(
        "The straight-through baseline of A lacks a factor 2 in {-1, 1}.",
        f"mean over gradient {half['st as in A']['ratio']:.4f} for a linear loss",
        "0.5",
        [check("mean / gradient, linear loss, a = 1", half["st as in A"]["ratio"], "=", 0.5, 1e-4)],
    )
    algorithm = claim(
        "Algorithm 1 (with 0.5 / p and {-a, a}) gives the gradient in p.",
        f"for a quadratic loss, without noise, mean over gradient "
        f"{half['reweighed as in A']['ratio']:.4f} +- "
        f"{half['reweighed as in A']['ratio_error']:.4f} "
        f"at a = 1; with the factor 2a {half['darn']['ratio']:.4f}; times 2a at most {z:.1f} "
        f"standard errors from 1 for a in {SCALES}",
        "1",
        [check("mean / gradient at a = 1", half["reweighed as in A"]["ratio"], "=", 1, 0.02)],
        [check("mean times 2a, distance from the gradient, standard errors", z, "<", 4)],
        note="Right only at a = 1/2. fsb.foust(scale_mode='paper') is the printed one. The "
        "interval "
        "of its noise is right only for a = 1 too: magnitude a u, not a times U(b, a).",
    )
    return rows, {"B eq 6": background, "B eq 7": misspecified, "A alg 1": algorithm}


def picture(rows):
    found, axes = figure(2)
    for one, kind in zip(axes, ("linear", "quadratic"), strict=True):
        for k, name in enumerate(ESTIMATORS):
            some = [r for r in rows if r["encoding"] != "{0, 1}"]
            span, ratio, error = (
                column(some, key, estimator=name, loss=kind)
                for key in ("span", "ratio", "ratio_error")
            )
            one.errorbar(span / 2 * 1.03**k, ratio, 4 * error, label=name, **style(k))
        one.axhline(1, color="0.5", lw=0.8)
        one.set(xscale="log", yscale="log", xlabel=r"a, of the encoding $\{-a, a\}$")
        ticks(one.xaxis, SCALES)
        ticks(one.yaxis, SCALES)
        one.set_ylabel("mean of the estimate / gradient")
        one.set_title(f"{kind} loss", size=10, loc="left")
        legend(one)
    return found


if __name__ == "__main__":
    main(__file__, measure, picture)
