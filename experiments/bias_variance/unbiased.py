"""What C's Theorem 2 and D's eq. 3 and Table 1 say of bias, against enumeration of two layers.

Local expectations (BSB, CSB) and MuProp, with and without rollout, are unbiased through several
layers; the likelihood ratio is too, straight-through and "1/2" are not. An estimator that uses the
gradient of the cost gives another answer when that gradient is hidden.
"""

import jax
import numpy as np
from common import SEED, check, claim, figure, legend, main, points, ticks
from jax.flatten_util import ravel_pytree

import fsb
from fsb.lab.problems import mlp

BOOLEAN, CATEGORICAL = mlp(3, 2, layers=2), mlp(2, 3, layers=2)
CASES = {
    "LR": (fsb.reinforce(), BOOLEAN),
    "ST": (fsb.st(), BOOLEAN),
    "1/2": (fsb.darn(), BOOLEAN),
    "MuProp": (fsb.muprop(), BOOLEAN),
    "MuProp, rollout": (fsb.muprop(rollout=True), BOOLEAN),
    "BSB": (fsb.local_expectation(), BOOLEAN),
    "CSB": (fsb.local_expectation(), CATEGORICAL),
}
TABLE = {"LR": ("yes", "no"), "ST": ("no", "yes"), "1/2": ("no", "yes"), "MuProp": ("yes", "yes")}


def hidden(loss):
    """The same values, without the derivative in the samples of the last layer."""

    def blind(params, sample):
        return loss(params, lambda name, dist, eta: blocked(sample(name, dist, eta)))

    @jax.custom_vjp
    def blocked(z):
        return z

    blocked.defvjp(lambda z: (z, None), lambda _, g: (0 * g,))
    return blind


def logits(grads):
    return np.asarray(jax.vmap(lambda g: ravel_pytree(g["eta"])[0])(grads), np.float64)


def measure(count=2**15):
    rows = []
    for i, (name, (estimator, problem)) in enumerate(CASES.items()):
        params, key = problem.points[0], jax.random.key(SEED + i)
        true = logits(jax.tree.map(lambda g: g[None], fsb.exact_gradient(problem.loss, params)))[0]
        found = logits(fsb.sample_gradients(estimator, problem.loss, params, key, count))
        blind = found[:64]
        if name in TABLE:
            blind = logits(fsb.sample_gradients(estimator, hidden(problem.loss), params, key, 64))
        mean, error = found.mean(0), found.std(0) / np.sqrt(count)
        rows.append({
            "estimator": name, "z": (abs(mean - true) / error).max(),
            "variance": found.var(0).sum(),
            "bias": np.linalg.norm(mean - true) / np.linalg.norm(true),
            "error": np.linalg.norm(error) / np.linalg.norm(true),
            "uses_gradient": bool(abs(found[:64] - blind).max() > 1e-6),
        })  # fmt: skip
    row = {r["estimator"]: r for r in rows}
    says = {name: ("yes" if row[name]["z"] < 4 else "no",
                   "yes" if row[name]["uses_gradient"] else "no") for name in TABLE}  # fmt: skip
    unbiased = lambda name: check(f"{name}: bias in standard errors", row[name]["z"], "<", 4)
    show = lambda name: (
        f"{name}: {row[name]['z']:.1f} standard errors (of {row[name]['error']:.3f})"
    )
    wrong = sum(says[name] != TABLE[name] for name in TABLE)
    theorem = claim(
        "Discrete stochastic backpropagation (BSB, CSB) is unbiased.",
        f"{show('BSB')}; {show('CSB')}",
        "0",
        [unbiased("BSB"), unbiased("CSB")],
        note=f"Two stochastic layers, {count:,} draws against enumeration; error relative to "
        "|gradient|.",
    )
    muprop = claim(
        "MuProp is unbiased through several layers.",
        show("MuProp"),
        "0",
        [unbiased("MuProp"), check("relative standard error", row["MuProp"]["error"], "<", 0.05)],
        note=f"Two stochastic layers of 3 units, {count:,} draws against enumeration.",
    )
    rollout = claim(
        "The mean-field passes of MuProp may start anew at every sampled layer (rollout).",
        f"{show('MuProp, rollout')}; variance {row['MuProp, rollout']['variance']:.3f} against "
        f"{row['MuProp']['variance']:.3f}",
        "0",
        [unbiased("MuProp, rollout")],
        note="The figure is a drawing of both; here it is their bias and variance.",
    )
    table = claim(
        "Table 1: which estimators are unbiased, and which use the gradient of the cost.",
        "; ".join(f"{name}: {a}, {b}" for name, (a, b) in says.items()),
        "; ".join(f"{name}: {a}, {b}" for name, (a, b) in TABLE.items()),
        [check("rows that differ", wrong, "=", 0)],
        note="Its column 'require baseline' is advice and not measured.",
    )
    return rows, {"C theorem 2": theorem, "D eq 3": muprop, "D fig 1": rollout, "D table 1": table}


def picture(rows):
    found, (left, right) = figure(2)
    place = np.arange(len(rows))
    bias, error, variance = (np.array([r[k] for r in rows]) for k in ("bias", "error", "variance"))
    left.errorbar(place, 100 * bias, 400 * error, label="4 standard errors", **points(0))
    left.axhline(0, color="0.5", lw=0.8)
    left.set_ylabel("|bias|, % of the gradient")
    right.plot(place, variance, "ks", ms=5)
    right.set(yscale="log", ylabel="variance (trace of the covariance)")
    ticks(right.yaxis, (0.01, 0.02, 0.05, 0.1, 0.2, 0.5))
    for one in (left, right):
        one.set_xticks(place, [r["estimator"] for r in rows], rotation=35, size=8, ha="right")
    legend(left)
    return found


if __name__ == "__main__":
    main(__file__, measure, picture)
