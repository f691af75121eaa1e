"""What many devices cost: the sum of the gradients on paper, and train steps timed on those here.

    python scripts/scaling.py paper
    XLA_FLAGS=--xla_force_host_platform_device_count=8 python scripts/scaling.py measure

On paper, a step takes its operations at a part of a chip's peak, then one all-reduce that overlaps
with nothing: each chip sends 2 (n - 1) / n times the gradients' bytes, after a delay. Parameters
and operations are counted in the networks; speeds and delays are assumptions (docs/scaling.md).

``measure`` times the run of the given words, on 1, 2, 4 and 8 of the devices, side by side.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import jax
import numpy as np
from bench_sweep import chunk_of
from utilisation import operations

from fsb.bench.timing import measure, paired
from fsb.cli.program import preflight
from fsb.cli.schema import Train
from fsb.data.dataset import Dataset
from fsb.data.preprocess import dequantised, dynamic
from fsb.training.setup import Parts, assemble

CHIPS = 256
UTILISATION = 0.3
"""Assumed: the part of a chip's peak that a train step reaches."""

BATCHES = (1, 8, 32, 128, 512)
NETS = {
    "vae": ((28, 28), dynamic()),
    "sresnet80": ((64, 64, 3), dequantised()),
}
"""configs/model -> the shape of an image, and the preprocessing."""


class Machine(NamedTuple):
    """What is assumed of a chip and of its way to the others.

    peak: operations a second in bfloat16.
    bandwidth: bytes that it sends a second.
    delay: seconds of an all-reduce of nothing.
    """

    peak: float
    bandwidth: float
    delay: float


MACHINES = {
    "TPU v5e, a 16 x 16 slice": Machine(197e12, 200e9, 32e-6),
    "H100, 400 Gbit/s each": Machine(989e12, 50e9, 100e-6),
    "TPU v5e, 25 Gbit/s each": Machine(197e12, 3.125e9, 100e-6),
}


def parts_of(name: str, batch: int = 8) -> Parts:
    """A network as ``fsb.train`` builds it, with black images in place of its data."""
    shape, preprocess = NETS[name]
    (config,) = preflight("train", [f"model={name}", "devices=1"], Train)
    black = np.zeros((batch, *shape), np.uint8)
    return assemble(config, batch, Dataset(name, black, black, black, preprocess))


def all_reduce(machine: Machine, size: float, chips: int = CHIPS) -> float:
    """The seconds of a sum of ``size`` bytes over the chips."""
    return machine.delay + 2 * (chips - 1) / chips * size / machine.bandwidth


def efficiency(machine: Machine, size: float, flops: float) -> float:
    """compute / (compute + communication), for a chip that makes ``flops`` operations a step."""
    compute = flops / (UTILISATION * machine.peak)
    return compute / (compute + all_reduce(machine, size))


def paper() -> None:
    for name in NETS:
        parts = parts_of(name)
        numbers = sum(x.size for x in jax.tree.leaves(parts.state_shapes().params))
        flops = operations(parts) / parts.batch_size
        print(
            f"\n{name}: {numbers:,} parameters, {4e-6 * numbers:.1f} MB of gradients; "
            f"{1e-9 * flops:.3g} GFLOP an image\n\n"
            f"| {CHIPS} chips | all-reduce | {' | '.join(f'{b} a chip' for b in BATCHES)} |\n"
            f"|---|---|{'---|' * len(BATCHES)}"
        )
        for machine, of in MACHINES.items():
            found = [f"{efficiency(of, 4 * numbers, b * flops):.2f}" for b in BATCHES]
            time = f"{1e3 * all_reduce(of, 4 * numbers):.2f} ms"
            print(f"| {machine} | {time} | {' | '.join(found)} |")


def here(words: list[str], rounds: int, steps: int) -> None:
    counts = [count for count in (1, 2, 4, 8) if count <= jax.device_count()]
    jobs = {n: preflight("train", [*words, f"devices={n}"], Train)[0] for n in counts}
    chunks = {str(count): chunk_of(assemble(job), steps) for count, job in jobs.items()}
    seconds = measure(chunks, rounds)
    for count, values in seconds.items():
        ratio = paired(values, seconds["1"])["ratio"]
        time = 1e3 * float(np.median(values)) / steps
        print(f"{count} devices {time:8.2f} ms a step {ratio:6.2f} of one device")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("paper", "measure"))
    parser.add_argument("overrides", nargs="*", help="of the run to measure, as for fsb.train")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20, help="in a round")
    args = parser.parse_intermixed_args()
    if args.what == "paper":
        paper()
    else:
        here(args.overrides, args.rounds, args.steps)


if __name__ == "__main__":
    main()
