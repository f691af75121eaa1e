"""Bayesian logistic regression with Laplace priors and posteriors on the breast-cancer set.

python experiments/bayesian_regression/run.py: five seeds side by side; features standardised on
the whole set, a constant column, ELBO = N mean log-likelihood - KL, batches of 64, 50 samples.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_breast_cancer

import fsb
from fsb.estimators._attach import attach_all
from fsb.estimators._tracing.taylor import derivatives
from fsb.sites import ancestral, frozen
from fsb.storage.curves import draw_lines
from fsb.storage.metrics_file import write_csv
from fsb.storage.provenance import provenance
from fsb.storage.run_folder import new_folder

SEEDS, BATCH, SAMPLES, RECORDS, VARIANCE_DRAWS = 5, 64, 50, 20, 16
STARTS = (0.05, 1.0)  # scale of the posterior at the beginning
FIELDS = ("elbo", "accuracy", "log_variance", "norm", "to_score", "to_pathwise")
LOGARITHMIC = ("norm", "to_score", "to_pathwise")
COLUMNS = ("start", "estimator", "seed", "step", *FIELDS)
ORDERS = (1, 2, 3, 4, 6, 8)


def data():
    """Features [569, 31] and labels in {-1, 1}."""
    x, y = load_breast_cancer(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    return jnp.float32(x), jnp.float32(2 * y - 1)


X, Y = data()


def kl(raw):
    """Of Laplace(loc, scale) from Laplace(0, 1), over all weights (eq. 27)."""
    loc, scale = raw[0], jnp.exp(raw[1])
    return (jnp.abs(loc) + scale * jnp.exp(-jnp.abs(loc) / scale) - raw[1] - 1).sum()


def series(order, x, y):
    """``fsb.fourier_series`` for this loss: the n-th derivative in w_j is (y x_j)^n times that of
    log sigmoid in the logit, so that one Taylor series a datum serves all 31 weights."""

    def surrogate(run, control, state, key):
        losses, sites = run(frozen(ancestral(key)))
        w, scale = sites[0].z, sites[0].eta[1]
        logits = (w @ x.T) * y[None]
        h = derivatives(jax.nn.log_sigmoid, logits, jnp.ones_like(logits), 2 * order)
        h = -len(X) / len(x) * h
        terms = [scale ** (2 * n) * (h[2 * n - 1] @ x ** (2 * n)) for n in range(1, order + 1)]
        g = (h[0] * y[None]) @ x, 2 / scale * sum(terms)
        return attach_all(losses, sites, [g]), fsb.Aux(0.0, state, {})

    return fsb.Estimator(lambda key, sites: ((), ()), surrogate)


ESTIMATORS = {  # of a batch
    "series N=1": lambda x, y: series(1, x, y),
    "series N=4": lambda x, y: series(4, x, y),
    "series N=8": lambda x, y: series(8, x, y),
    "exact": lambda x, y: fsb.fourier_exact(),
    "exact, first derivatives": lambda x, y: fsb.fourier_exact(smooth=False),
    "pathwise": lambda x, y: fsb.pathwise(),
    "score function": lambda x, y: fsb.reinforce(),
}


def gradient(make, raw, x, y, key):
    """Of minus the ELBO, [2, 31]."""

    def loss(raw, sample):
        shape = (SAMPLES, raw.shape[1])
        eta = jnp.broadcast_to(raw[:1], shape), jnp.exp(jnp.broadcast_to(raw[1:], shape))
        logits = (sample("w", fsb.Laplace(), eta) @ x.T) * y[None]
        return -len(X) * jax.nn.log_sigmoid(logits).mean(-1)

    return fsb.value_and_grad(make(x, y), loss)(raw, key)[1] + jax.grad(kl)(raw)


def a_batch(key):
    rows = jax.random.choice(key, len(X), (BATCH,), replace=False)
    return X[rows], Y[rows]


def note(make, raw, key):
    """The FIELDS; the variance is that of the weights' draws, the batch held."""
    keys = jax.random.split(key, 4)
    w = fsb.Laplace().sample(
        keys[0], tuple(jnp.broadcast_to(v, (200, len(raw[0]))) for v in (raw[:1], jnp.exp(raw[1:])))
    )
    fit = jax.nn.log_sigmoid((w @ X.T) * Y[None]).mean()
    accuracy = (jnp.sign(X @ raw[0]) == Y).mean()
    x, y = a_batch(keys[1])
    draws = jax.lax.map(
        lambda k: gradient(make, raw, x, y, k), jax.random.split(keys[2], VARIANCE_DRAWS)
    )
    others = [
        jax.lax.map(
            lambda k, other=other: gradient(ESTIMATORS[other], raw, x, y, k),
            jax.random.split(keys[3], VARIANCE_DRAWS),
        )
        for other in ("score function", "pathwise")
    ]
    far = [((draws - other) ** 2).mean() for other in others]
    norm = jnp.sqrt((draws**2).sum((1, 2))).mean()
    return jnp.stack(
        [fit - kl(raw) / len(X), accuracy, jnp.log(draws.var(0, ddof=1).mean()), norm, *far]
    )


def train(make, start, steps, rate=1e-3):
    """Fields [seeds, RECORDS + 1, fields], and the params at the records."""
    optimizer = optax.adam(rate)

    def one(key):
        raw = jnp.stack([jnp.zeros(X.shape[1]), jnp.full(X.shape[1], jnp.log(start))])

        def step(carry, key):
            raw, state = carry
            of_batch, of_draw = jax.random.split(key)
            g = gradient(make, raw, *a_batch(of_batch), of_draw)
            updates, state = optimizer.update(g, state)
            return (optax.apply_updates(raw, updates), state), None

        def stretch(carry, key):
            keys = jax.random.split(key, steps // RECORDS + 1)
            noted = note(make, carry[0], keys[0]), carry[0]
            return jax.lax.scan(step, carry, keys[1:])[0], noted

        keys = jax.random.split(key, RECORDS + 1)
        return jax.lax.scan(stretch, (raw, optimizer.init(raw)), keys)[1]

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), SEEDS))


def truncation(raw, draws=2000):
    """Figure 4, left: at fixed params and one batch, what each estimator's scale gradient is.

    Relative bias |E g - reference| / |reference| with its noise taken off, and the mean variance.
    """
    x, y = a_batch(jax.random.key(5))

    def moments(make, key):
        def one(_, k):
            return None, gradient(make, raw, x, y, k)[1]

        g = jax.lax.scan(one, None, jax.random.split(key, draws))[1]
        return g.mean(0), g.var(0, ddof=1)

    run = jax.jit(moments, static_argnums=0)
    reference, spread = run(ESTIMATORS["exact"], jax.random.key(6))
    rows = []
    named = {f"series N={n}": lambda x, y, n=n: series(n, x, y) for n in ORDERS}
    for name, make in (named | {k: v for k, v in ESTIMATORS.items() if "series" not in k}).items():
        mean, variance = run(make, jax.random.key(7))
        noise = ((variance + spread) / draws).sum()
        square = ((mean - reference) ** 2).sum() - noise
        size = (reference**2).sum()
        rows.append(
            {
                "estimator": name,
                "relative_bias": float(jnp.sqrt(jnp.maximum(square, 0) / size)),
                "noise_of_bias": float(jnp.sqrt(noise / size)),
                "variance": float(variance.mean()),
            }
        )
    return rows


def check_rule():
    """The rule above is ``fsb.fourier_series``, draw for draw."""
    x, y = X[:8], Y[:8]
    raw = jnp.stack([jnp.linspace(-1, 1, X.shape[1]), jnp.full(X.shape[1], -2.0)])
    for order in (1, 2):
        general = lambda x, y, n=order: fsb.fourier_series(n, check=False)
        own = lambda x, y, n=order: series(n, x, y)
        a, b = (gradient(make, raw, x, y, jax.random.key(0)) for make in (general, own))
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-2 * float(jnp.abs(b).max()) / 10)


def draw(path, rows, start):
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
        for name in ESTIMATORS:
            mine = [r for r in rows if (r["start"], r["estimator"]) == (start, name)]
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
            place.set_ylim(*((-0.6, -0.17) if start < 0.5 else (-1.8, -0.25)))
        elif field == "accuracy":
            place.set_ylim(0.88, 1.0)
            place.legend(frameon=False, fontsize=8, handlelength=3, ncols=2, loc="lower right")
        if field != "accuracy":
            place.get_legend().remove()
    figure.suptitle(f"posterior scale {start} at the start; band: one deviation over 5 seeds")
    for suffix in ("png", "pdf"):
        figure.savefig(path.with_suffix(f".{suffix}"))


def draw_truncation(path, tables):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), dpi=80, layout="constrained")
    axes = figure.subplots(1, 2)
    for (start, rows), style in zip(tables.items(), ("o-", "s--"), strict=True):
        terms = [r for r in rows if r["estimator"].startswith("series")]
        for place, field in zip(axes, ("relative_bias", "variance"), strict=True):
            values = [max(r[field], r["noise_of_bias"]) if field[0] == "r" else r[field]
                      for r in terms]  # fmt: skip
            place.plot(ORDERS, values, style, color="0.1", label=f"start b = {start}")
            (exact,) = [r[field] for r in rows if r["estimator"] == "exact"]
            if field == "variance":
                place.axhline(exact, color="0.5", ls=style[1:], lw=1, label=f"exact, {start}")
    axes[0].set(xlabel="terms N", ylabel="bias in b / gradient, or its noise", yscale="log")
    axes[1].set(xlabel="terms N", ylabel="variance of the gradient in b", yscale="log")
    for place in axes:
        place.legend(frameon=False, fontsize=8)
        place.spines[["top", "right"]].set_visible(False)
    for suffix in ("png", "pdf"):
        figure.savefig(path.with_suffix(f".{suffix}"))


def summary(rows, steps):
    found = []
    for start in STARTS:
        for name in ESTIMATORS:
            mine = [r for r in rows if (r["start"], r["estimator"]) == (start, name)]
            curves = {
                f: np.array([[r[f] for r in mine if r["seed"] == seed] for seed in range(SEEDS)])
                for f in FIELDS
            }
            found.append(
                {"start": start, "estimator": name}
                | {f"last_{f}": float(curves[f][:, -1].mean()) for f in FIELDS}
                | {"last_elbo_sd": float(curves["elbo"][:, -1].std(ddof=1))}
                | {"mean_elbo": float(curves["elbo"].mean())}
                | {"mean_log_variance": float(curves["log_variance"].mean())}
            )
    return {"steps": steps, "seeds": SEEDS, "results": found}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="runs/bayesian_regression", help="folder of the results")
    parser.add_argument("--steps", type=int, default=1000)
    args = parser.parse_args()
    folder, rows, tables, begun = new_folder(Path(args.out)), [], {}, time.monotonic()
    check_rule()
    for start in STARTS:
        for name, make in ESTIMATORS.items():
            fields, params = train(make, start, args.steps)
            for seed, i in np.ndindex(SEEDS, RECORDS + 1):
                values = (
                    start,
                    name,
                    seed,
                    i * args.steps // RECORDS,
                    *map(float, fields[seed, i]),
                )
                rows.append(dict(zip(COLUMNS, values, strict=True)))
            if name == "exact":
                epoch_100 = min(RECORDS, round(100 * len(X) / BATCH / args.steps * RECORDS))
                tables[start] = truncation(params[0, epoch_100])
            took = time.monotonic() - begun
            print(f"b = {start}, {name}: {fields[:, -1, 0].mean():.4f}, {took:.0f} s", flush=True)
        draw(folder / f"curves_from_{100 * start:.0f}_percent", rows, start)
    draw_truncation(folder / "truncation", tables)
    write_csv(folder / "curves.csv", rows, digits=5)
    record = summary(rows, args.steps) | {"truncation": tables} | provenance()
    record["seconds"] = round(time.monotonic() - begun)
    (folder / "summary.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
