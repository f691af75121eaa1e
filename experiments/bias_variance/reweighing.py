"""Importance reweighing (A, section 4.2): DARN removes the even part of the bias.

    bias(ST) = odd + mu even,   bias(DARN) = odd

exactly; that the *total* is smaller does not follow, for the two parts may cancel.
"""

import jax.numpy as jnp
import numpy as np
from common import SIGNS, check, claim, column, draws, figure, legend, main, points, sigmoid

import fsb
from fsb import fourier

NETWORKS, UNITS, HIDDEN = 256, 3, 6
rng = np.random.default_rng(11)
INNER = rng.normal(size=(NETWORKS, UNITS, HIDDEN)) * 0.8
SHIFT = rng.normal(size=(NETWORKS, HIDDEN))
OUTER = rng.normal(size=(NETWORKS, HIDDEN))
ETA = rng.normal(size=(NETWORKS, UNITS)) * 1.5


def losses(z):
    """Of all networks, [N, networks * units] -> [N]: their sum."""
    z = z.reshape(-1, NETWORKS, UNITS)
    hidden = jnp.tanh(jnp.einsum("bnu,nuh->bnh", z, jnp.float32(INNER)) + jnp.float32(SHIFT)[None])
    return (hidden * jnp.float32(OUTER)).sum((1, 2))


def network(i):
    return lambda z: (
        jnp.tanh(z @ jnp.float32(INNER[i]) + jnp.float32(SHIFT[i])) @ jnp.float32(OUTER[i])
    )


def true_gradients():
    """By enumeration, [networks, units]."""
    states = fourier.states(UNITS, SIGNS)
    hidden = np.tanh(np.einsum("su,nuh->nsh", states, INNER) + SHIFT[:, None])
    values = np.einsum("nsh,nh->ns", hidden, OUTER)
    return np.stack([
        fourier.logit_gradient(fourier.transform(row, p), p)
        for row, p in zip(values, sigmoid(ETA), strict=True)
    ])  # fmt: skip


def differences(estimator, count):
    """Mean estimate less the gradient of every network, and its standard error, [networks, 3]."""
    found = draws(estimator, losses, ETA.reshape(-1), count, SIGNS, size=2**10)
    found = found.astype(np.float64).reshape(count, NETWORKS, UNITS)
    return found.mean(0) - true_gradients(), found.std(0) / np.sqrt(count)


def biases(estimator, count):
    """Norms of the same, [networks]."""
    return [np.linalg.norm(x, axis=1) for x in differences(estimator, count)]


def measure(count=2**14, exact=6):
    bias, error = {}, {}
    for name, estimator in (("st", fsb.st()), ("darn", fsb.darn())):
        bias[name], error[name] = differences(estimator, count)
    size = {name: np.linalg.norm(b, axis=1) for name, b in bias.items()}
    noise = np.hypot(*(np.linalg.norm(e, axis=1) for e in error.values()))
    worse = size["darn"] > size["st"] + 4 * noise
    better = size["darn"] < size["st"] - 4 * noise
    rows = [
        {"network": i, "st": size["st"][i], "darn": size["darn"][i], "error": noise[i]}
        for i in range(NETWORKS)
    ]
    apart = 0.0
    for i in range(exact):
        parts = fourier.predicted_bias(network(i), jnp.float32(ETA[i]), SIGNS, delta=0.0)
        for name, predicted in (("darn", parts.odd), ("st", bias_of_st(i))):
            z = abs(bias[name][i] - np.asarray(predicted)) / (error[name][i] + 1e-5)
            apart = max(apart, z.max())
    ratio = np.median(size["darn"] / size["st"])
    parts_ok = check("distance from the predicted parts, standard errors", apart, "<", 4)
    record = claim(
        "Importance reweighing lowers the bias: it removes the part that p != 1/2 brings.",
        f"DARN's bias is the odd part alone (at most {apart:.1f} standard errors for {exact} "
        "networks); "
        f"of {NETWORKS} random networks the bias falls in {better.sum()} and rises in "
        f"{worse.sum()} "
        f"(by more than 4 standard errors); median ratio {ratio:.2f}",
        "never rises",
        [parts_ok, check("networks whose bias rises", worse.sum(), "=", 0)],
        [parts_ok, check("median of the bias of DARN over that of ST", ratio, "<", 1)],
        note=f"{count:,} draws; tanh networks of 3 units. The odd and the even part may cancel in "
        "ST.",
    )
    return rows, {"A sec 4.2": record}


def bias_of_st(i):
    args = {"delta": 0.0, "importance_reweighing": False}
    return fourier.predicted_bias(network(i), jnp.float32(ETA[i]), SIGNS, **args).total


def picture(rows):
    found, (axes,) = figure(1, 4.4, 4.0)
    st, darn, error = (column(rows, key) for key in ("st", "darn", "error"))
    for k, (chosen, name) in enumerate(((darn <= st, "bias falls"), (darn > st, "bias rises"))):
        axes.errorbar(st[chosen], darn[chosen], error[chosen], label=f"{name}: {chosen.sum()}",
                      alpha=0.7, **{**points(k), "markersize": 3})  # fmt: skip
    span = [st.min() / 2, st.max() * 1.3]
    axes.plot(span, span, color="0.4", lw=1, ls=":", label="equal")
    axes.set(xscale="log", yscale="log", xlabel="|bias| of straight-through")
    axes.set_ylabel("|bias| with importance reweighing (DARN)")
    legend(axes)
    return found


if __name__ == "__main__":
    main(__file__, measure, picture)
