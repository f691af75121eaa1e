"""Toy problems of gamma sites, five seeds side by side: python experiments/continuous_toys/run.py

1: E sum_j (z_j - 0.49)^2 and 2: E sum_j exp(-z_j), z_j ~ Gamma(k_j, mu_j), d = 1, 10, 100.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import fsb
from fsb.estimators._attach import attach_all
from fsb.sites import ancestral, frozen
from fsb.storage.metrics_file import write_csv
from fsb.storage.provenance import provenance
from fsb.storage.run_folder import new_folder

SEEDS, RECORDS, VARIANCE_DRAWS = 5, 40, 16
START = float(np.log(np.e - 1))  # softplus(START) = 1
COLUMNS = ("toy", "d", "estimator", "seed", "step", "loss", "log_variance")


def toy_1(eta, sample):
    return ((sample("z", fsb.Gamma(), eta) - 0.49) ** 2).sum(-1)


def toy_2(eta, sample):
    return jnp.exp(-sample("z", fsb.Gamma(), eta)).sum(-1)


def expected_1(k, mu):
    return (k * mu**2 + (k * mu - 0.49) ** 2).sum()


def expected_2(k, mu):
    return ((1 + mu) ** -k).sum()


def eigenfunction():
    """Eq. 23 with its sign corrected, for losses that are sums of exp(-z): no series is left."""

    def surrogate(run, control, state, key):
        losses, sites = run(frozen(ancestral(key)))
        (site,) = sites
        k, mu = site.eta
        p = jnp.exp(-site.z)
        return attach_all(losses, sites, [(-jnp.log1p(mu) * p, -k / (1 + mu) * p)]), fsb.Aux(
            0.0, state, {}
        )

    return fsb.Estimator(lambda key, sites: ((), ()), surrogate)


SHARED = {
    "fourier exact": fsb.fourier_exact(separable=True),
    "pathwise (implicit)": fsb.pathwise(),
    "score function": fsb.reinforce(),
    "weak reparameterization": fsb.weak_reparameterization(),
}
TOYS = {
    1: (toy_1, expected_1, {"fourier series": fsb.fourier_series(2, False, True)} | SHARED),
    2: (toy_2, expected_2, {"fourier series": eigenfunction()} | SHARED),
}


def train(loss, expected, estimator, d, steps, seeds, learning_rate=1e-3):
    """Exact losses and log variances of the gradient, [seeds, RECORDS + 1] each."""

    def of_raw(raw, sample):
        return loss(jax.tree.map(lambda x: jax.nn.softplus(x)[None], raw), sample)

    estimate, optimizer = fsb.value_and_grad(estimator, of_raw), optax.adam(learning_rate)

    def one(key):
        raw = (jnp.full(d, START), jnp.full(d, START))

        def note(raw, key):
            keys = jax.random.split(key, VARIANCE_DRAWS)
            draws = jax.lax.map(lambda k: jnp.concatenate(estimate(raw, k)[1]), keys)
            return expected(*map(jax.nn.softplus, raw)), jnp.log(draws.var(0, ddof=1).mean())

        def step(carry, key):
            raw, state = carry
            updates, state = optimizer.update(estimate(raw, key)[1], state)
            return (optax.apply_updates(raw, updates), state), None

        def stretch(carry, key):
            keys = jax.random.split(key, steps // RECORDS + 1)
            noted = note(carry[0], keys[0])
            return jax.lax.scan(step, carry, keys[1:])[0], noted

        # One stretch too many, for what is noted at its start: a third of the code less.
        keys = jax.random.split(key, RECORDS + 1)
        return jax.lax.scan(stretch, (raw, optimizer.init(raw)), keys)[1]

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), seeds))


def draw(path, rows, toy, dims, estimators):
    from matplotlib.figure import Figure

    from fsb.storage.curves import draw_lines

    figure = Figure(figsize=(11, 6), dpi=80, layout="constrained")
    axes = figure.subplots(2, len(dims), squeeze=False)
    for column, d in enumerate(dims):
        for row, (field, label) in enumerate(
            (("loss", "expected loss"), ("log_variance", "log variance of the gradient"))
        ):
            lines = {}
            for name in estimators:
                mine = [r for r in rows if (r["toy"], r["d"], r["estimator"]) == (toy, d, name)]
                steps = sorted({r["step"] for r in mine})
                table = np.array([[r[field] for r in mine if r["step"] == s] for s in steps])
                lines[name] = np.array(steps), table.mean(1), table.std(1, ddof=1)
            draw_lines(axes[row, column], lines)
            axes[row, column].set(xlabel="step", ylabel=label)
            if row == 0:
                axes[row, column].set_title(f"d = {d}", loc="left", size=10)
            if row or column:
                axes[row, column].get_legend().remove()
    for suffix in ("png", "pdf"):
        figure.savefig(path.with_suffix(f".{suffix}"))


def write_curves(path, rows):
    """Mean and standard deviation over the seeds."""
    groups = {}
    for r in rows:
        point = groups.setdefault((r["toy"], r["d"], r["estimator"], r["step"]), [])
        point.append((r["loss"], r["log_variance"]))
    columns = (
        "toy",
        "d",
        "estimator",
        "step",
        "loss",
        "log_variance",
        "loss_sd",
        "log_variance_sd",
    )
    tables = {where: np.array(point) for where, point in groups.items()}
    means = [
        dict(zip(columns, (*where, *table.mean(0), *table.std(0, ddof=1)), strict=True))
        for where, table in tables.items()
    ]
    write_csv(path, means, digits=5)


def summary(rows, dims, steps):
    """By toy, d and estimator: last loss, log variance, and steps to 5% of the first gap."""
    found = []
    for toy, (_, _, estimators) in TOYS.items():
        for d in dims:
            curves = {}
            for name in estimators:
                mine = [r for r in rows if (r["toy"], r["d"], r["estimator"]) == (toy, d, name)]
                at = sorted({r["step"] for r in mine})
                loss = np.array([[r["loss"] for r in mine if r["step"] == s] for s in at])
                var = np.array([[r["log_variance"] for r in mine if r["step"] == s] for s in at])
                curves[name] = np.array(at), loss, var
            low = min(c[1].mean(1).min() for c in curves.values())
            for name, (at, loss, var) in curves.items():
                goal = low + 0.05 * (loss[0].mean() - low)
                there = loss.mean(1) <= goal
                found.append(
                    {
                        "toy": toy,
                        "d": d,
                        "estimator": name,
                        "last_loss": float(loss[-1].mean()),
                        "last_loss_sd": float(loss[-1].std(ddof=1)),
                        "mean_loss": float(loss.mean()),
                        "steps_to_5_percent": int(at[there.argmax()]) if there.any() else None,
                        "mean_log_variance": float(var[1:].mean()),
                    }
                )
    return {"steps": steps, "seeds": SEEDS, "results": found}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="runs/continuous_toys", help="folder of the results")
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--dims", type=int, nargs="+", default=[1, 10, 100])
    args = parser.parse_args()
    folder, rows, start = new_folder(Path(args.out)), [], time.monotonic()
    for toy, (loss, expected, estimators) in TOYS.items():
        for d in args.dims:
            for name, estimator in estimators.items():
                begun = time.monotonic()
                found = train(loss, expected, estimator, d, args.steps, SEEDS)
                losses, _ = found = [np.asarray(x, float) for x in found]
                for seed, i in np.ndindex(losses.shape):
                    step = i * args.steps // RECORDS
                    values = (toy, d, name, seed, step, *(float(x[seed, i]) for x in found))
                    rows.append(dict(zip(COLUMNS, values, strict=True)))
                took, last = time.monotonic() - begun, losses[:, -1].mean()
                print(f"toy {toy} d {d} {name}: {last:.4f}, {took:.0f} s", flush=True)
        draw(folder / f"toy_{toy}", rows, toy, args.dims, estimators)
    write_curves(folder / "curves.csv", rows)
    record = summary(rows, args.dims, args.steps)
    record |= provenance() | {"seconds": round(time.monotonic() - start)}
    (folder / "summary.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
