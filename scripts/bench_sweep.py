"""What a train step costs in every job of a sweep, side by side in one run.

    python scripts/bench_sweep.py experiments/NAME/time experiment=fourier_table2 seed=0

The words after the folder are those of ``python -m fsb.train``; each ``--jobs "WORDS"`` is a sweep
with further ones. Ratios are to the first job, the median over the rounds of an interleaved run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from compare import label, settings

from fsb.bench.timing import measure, paired
from fsb.bench.variants import IMAGES, Chunk, steps_chunk
from fsb.cli.program import preflight
from fsb.cli.schema import Train
from fsb.storage.atomic import write_json_atomic
from fsb.storage.provenance import provenance
from fsb.training.setup import Parts, assemble


def chunk_of(parts: Parts, steps: int) -> Chunk:
    """``steps`` train steps of a job, on images of its own data."""
    images = parts.data.train[:IMAGES]
    return steps_chunk(parts.recipe, parts.first_state(), images, parts.batch_size, steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of results.json")
    parser.add_argument("overrides", nargs="*", help="of the sweep, as for fsb.train")
    parser.add_argument("--jobs", action="append", help="further overrides, for a sweep of its own")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=10, help="in a round")
    args = parser.parse_intermixed_args()
    sweeps = [words.split() for words in args.jobs or [""]]
    jobs = [job for words in sweeps for job in preflight("train", [*args.overrides, *words], Train)]
    found = [settings(job) for job in jobs]
    names = [label(one, found) for one in found]
    parts = [assemble(job) for job in jobs]
    chunks = {name: chunk_of(p, args.steps) for name, p in zip(names, parts, strict=True)}
    seconds = measure(chunks, args.rounds)
    rows = {}
    for name, p in zip(names, parts, strict=True):
        step = float(np.median(seconds[name])) / args.steps
        rows[name] = {
            "ms_per_step": 1e3 * step,
            "seconds_per_epoch": step * (len(p.data.train) // p.batch_size),
            **paired(seconds[name], seconds[names[0]]),
        }
        print(
            f"{name:32} {1e3 * step:8.2f} ms a step {rows[name]['seconds_per_epoch']:8.1f} s an "
            f"epoch {rows[name]['ratio']:7.2f} of {names[0]}"
        )
    args.out.mkdir(parents=True, exist_ok=True)
    told = {
        "overrides": args.overrides,
        "sweeps": sweeps,
        "rounds": args.rounds,
        "steps": args.steps,
    }
    write_json_atomic(args.out / "results.json", told | {"jobs": rows} | provenance())


if __name__ == "__main__":
    main()
