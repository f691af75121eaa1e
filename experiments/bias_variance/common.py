"""What the experiments of this folder share: draws of an estimator, fits, records, pictures.

Each experiment is a program, ``python experiments/bias_variance/NAME.py [--out FOLDER]``, with
``measure() -> (rows, claims)`` and ``picture(rows) -> figure``. It writes NAME/table.csv and
NAME/picture.png, .pdf, and puts its claims into claims.json. Verdicts are made of the numbers.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import fsb
from fsb.storage.atomic import write_json_atomic
from fsb.storage.metrics_file import MetricsFile
from fsb.storage.provenance import device
from fsb.storage.style import COLOURS, DASHES, MARKERS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.append(str(ROOT / "scripts"))
from ledger import decide  # noqa: E402  # the scripts are no package

SEED = 0
SIGNS = fsb.Bernoulli(-1.0, 1.0)
ZERO_ONE = fsb.Bernoulli()


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def logistic(x):
    """The density of the logistic noise, sigmoid(x) sigmoid(-x)."""
    return sigmoid(x) * sigmoid(-np.asarray(x, np.float64))


def draws(estimator, f, eta, count, dist=ZERO_ONE, seed=SEED, size=2**18):
    """``count`` independent estimates of dE[f]/d eta, [count, n]: an example is a draw.

    f: [N, n] values of one layer -> [N]. eta: its logits, [n] or a number.
    """
    eta = jnp.atleast_1d(jnp.asarray(eta, jnp.float32))
    size = min(count, size)

    def loss(eta, sample):
        return f(sample("z", dist, eta))

    @jax.jit
    def some(key):
        many = jnp.broadcast_to(eta, (size, len(eta)))
        control, state = fsb.init(estimator, loss, many, key)
        estimate = fsb.stateful_value_and_grad(estimator, loss)
        return size * estimate(many, control, state, key).params

    keys = jax.random.split(jax.random.key(seed), -(-count // size))
    return np.concatenate([np.asarray(some(key)) for key in keys])[:count]


def mean_and_error(x):
    """Mean over the first axis, and its standard error, in double precision."""
    x = np.asarray(x, np.float64)
    return x.mean(0), x.std(0, ddof=1) / np.sqrt(len(x))


def fit(x, y, error, powers):
    """Weighted least squares of y = sum_k c_k x^k: the c_k and their standard errors."""
    table = np.asarray(x, np.float64)[:, None] ** np.asarray(powers, np.float64)
    weight = 1 / np.asarray(error, np.float64)
    covariance = np.linalg.inv((table * weight[:, None] ** 2).T @ table)
    return covariance @ (table.T @ (weight**2 * np.asarray(y))), np.sqrt(np.diag(covariance))


def check(what, ours, relation, than, tolerance=0.0):
    """One number held against another: ``relation`` is "=", "<" or ">"."""
    numbers = {"ours": float(ours), "than": float(than), "tolerance": float(tolerance)}
    return {"what": what, "relation": relation, **numbers}


def claim(statement, ours, predicted, checks, corrected=(), note=""):
    """A record of the ledger; ``corrected`` are the checks of the claim as it should read."""
    checks, corrected = list(checks), list(corrected)
    return {
        "claim": statement,
        "ours": ours,
        "predicted": predicted,
        "verdict": decide(checks, corrected),
        "note": note,
        "checks": checks,
        "corrected": corrected,
    }


def code_commit():
    """Of the newest change to what makes the numbers; "-dirty" where it is not committed."""
    paths = ["fsb", *sorted(str(path.relative_to(ROOT)) for path in HERE.glob("*.py"))]

    def git(*arguments):
        command = ["git", "-C", str(ROOT), *arguments, "--", *paths]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("log", "-1", "--format=%h") + ("-dirty" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def save(out, name, rows, claims, figure, command, seconds):
    """table.csv, picture.png, picture.pdf of one experiment, and its claims among the others'."""
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.csv").unlink(missing_ok=True)
    table = MetricsFile(folder / "table.csv")
    for row in rows:
        table.append({key: _short(value) for key, value in row.items()})
    for kind in ("png", "pdf"):
        date = {"CreationDate": None} if kind == "pdf" else {}  # the same picture, the same file
        figure.savefig(folder / f"picture.{kind}", metadata=date)
    path = out / "claims.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    origin = {
        "command": command,
        "commit": code_commit(),
        "seed": SEED,
        "machine": f"{device()}, Python {platform.python_version()}, jax {jax.__version__}",
        "seconds": round(seconds, 1),
    }
    found |= {name: {**record, **origin} for name, record in claims.items()}
    write_json_atomic(path, dict(sorted(found.items())))


def _short(value):
    return float(f"{value:.6g}") if isinstance(value, float | np.floating) else value


def main(file, measure, picture):
    """The program that every experiment is."""
    parser = argparse.ArgumentParser(description=f"Measures {Path(file).stem}.")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the results")
    out = parser.parse_args().out
    start, name = time.perf_counter(), Path(file).stem
    rows, claims = measure()
    seconds = time.perf_counter() - start
    command = f"python experiments/bias_variance/{name}.py"
    save(out, name, rows, claims, picture(rows), command, seconds)
    for key, record in claims.items():
        print(f"{key}: {record['verdict']}. {record['ours']} ({seconds:.0f} s)")


def figure(columns=2, width=4.0, height=3.2, rows=1):
    """An empty figure and its axes, [columns] or [rows, columns]."""
    from matplotlib.figure import Figure

    found = Figure(figsize=(width * columns, height * rows), dpi=150, layout="constrained")
    axes = found.subplots(rows, columns, squeeze=False)
    for one in axes.flat:
        one.grid(color="0.9", linewidth=0.6)
        one.tick_params(which="both", labelsize=8)
        one.spines[["top", "right"]].set_visible(False)
    return found, axes[0] if rows == 1 else axes


def style(i):
    """The i-th colour, dash and marker: each tells lines apart alone, in grey as well."""
    i %= len(COLOURS)
    return {"color": COLOURS[i], "linestyle": DASHES[i], "marker": MARKERS[i], "markersize": 4}


def points(i):
    """The i-th colour and marker, for measurements with error bars."""
    return {**style(i), "linestyle": "none", "capsize": 2, "elinewidth": 1}


def column(rows, name, **where):
    """A column of the rows in which every key of ``where`` has its value, as an array."""
    chosen = [row for row in rows if all(row[key] == value for key, value in where.items())]
    return np.array([row[name] for row in chosen])


def ticks(axis, values):
    """These ticks and no others, on a log scale of few decades."""
    axis.set_ticks(values, [f"{value:g}" for value in values])
    axis.set_ticks([], minor=True)


def legend(axes, **more):
    axes.legend(frameon=False, fontsize=7.5, handlelength=2.6, **more)
