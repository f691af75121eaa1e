"""How much of a device's peak a run used: model FLOP utilisation.

    python scripts/utilisation.py runs/fig3/foust 989e12

The floating-point operations of a train step are counted in the program before the compiler, and
multiplied with the steps per second that the run wrote down; what rematerialisation computes twice
is counted twice.
"""

from __future__ import annotations

import argparse
import json

import jax

from fsb.storage.metrics_file import MetricsFile
from fsb.training.setup import Parts, reopen
from fsb.training.step import step


def operations(parts: Parts) -> float:
    """Floating-point operations of a train step."""
    state = parts.state_shapes()
    lowered = jax.jit(step, static_argnums=0).lower(parts.recipe, state, parts.probe)
    return lowered.cost_analysis()["flops"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run folder")
    parser.add_argument("peak", type=float, help="operations a second of all its devices together")
    args = parser.parse_args()
    _, parts = reopen(args.run)
    rows = MetricsFile(f"{args.run}/metrics.csv").read()
    speed = next(row["steps_per_second"] for row in reversed(rows) if "steps_per_second" in row)
    flops = operations(parts)
    found = {
        "operations_per_step": flops,
        "steps_per_second": speed,
        "model_flop_utilisation": flops * speed / args.peak,
        "data_wait": rows[-1].get("data_wait"),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
