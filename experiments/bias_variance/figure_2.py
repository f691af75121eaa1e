"""Figure 2: densities and magnitudes of the Gumbel-Softmax factor v (1 - v) / tau.

Why a small temperature does not help: the factor is 0 for nearly all noise and of size 1 / (4 tau)
in a window of width tau, and its rare large values carry the whole mean.
"""

import numpy as np
from common import check, claim, draws, figure, legend, logistic, main, sigmoid, style

import fsb

ETA = 0.6
TEMPERATURES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02)
SHOWN = (1.0, 0.2, 0.05)


def survival(level, tau):
    """P(factor >= level), exactly."""
    room = 1 - 4 * level * tau
    ratio = (1 + np.sqrt(np.maximum(room, 0))) ** 2 / (4 * level * tau)
    w = np.where(room > 0, tau * np.log(ratio), 0)
    return sigmoid(w - ETA) - sigmoid(-w - ETA)


def factors(tau, count, seed=0):
    return draws(fsb.gumbel_softmax(tau), lambda z: z[:, 0], ETA, count, seed=seed)[:, 0]


def measure(count=2**20):
    rows = []
    for i, tau in enumerate(TEMPERATURES):
        factor = np.sort(factors(tau, count, i).astype(np.float64))
        levels = np.quantile(factor, np.linspace(0.02, 0.98, 97))
        levels = levels[levels > 1e-3]  # below, single precision makes them 0
        measured = 1 - np.searchsorted(factor, levels) / count
        top = factor[-count // 20 :].sum() / factor.sum()
        rows.append({
            "temperature": tau, "largest": factor[-1], "bound": 0.25 / tau,
            "median": np.median(factor), "below_0.01": (factor < 0.01).mean(),
            "predicted_below_0.01": 1 - survival(0.01, tau), "top_twentieth": top,
            "distance": abs(measured - survival(levels, tau)).max() if len(levels) else 0.0,
        })  # fmt: skip
    distance = max(row["distance"] for row in rows) * np.sqrt(count)
    first, last = rows[0], rows[-1]
    record = claim(
        "At a small temperature the gradient is nearly always 0 and very seldom very large.",
        f"factor below 0.01 in {100 * first['below_0.01']:.1f} % of the draws at tau = 1, "
        f"{100 * last['below_0.01']:.1f} % at tau = {last['temperature']}, where the largest "
        "twentieth "
        f"of the draws carries {100 * last['top_twentieth']:.0f} % of the mean; largest factor "
        f"{last['largest']:.2f}",
        f"{100 * first['predicted_below_0.01']:.1f} %, {100 * last['predicted_below_0.01']:.1f} %; "
        f"1 / (4 tau) = {last['bound']:.2f}",
        [
            check("Kolmogorov distance times sqrt(N), worst", distance, "<", 1.95),
            check("share below 0.01 at the least temperature", last["below_0.01"], ">", 0.9),
            check("largest factor over 1 / (4 tau)", last["largest"] / last["bound"], "=", 1, 0.01),
            check("share of the mean in the largest twentieth", last["top_twentieth"], ">", 0.8),
        ],
        note=f"eta = {ETA}, {count:,} draws a temperature; 1.95 is the 0.1 % point.",
    )
    return rows, {"B fig 2": record}


def picture(rows):
    found, (left, middle, right) = figure(3, 3.5)
    zeta = np.linspace(-3, 4, 500)
    for k, tau in enumerate(SHOWN):
        dash = {**style(k), "marker": ""}
        v = sigmoid(zeta / tau)
        left.plot(zeta, v * (1 - v) / tau, label=rf"$\tau$ = {tau}", **dash)
        factor = factors(tau, 2**18).astype(np.float64)
        edges = np.geomspace(1e-3, 20, 60)
        share, _ = np.histogram(factor, edges)
        middle.stairs(share / len(factor) / np.diff(np.log10(edges)), edges,
                      color=style(k)["color"],
                      ls=style(k)["linestyle"], label=rf"$\tau$ = {tau}, drawn")  # fmt: skip
        centre = np.sqrt(edges[1:] * edges[:-1])
        exact = -np.diff(survival(edges, tau)) / np.diff(np.log10(edges))
        middle.plot(centre[::4], exact[::4], ls="none", marker=style(k)["marker"], ms=3,
                    color=style(k)["color"])  # fmt: skip
    middle.plot([], [], "ko", ms=3, label="exact")
    left.fill_between(
        zeta, logistic(zeta - ETA) * 5, color="0.85", label=r"$5\times$ density of η + Z"
    )
    left.set(xlabel="η + Z", ylabel=r"factor $v(1-v)/\tau$")
    middle.set(xscale="log", yscale="log", xlabel="factor", ylabel="density per decade")
    tau, zero, top = (np.array([row[k] for row in rows])
                      for k in ("temperature", "below_0.01", "top_twentieth"))  # fmt: skip
    right.plot(tau, zero, label="draws with a factor below 0.01", **style(0))
    right.plot(tau, top, label="the mean's share in the largest 5 %", **style(1))
    right.set(xscale="log", xlabel=r"temperature $\tau$", ylabel="share", ylim=(0, 1.02))
    for one in (left, middle, right):
        legend(one)
    return found


if __name__ == "__main__":
    main(__file__, measure, picture)
