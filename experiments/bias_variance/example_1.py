"""Example 1: importance reweighing can raise the bias of straight-through.

f(y) = |y + a| for a unit in {-1, 1}, 0 < a < 1, in the mean parameter: the gradient is a, the mean
of ST 2p - 1, that of DARN 0. So |bias| is |2p - 1 - a| and a.
"""

import jax.numpy as jnp
import numpy as np
from common import SIGNS, check, claim, column, draws, figure, legend, main, points, sigmoid, style

import fsb

A = (0.3, 0.6, 0.9)
P = np.round(np.linspace(0.05, 0.95, 19), 2)


def measure(count=2**18):
    rows, logits = [], np.log(P / (1 - P))
    jacobian = 2 * sigmoid(logits) * sigmoid(-logits)
    for name, estimator in (("st", fsb.st()), ("darn", fsb.darn())):
        for a in A:
            f = lambda z, a=a: jnp.abs(z + a).sum(-1)
            found = draws(estimator, f, logits, count, SIGNS, size=2**16).astype(np.float64)
            mean = found.mean(0) / jacobian
            error = found.std(0) / np.sqrt(count) / jacobian
            rows += [
                {"estimator": name, "a": a, "p": p, "mean": m, "error": e, "bias": m - a}
                for p, m, e in zip(P, mean, error, strict=True)
            ]
    cell = lambda name, key: column(rows, key, estimator=name, a=0.9, p=0.95)[0]
    wrong, total, worst = 0, 0, 0.0
    for a in A:
        st, darn, error = (
            column(rows, key, estimator=name, a=a)
            for name, key in (("st", "bias"), ("darn", "bias"), ("st", "error"))
        )
        theory = np.abs(2 * P - 1 - a)
        worst = max(worst, (np.abs(st - (2 * P - 1 - a)) / np.maximum(error, 1e-3)).max())
        sure = np.abs(theory - a) > 0.02  # off the edges of the region
        inside = (2 * P - 1 > 0) & (2 * a > 2 * P - 1)
        wrong += (((abs(darn) > abs(st)) != inside) & sure).sum()
        total += sure.sum()
    record = claim(
        "Importance reweighing can raise the bias: DARN's is larger than ST's for |y + a|.",
        f"at a = 0.9, p = 0.95: bias of ST {cell('st', 'bias'):.3f} +- {cell('st', 'error'):.3f}, "
        f"of DARN {cell('darn', 'bias'):.3f} +- {cell('darn', 'error'):.3f}",
        "0, -0.9 (in the mean parameter)",
        [
            check("bias of ST at a = 0.9, p = 0.95", cell("st", "bias"), "=", 0, 0.01),
            check("bias of DARN at a = 0.9, p = 0.95", cell("darn", "bias"), "=", -0.9, 0.02),
            check("mean of ST, distance from 2p - 1 in standard errors", worst, "<", 4),
            check("points (a, p) where the order is not that of 0 < 2p - 1 < 2a", wrong, "=", 0),
        ],
        note=f"The example holds; the formulas are lost in our copy of the paper and rebuilt. DARN "
        f"is the worse one just where 0 < 2p - 1 < 2a ({total} points), not for every p > 1/2.",
    )
    return rows, {"B example 1": record}


def picture(rows):
    found, (axes,) = figure(1, 6.0, 3.8)
    for k, a in enumerate(A):
        st, error = (column(rows, key, estimator="st", a=a) for key in ("bias", "error"))
        dash = {**style(k), "marker": ""}
        axes.plot(P, abs(2 * P - 1 - a), label=f"ST, a = {a}, predicted", **dash)
        axes.errorbar(P, abs(st), 4 * error, label=f"ST, a = {a}, measured", **points(k))
        darn = column(rows, "bias", estimator="darn", a=a)
        axes.plot(P, abs(darn), lw=3, alpha=0.35, color=style(k)["color"], label=f"DARN, a = {a}")
    axes.set(xlabel="p, probability of +1", ylabel=r"|bias| of the gradient in $\mu$")
    legend(axes, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.25))
    return found


if __name__ == "__main__":
    main(__file__, measure, picture)
