"""Variance and cost of gradients at continuous sites: python experiments/continuous_variance/run.py

A random tanh network of four units (two points of the simplex for Dirichlet), over a grid of
parameters; implicit reparameterisation (pathwise) is the reference.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import fsb
from fsb.storage.metrics_file import write_csv
from fsb.storage.provenance import provenance
from fsb.storage.run_folder import new_folder

DRAWS, UNITS, HIDDEN = 2**14, 4, 8
EXACT = {"exact": fsb.fourier_exact()}
COMMON = {"pathwise": fsb.pathwise(), "score": fsb.reinforce()}
GRID = {  # family, values of eta's parts, estimators
    "gamma": (
        fsb.Gamma(),
        [(k, 1 / max(k, 1)) for k in (0.01, 0.1, 0.5, 1.0, 3.0, 10.0, 100.0)],
        COMMON | EXACT | {"weak": fsb.weak_reparameterization()},
    ),
    "laplace": (
        fsb.Laplace(),
        [(0.3, b) for b in (0.01, 0.1, 0.5, 1.0, 3.0)],
        COMMON | EXACT | {"exact, first": fsb.fourier_exact(smooth=False)},
    ),
    "beta": (
        fsb.Beta(),
        [(0.01, 0.01), (0.1, 0.1), (0.5, 0.5), (1.0, 1.0), (2.0, 5.0), (20.0, 30.0)],
        COMMON | EXACT,
    ),
    "dirichlet": (
        fsb.Dirichlet(),
        [0.01, 0.1, 0.5, 1.0, 5.0, 50.0],
        COMMON | EXACT,
    ),
}
COLUMNS = (
    "family", "eta", "estimator", "difference", "z", "variance", "to_pathwise", "milliseconds",
    "nan",
)  # fmt: skip


def network(dist, inputs):
    rng = np.random.default_rng(0)
    first = jnp.float32(1.5 * rng.normal(size=(inputs, HIDDEN)) / np.sqrt(inputs))
    shift = jnp.float32(rng.normal(size=(1, HIDDEN)))
    last = jnp.float32(rng.normal(size=HIDDEN))

    def loss(eta, sample):
        z = sample("z", dist, eta)
        return jnp.tanh(z.reshape(len(z), -1) @ first + shift) @ last

    return loss


def rows_of(family, dist, value):
    if family == "dirichlet":
        return jnp.full((DRAWS, UNITS // 2, 3), value, jnp.float32)
    return tuple(jnp.full((DRAWS, UNITS), v, jnp.float32) for v in value)


def flat(grads):
    leaves = [np.asarray(g, np.float64).reshape(DRAWS, -1) for g in jax.tree.leaves(grads)]
    return DRAWS * np.concatenate(leaves, 1)


def compare(family, dist, value, programs):
    """A row for each estimator: its mean less pathwise's in standard errors, variance, time."""
    eta, draws, times = rows_of(family, dist, value), {}, {}
    for i, (name, program) in enumerate(programs.items()):
        key = jax.random.key(i)
        jax.block_until_ready(program(eta, key))
        begun = time.process_time()
        draws[name] = flat(jax.block_until_ready(program(eta, key))[1])
        times[name] = time.process_time() - begun
    mean = {name: g.mean(0) for name, g in draws.items()}
    error = {name: g.var(0, ddof=1) / DRAWS for name, g in draws.items()}
    best = mean["exact"]
    for name, g in draws.items():
        spread = np.sqrt(error[name] + error["pathwise"])
        gap = mean[name] - mean["pathwise"]
        z = np.abs(gap) / np.maximum(spread, 1e-12)
        yield dict(
            zip(
                COLUMNS,
                (
                    family,
                    value if isinstance(value, float) else " ".join(f"{v:.3g}" for v in value),
                    name,
                    float(np.linalg.norm(gap) / np.linalg.norm(best)),
                    float(z.max()) if name != "pathwise" else 0.0,
                    float(g.var(0, ddof=1).sum()),
                    float(g.var(0, ddof=1).sum() / draws["pathwise"].var(0, ddof=1).sum()),
                    1000 * times[name],
                    int((~np.isfinite(g)).sum()),
                ),
                strict=True,
            )
        )


def draw(path, rows):
    from matplotlib.figure import Figure

    from fsb.storage.style import COLOURS, MARKERS

    figure = Figure(figsize=(11, 3.4), dpi=90, layout="constrained")
    axes = figure.subplots(1, len(GRID))
    for place, family in zip(axes, GRID, strict=True):
        for i, name in enumerate(dict.fromkeys(r["estimator"] for r in rows)):
            mine = [r for r in rows if r["family"] == family and r["estimator"] == name]
            if mine:
                place.plot(
                    [r["variance"] for r in mine], color=COLOURS[i], marker=MARKERS[i], label=name
                )
        labels = [str(r["eta"]).replace(" ", "\n") for r in rows
                  if r["family"] == family and r["estimator"] == "exact"]  # fmt: skip
        place.set_xticks(range(len(labels)), labels, fontsize=7)
        place.set(yscale="log", title=family, xlabel="parameters")
        place.spines[["top", "right"]].set_visible(False)
        place.legend(frameon=False, fontsize=7)
    axes[0].set_ylabel("variance of a draw's gradient")
    for suffix in ("png", "pdf"):
        figure.savefig(path.with_suffix(f".{suffix}"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="runs/continuous_variance", help="folder of the results")
    args = parser.parse_args()
    folder, rows = new_folder(Path(args.out)), []
    for family, (dist, values, estimators) in GRID.items():
        loss = network(dist, UNITS // 2 * 3 if family == "dirichlet" else UNITS)
        programs = {n: jax.jit(fsb.value_and_grad(e, loss)) for n, e in estimators.items()}
        for value in values:
            found = list(compare(family, dist, value, programs))
            rows += found
            for r in found:
                print(*(f"{v:.3g}" if isinstance(v, float) else v for v in r.values()), flush=True)
    draw(folder / "variance", rows)
    write_csv(folder / "table.csv", rows, digits=4)
    (folder / "summary.json").write_text(json.dumps(provenance(), indent=1) + "\n")


if __name__ == "__main__":
    main()
