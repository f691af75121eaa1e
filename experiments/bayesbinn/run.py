"""BayesBiNN on MNIST: as derived, as published, and the deterministic rule that comes to.

    FSB_DATA=... python experiments/bayesbinn/run.py --out experiments/bayesbinn

Trains a net with binary weights under the three rules, from the same signs and on the same batches,
and compares signs; measures the variance of the gradient as derived. Writes results.csv (accuracy),
agreement.csv, settings.csv, variance.csv, claims.json, bayesbinn.png and bayesbinn.pdf.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import jax
import training
from claims import equivalence_claim, gradient_claim
from figure import draw
from net import load
from variance import variances

from fsb.errors import FsbError
from fsb.storage.atomic import write_json_atomic
from fsb.storage.metrics_file import write_csv
from fsb.storage.provenance import provenance


def main(options: argparse.Namespace) -> None:
    seed, steps, width = options.seed, options.steps, options.width
    if steps < training.START_UP + training.FREE:
        raise FsbError(f"--steps {steps}: it must be at least {training.START_UP + training.FREE}")
    if (options.out / "claims.json").exists():
        raise FsbError(f"{options.out}: it holds results already; choose another --out")
    options.out.mkdir(parents=True, exist_ok=True)
    data = load()
    batch = jax.tree.map(lambda x: x[: training.BATCH], data["train"])
    variance = variances(seed, width, batch, options.draws)
    grid = training.settings(seed, width, data)
    trained = training.train(seed, steps, width, options.temperature, options.rate, data)
    origin = {
        "command": f"python experiments/bayesbinn/run.py --seed {seed} --steps {steps} "
        f"--width {width} --out experiments/bayesbinn",
        "commit": provenance()["git_commit"],
        "seed": seed,
    }
    found = {
        "B prop 6": gradient_claim(variance),
        "B prop 7": equivalence_claim(*trained, grid, steps),
    }
    tables = {"results": trained[0], "agreement": trained[1], "settings": grid}
    for name, rows in (tables | {"variance": variance}).items():
        write_csv(options.out / f"{name}.csv", rows)
    write_json_atomic(options.out / "claims.json", {n: c | origin for n, c in found.items()})
    for kind in ("png", "pdf"):
        draw(options.out / f"bayesbinn.{kind}", *trained[:2], variance)
    print(provenance()["device"], {name: claim["ours"] for name, claim in found.items()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=5000, help="500 are an epoch")
    parser.add_argument("--width", type=int, default=256, help="units of the three hidden layers")
    parser.add_argument("--draws", type=int, default=100, help="of the noise, for the variance")
    parser.add_argument("--temperature", type=float, default=0.5, help="of the form as derived")
    parser.add_argument("--rate", type=float, default=1e-2, help="learning rate of that form")
    try:
        main(parser.parse_args())
    except FsbError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
