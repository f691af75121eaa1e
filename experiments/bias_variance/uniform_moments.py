"""The uniform-moment trick (A, section 4.3; B, section 5.3): noise u ~ U(b, 1) on the sample.

Over u in [0, 1] the derivative integrates to the difference: exact for any function of one unit.
With two units a monomial c z_1^i z_2^j gets c E[z_2^j] / (j + 1) for c E[z_2^j] (A, eq. 14), i odd;
with u in [b, 1], b > 0, even one unit is biased.
"""

import jax.numpy as jnp
import numpy as np
import reweighing
from common import (
    SIGNS,
    check,
    claim,
    column,
    draws,
    figure,
    legend,
    logistic,
    main,
    points,
    sigmoid,
    style,
)

import fsb

ETA = 0.4
DELTAS = (0.0, 0.1, 0.2, 0.5, 0.8, 1.0)
MONOMIALS = ((1, 0), (3, 0), (5, 0), (2, 0), (1, 1), (1, 2), (1, 3), (3, 1), (3, 2), (2, 1), (2, 2))
FUNCTIONS = {"sin 1.7z + 0.3 z^3": lambda z: jnp.sin(1.7 * z) + 0.3 * z**3, "z^3": lambda z: z**3}
LOGITS = (ETA, 3.0)  # of the functions


def monomials(z):
    return sum(z[:, 2 * k] ** i * z[:, 2 * k + 1] ** j for k, (i, j) in enumerate(MONOMIALS))


def together(z):
    """The functions of one unit, each of its own; their estimates do not meet."""
    return sum(f(z[:, k]) for k, f in enumerate(FUNCTIONS.values()))


def measure(count=2**20):
    v, p2 = logistic(np.array(LOGITS)), sigmoid(0.8)
    rows = []
    for i, delta in enumerate(DELTAS):
        x = draws(fsb.foust(delta), together, LOGITS, count, SIGNS, seed=i).astype(np.float64)
        x /= 2 * v
        for k, (name, f) in enumerate(FUNCTIONS.items()):
            b = 1 - delta
            rise = (
                float(f(1.0) - f(b)) / delta if delta else 1.7 * np.cos(1.7) + 0.9 if k == 0 else 3
            )
            rows.append({
                "what": name, "delta": delta, "mean": x[:, k].mean(),
                "error": x[:, k].std() / np.sqrt(count), "variance": x[:, k].var(),
                "predicted": float(rise), "true": float(f(1.0)),
            })  # fmt: skip
    eta = np.tile([ETA, 0.8], len(MONOMIALS))
    x = draws(fsb.foust(1.0), monomials, eta, count, SIGNS, size=2**16)[:, ::2].astype(np.float64)
    for k, (i, j) in enumerate(MONOMIALS):
        other = 1.0 if j % 2 == 0 else 2 * p2 - 1
        y = x[:, k] / (2 * v[0])
        rows.append({
            "what": f"z1^{i} z2^{j}", "delta": 1.0, "mean": y.mean(),
            "error": y.std() / np.sqrt(count),
            "predicted": other / (j + 1) if i % 2 else 0.0, "true": other if i % 2 else 0.0,
        })  # fmt: skip
    bias, noise = {}, {}
    for delta in DELTAS:
        bias[delta], noise[delta] = reweighing.biases(fsb.foust(delta), count >> 6)
    strength = np.linalg.norm(reweighing.true_gradients(), axis=1)
    for delta in DELTAS:
        fewer = bias[delta] < bias[0.0] - 4 * np.hypot(noise[delta], noise[0.0])
        more = bias[delta] > bias[0.0] + 4 * np.hypot(noise[delta], noise[0.0])
        rows.append({
            "what": "networks", "delta": delta, "bias": np.median(bias[delta] / strength),
            "falls": fewer.mean(), "rises": more.mean(),
        })  # fmt: skip

    first, cube = FUNCTIONS
    at = {d: next(r for r in rows if r["what"] == first and r["delta"] == d) for d in DELTAS}
    apart = lambda some, key: max(abs(r["mean"] - r[key]) / (r["error"] + 1e-6) for r in some)
    one = [r for r in rows if r["what"] in FUNCTIONS]
    full = apart([r for r in one if r["delta"] == 1], "true")
    law = apart(one, "predicted")
    ratio = {name: column(rows, "variance", what=name)[[-1, 0]] for name in FUNCTIONS}
    ratio = {name: full / none for name, (full, none) in ratio.items()}
    pairs = [r for r in rows if str(r["what"]).startswith("z1")]
    mixed = apart(pairs, "predicted")
    gap = min(abs(r["mean"] - r["true"]) / r["error"] for r in pairs
              if r["predicted"] != r["true"])  # fmt: skip
    networks = {row["delta"]: row for row in rows if row["what"] == "networks"}
    exactness = check(
        "mean at delta = 1, distance from the gradient in standard errors", full, "<", 4
    )
    univariate = claim(
        "For a function of one unit the uniform noise gives an unbiased estimate, with more "
        "variance.",
        f"{first}: gradient {at[1.0]['true']:.5f}; mean {at[1.0]['mean']:.4f} +- "
        f"{at[1.0]['error']:.4f} with u in [0, 1]; {at[0.2]['mean']:.4f} with [0.8, 1], "
        f"{at[0.1]['mean']:.4f} with [0.9, 1], {at[0.0]['mean']:.4f} without (DARN). Variance over "
        f"DARN's {ratio[first]:.2f}; for z^3 {ratio[cube]:.2f}",
        "1.29166; 0.8010, 0.7380, 0.6810 by integration",
        [exactness, *(check(f"variance over DARN's, {k}", r, ">", 1) for k, r in ratio.items())],
        [
            exactness,
            check("all intervals, distance from prediction in standard errors", law, "<", 4),
        ],
        note=f"Unbiased for b = 0 only. The variance need not grow (z^3 at eta = {LOGITS[1]:g}).",
    )
    bivariate = claim(
        "With two units a mixed term z_1^i z_2^j comes out with the factor 1 / (j + 1).",
        f"{len(pairs)} monomials, at most {mixed:.1f} standard errors from E[z_2^j] / (j + 1); "
        "mixed "
        f"ones at least {gap:.0f} standard errors from the gradient. Of {reweighing.NETWORKS} tanh "
        f"networks of 3 units, the bias falls in {100 * networks[0.1]['falls']:.0f} % and rises in "
        f"{100 * networks[0.1]['rises']:.0f} % with delta = 0.1, "
        f"{100 * networks[0.5]['falls']:.0f} % and {100 * networks[0.5]['rises']:.0f} % with 0.5, "
        f"{100 * networks[1.0]['falls']:.0f} % and {100 * networks[1.0]['rises']:.0f} % with 1, "
        "against no noise",
        "0",
        [
            check("largest distance from eq. 14, standard errors", mixed, "<", 4),
            check("least bias of a mixed term, standard errors", gap, ">", 4),
        ],
        note="Eq. 14 is right in the mean parameter; eq. 13, in p, lacks its factor 2.",
    )
    relaxed = claim(
        "Relaxed DARN is exact over u in [0, 1] for one unit; with other units, or b > 0, it is "
        "not.",
        univariate["ours"].split(". Variance")[0] + f"; mixed terms biased by {gap:.0f} standard "
        "errors and more",
        "1.29166",
        [
            exactness,
            check("all intervals, distance from prediction in standard errors", law, "<", 4),
            check("bias at b = 0.8", at[0.2]["true"] - at[0.2]["mean"], ">", 0.3),
            check("least bias of a mixed term, standard errors", gap, ">", 4),
        ],
    )
    return rows, {"A sec 4.3, one unit": univariate, "A sec 4.3, two units": bivariate,
                  "B sec 5.3": relaxed}  # fmt: skip


def picture(rows):
    found, (left, middle, right) = figure(3, 3.6)
    for k, name in enumerate(FUNCTIONS):
        delta, mean, error, predicted, true = (
            column(rows, key, what=name) for key in ("delta", "mean", "error", "predicted", "true")
        )
        left.errorbar(delta, mean / true, 4 * error / true,
                      label=f"${name}$".replace("sin", r"\sin"),
                      **points(k))  # fmt: skip
        left.plot(delta, predicted / true, lw=1, ls=style(k)["linestyle"], color=style(k)["color"])
    left.axhline(1, color="0.5", lw=0.8)
    left.set(xlabel=r"noise interval $\delta = 1 - b$", ylabel="mean / gradient, one unit")
    pairs = [row for row in rows if str(row["what"]).startswith("z1")]
    place = np.arange(len(pairs))
    true, mean, error, predicted = (
        column(pairs, k) for k in ("true", "mean", "error", "predicted")
    )
    middle.plot(place, true, label="gradient", **{**style(3), "linestyle": "none", "mfc": "none"})
    middle.plot(place, predicted, "_", color="k", ms=12, label="eq. 14")
    middle.errorbar(place, mean, 4 * error, label="measured", **points(0))
    names = [f"$z_1^{row['what'][3]} z_2^{row['what'][8]}$" for row in pairs]
    middle.set_xticks(place, names, rotation=60, size=7)
    middle.set(ylabel=r"gradient in $\mu_1$, $\delta$ = 1")
    names = {"bias": "median of |bias| / |gradient|", "falls": "bias lower than without noise",
             "rises": "bias higher than without noise"}  # fmt: skip
    for k, (key, name) in enumerate(names.items()):
        delta, value = (column(rows, c, what="networks") for c in ("delta", key))
        right.plot(delta, 100 * value, label=name, **style(k))
    right.set(xlabel=r"noise interval $\delta$", ylim=(0, 100))
    right.set_ylabel(f"% (of {reweighing.NETWORKS} networks of 3 units)")
    legend(right, loc="upper left")
    legend(left)
    legend(middle)
    return found


if __name__ == "__main__":
    main(__file__, measure, picture)
