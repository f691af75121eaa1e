"""Bayesian logistic regression with Laplace priors and posteriors on the breast-cancer set.

python experiments/bayesian_regression/run.py: five seeds side by side, ELBO = N mean log-likelihood
- KL, batches of 64, 50 samples. The paper does not tell how features are scaled: SETTINGS has both
usual ways, each from the prior's scale and from a small one.
"""

import argparse
import itertools
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from figure import draw, draw_truncation
from sklearn.datasets import load_breast_cancer

import fsb
from fsb.estimators._attach import attach_all
from fsb.estimators._tracing.taylor import derivatives
from fsb.sites import ancestral, frozen
from fsb.storage.atomic import write_json_atomic
from fsb.storage.metrics_file import write_csv
from fsb.storage.provenance import provenance
from fsb.storage.run_folder import new_folder

SEEDS, BATCH, SAMPLES, RECORDS, VARIANCE_DRAWS = 5, 64, 50, 20, 16
FIELDS = ("elbo", "accuracy", "log_variance", "norm", "to_score", "to_pathwise")
COLUMNS = ("setting", "estimator", "seed", "step", *FIELDS)
ORDERS = (1, 2, 3, 4, 6, 8)
DATUMS = 569  # in the set


class Setting(NamedTuple):
    """How the features are scaled, the posterior's scale b at the start, and what a plot shows."""

    features: str
    start: float
    elbos: tuple[float, float]
    accuracies: tuple[float, float]


SETTINGS = {
    "unit_rows": Setting("unit rows", 1.0, (-0.95, -0.4), (0.6, 0.95)),
    "unit_rows_small": Setting("unit rows", 0.05, (-0.95, -0.4), (0.6, 0.95)),
    "standardised": Setting("standardised", 1.0, (-1.8, -0.1), (0.88, 1.0)),
    "standardised_small": Setting("standardised", 0.05, (-0.6, -0.1), (0.88, 1.0)),
}


def data(features):
    """Features and labels in {-1, 1}: rows of unit L2 norm [569, 30], or each feature standardised
    on the whole set, and a constant column [569, 31]."""
    x, y = load_breast_cancer(return_X_y=True)
    if features == "unit rows":
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    else:
        x = (x - x.mean(0)) / x.std(0)
        x = np.concatenate([x, np.ones((len(x), 1))], 1)
    return jnp.float32(x), jnp.float32(2 * y - 1)


def kl(raw):
    """Of Laplace(loc, scale) from Laplace(0, 1), over all weights (eq. 27)."""
    loc, scale = raw[0], jnp.exp(raw[1])
    return (jnp.abs(loc) + scale * jnp.exp(-jnp.abs(loc) / scale) - raw[1] - 1).sum()


def even_derivatives(logits, order):
    """d^2n log sigmoid / dx^2n for n = 1 .. order, as polynomials in p = s (1 - s).

    The second is -p, and (p^k)'' = k^2 p^k - 2k (2k + 1) p^(k + 1).
    """
    s = jax.nn.sigmoid(logits)
    k, row, rows = np.arange(order + 1), np.eye(order + 1)[1], []
    for _ in range(order):
        rows.append(-row)
        row = k**2 * row - np.roll(2 * k * (2 * k + 1) * row, 1)
    return [jnp.polyval(jnp.float32(row[::-1]), s * (1 - s)) for row in rows]


def series(order, x, y):
    """``fsb.fourier_series`` for this loss: the n-th derivative in w_j is (y x_j)^n times that of
    log sigmoid in the logit, so that one Taylor series a datum serves all weights."""

    def surrogate(run, control, state, key):
        losses, sites = run(frozen(ancestral(key)))
        w, scale = sites[0].z, sites[0].eta[1]
        logits = (w @ x.T) * y[None]
        weight = -DATUMS / len(x)
        even = even_derivatives(logits, order)
        terms = [scale ** (2 * n) * (h @ x ** (2 * n)) for n, h in enumerate(even, 1)]
        g = jax.nn.sigmoid(-logits) * y[None] @ x, 2 / scale * sum(terms)
        return attach_all(losses, sites, [tuple(weight * part for part in g)]), fsb.Aux(
            0.0, state, {}
        )

    return fsb.Estimator(lambda key, sites: ((), ()), surrogate)


ESTIMATORS = {  # of a batch
    "series N=1": lambda x, y: series(1, x, y),
    "series N=4": lambda x, y: series(4, x, y),
    "series N=8": lambda x, y: series(8, x, y),
    "pathwise": lambda x, y: fsb.pathwise(),
    "score function": lambda x, y: fsb.reinforce(),
}
EXACT = {  # slow: at fixed params only
    "exact": lambda x, y: fsb.fourier_exact(),
    "exact, first derivatives": lambda x, y: fsb.fourier_exact(smooth=False),
}


def gradient(make, raw, x, y, key):
    """Of minus the ELBO, [2, D]."""

    def loss(raw, sample):
        shape = (SAMPLES, raw.shape[1])
        eta = jnp.broadcast_to(raw[:1], shape), jnp.exp(jnp.broadcast_to(raw[1:], shape))
        logits = (sample("w", fsb.Laplace(), eta) @ x.T) * y[None]
        return -DATUMS * jax.nn.log_sigmoid(logits).mean(-1)

    return fsb.value_and_grad(make(x, y), loss)(raw, key)[1] + jax.grad(kl)(raw)


def a_batch(points, key):
    rows = jax.random.choice(key, DATUMS, (BATCH,), replace=False)
    return points[0][rows], points[1][rows]


def note(make, points, raw, key):
    """The FIELDS; the variance is that of the weights' draws, the batch held."""
    (x, y), keys = points, jax.random.split(key, 4)
    w = fsb.Laplace().sample(
        keys[0], tuple(jnp.broadcast_to(v, (200, len(raw[0]))) for v in (raw[:1], jnp.exp(raw[1:])))
    )
    fit = jax.nn.log_sigmoid((w @ x.T) * y[None]).mean()
    accuracy = (jnp.sign(x @ raw[0]) == y).mean()
    x, y = a_batch(points, keys[1])
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
        [fit - kl(raw) / DATUMS, accuracy, jnp.log(draws.var(0, ddof=1).mean()), norm, *far]
    )


def train(make, points, start, steps, rate=1e-3):
    """Fields [seeds, RECORDS + 1, fields], and the params at the records."""
    optimizer = optax.adam(rate)

    def one(key):
        weights = points[0].shape[1]
        raw = jnp.stack([jnp.zeros(weights), jnp.full(weights, jnp.log(start))])

        def step(carry, key):
            raw, state = carry
            of_batch, of_draw = jax.random.split(key)
            g = gradient(make, raw, *a_batch(points, of_batch), of_draw)
            updates, state = optimizer.update(g, state)
            return (optax.apply_updates(raw, updates), state), None

        def stretch(carry, key):
            keys = jax.random.split(key, steps // RECORDS + 1)
            noted = note(make, points, carry[0], keys[0]), carry[0]
            return jax.lax.scan(step, carry, keys[1:])[0], noted

        keys = jax.random.split(key, RECORDS + 1)
        return jax.lax.scan(stretch, (raw, optimizer.init(raw)), keys)[1]

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), SEEDS))


def truncation(points, raw, draws=1000):
    """Figure 4, left: what each estimator's gradient in the scales is at fixed params.

    Relative bias |E g - reference| / |reference| with its noise taken off, and the mean variance;
    each [seeds], of raw [seeds, 2, D] and one batch.
    """
    x, y = a_batch(points, jax.random.key(5))

    def moments(make, key):
        def of_seed(raw):
            one = lambda _, k: (None, gradient(make, raw, x, y, k)[1])
            g = jax.lax.scan(one, None, jax.random.split(key, draws))[1]
            return g.mean(0), g.var(0, ddof=1)

        return jax.vmap(of_seed)(raw)

    run = jax.jit(moments, static_argnums=0)
    reference, spread = run(EXACT["exact"], jax.random.key(6))
    size, rows = (reference**2).sum(-1), []
    named = {f"series N={n}": lambda x, y, n=n: series(n, x, y) for n in ORDERS}
    for name, make in (named | EXACT | ESTIMATORS).items():
        mean, variance = run(make, jax.random.key(7))
        noise = ((variance + spread) / draws).sum(-1)
        square = ((mean - reference) ** 2).sum(-1) - noise
        rows.append(
            {
                "estimator": name,
                "relative_bias": jnp.sqrt(jnp.maximum(square, 0) / size).tolist(),
                "noise_of_bias": jnp.sqrt(noise / size).tolist(),
                "variance": variance.mean(-1).tolist(),
            }
        )
    return rows


def check_rule():
    """The rule above is ``fsb.fourier_series``, draw for draw."""
    x, y = (rows[:8] for rows in data("standardised"))
    raw = jnp.stack([jnp.linspace(-1, 1, x.shape[1]), jnp.full(x.shape[1], -2.0)])
    for order in (1, 2):
        general = lambda x, y, n=order: fsb.fourier_series(n, check=False)
        own = lambda x, y, n=order: series(n, x, y)
        a, b = (gradient(make, raw, x, y, jax.random.key(0)) for make in (general, own))
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-2 * float(jnp.abs(b).max()) / 10)
    logits = jnp.linspace(-6, 6, 25)
    beside = derivatives(jax.nn.log_sigmoid, logits, jnp.ones_like(logits), 16)[1::2]
    for a, b in zip(even_derivatives(logits, 8), beside, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-3 * float(jnp.abs(b).max()))


def summary(rows):
    """Of every setting and estimator: mean and deviation over the seeds, of the last values and of
    the means over the training."""
    found = []
    for setting, name in itertools.product(SETTINGS, ESTIMATORS):
        mine = [r for r in rows if (r["setting"], r["estimator"]) == (setting, name)]
        line = {"setting": setting, "estimator": name}
        for field in FIELDS:
            curves = np.array([[r[field] for r in mine if r["seed"] == s] for s in range(SEEDS)])
            for what, values in (("last", curves[:, -1]), ("mean", curves[:, 1:].mean(1))):
                line[f"{what}_{field}"] = float(values.mean())
                line[f"{what}_{field}_sd"] = float(values.std(ddof=1))
        found.append(line)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="runs/bayesian_regression", help="folder of the results")
    parser.add_argument("--steps", type=int, default=20_000)
    args = parser.parse_args()
    folder, rows, tables, begun = new_folder(Path(args.out)), [], {}, time.monotonic()
    record = {"steps": args.steps, "seeds": SEEDS} | provenance()
    check_rule()
    for (name_of_setting, setting), (name, make) in itertools.product(
        SETTINGS.items(), ESTIMATORS.items()
    ):
        points = data(setting.features)
        fields, params = train(make, points, setting.start, args.steps)
        for seed, i in np.ndindex(SEEDS, RECORDS + 1):
            where = name_of_setting, name, seed, i * args.steps // RECORDS
            values = (*where, *map(float, fields[seed, i]))
            rows.append(dict(zip(COLUMNS, values, strict=True)))
        if name == "pathwise":
            epoch_100 = min(RECORDS, round(100 * DATUMS / BATCH / args.steps * RECORDS))
            tables[name_of_setting] = truncation(points, params[:, epoch_100])
        took = time.monotonic() - begun
        last = fields[:, -1, 0].mean()
        print(f"{name_of_setting}, {name}: {last:.4f}, {took:.0f} s", flush=True)
    write_csv(folder / "curves.csv", rows, digits=5)
    write_csv(folder / "results.csv", summary(rows), digits=5)
    record |= {"results": summary(rows), "truncation": tables}
    record["seconds"] = round(time.monotonic() - begun)
    write_json_atomic(folder / "summary.json", record)
    for name_of_setting, setting in SETTINGS.items():
        mine = [row for row in rows if row["setting"] == name_of_setting]
        draw(folder / name_of_setting, mine, setting, list(ESTIMATORS))
    draw_truncation(folder / "truncation", tables, SETTINGS, ORDERS)


if __name__ == "__main__":
    main()
