"""The pictures of the experiment."""

import numpy as np

from fsb.storage.curves import draw_lines

LOGARITHMIC = ("norm", "to_score", "to_pathwise")


def draw(path, rows, setting, estimators):
    """Figure 3 and the right half of Figure 4, of one setting."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7), dpi=80, layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    labels = {
        "elbo": "ELBO / N [nats]",
        "accuracy": "accuracy on the whole set",
        "log_variance": "log variance of the gradient",
        "norm": "norm of the gradient",
        "to_score": "square distance to score function",
        "to_pathwise": "square distance to pathwise",
    }
    for place, (field, label) in zip(axes, labels.items(), strict=True):
        lines = {}
        for name in estimators:
            mine = [r for r in rows if r["estimator"] == name]
            steps = sorted({r["step"] for r in mine})
            table = np.array([[r[field] for r in mine if r["step"] == s] for s in steps])
            keep = np.isfinite(table).all(1)
            if field.endswith(name.split()[0]):
                keep[:] = False  # an estimator's distance to itself; its style stays its own
            mean, spread = table[keep].mean(1), table[keep].std(1, ddof=1)
            if field in LOGARITHMIC:
                spread = np.minimum(spread, 0.9 * mean)
            lines[name] = np.array(steps)[keep], mean, spread
        draw_lines(place, lines)
        place.set(xlabel="step", ylabel=label)
        if field in LOGARITHMIC:
            place.set_yscale("log")
        if field == "elbo":
            place.set_ylim(*setting.elbos)
        elif field == "accuracy":
            place.set_ylim(*setting.accuracies)
            place.legend(frameon=False, fontsize=8, handlelength=3, ncols=2, loc="lower right")
        if field != "accuracy":
            place.get_legend().remove()
    figure.suptitle(
        f"{setting.features}, b = {setting.start:g} at the start; band: one deviation over 5 seeds"
    )
    for suffix in ("png", "pdf"):
        figure.savefig(path.with_suffix(f".{suffix}"))


def draw_truncation(path, tables, settings, orders):
    """The left half of Figure 4."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), dpi=80, layout="constrained")
    axes = figure.subplots(1, 2)
    for (name, rows), style in zip(tables.items(), ("o-", "s--", "^:", "d-."), strict=True):
        of = {r["estimator"]: {f: np.mean(r[f]) for f in r if f != "estimator"} for r in rows}
        terms = [of[f"series N={n}"] for n in orders]
        label = f"{settings[name].features}, b = {settings[name].start:g}"
        biases = [max(r["relative_bias"], r["noise_of_bias"]) for r in terms]
        axes[0].plot(orders, biases, style, color="0.1", label=label)
        axes[1].plot(orders, [r["variance"] for r in terms], style, color="0.1", label=label)
        axes[1].axhline(of["exact"]["variance"], color="0.5", ls=style[1:], lw=1)
    axes[0].set(xlabel="terms N", ylabel="bias in b / gradient, or its noise", yscale="log")
    axes[1].set(xlabel="terms N", ylabel="variance of the gradient in b", yscale="log")
    axes[0].legend(frameon=False, fontsize=8)
    for place in axes:
        place.spines[["top", "right"]].set_visible(False)
    for suffix in ("png", "pdf"):
        figure.savefig(path.with_suffix(f".{suffix}"))
