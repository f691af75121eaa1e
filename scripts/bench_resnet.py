"""What stochastic layers cost an S-ResNet: FouST's train step beside the same net without noise.

    python scripts/bench_resnet.py experiments/bench_resnet

S-ResNet A on 32 x 32 images; the ratio is the median over the rounds of an interleaved run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from omegaconf import OmegaConf

from fsb import estimators
from fsb.bench.timing import measure, paired
from fsb.bench.variants import no_sampling, train_chunk
from fsb.data.preprocess import dequantised
from fsb.networks import GaussianLikelihood, sresnet
from fsb.storage.atomic import write_json_atomic
from fsb.storage.provenance import provenance

SHAPE = (32, 32, 3)
VARIANTS = {
    "foust": estimators.foust,
    "darn": estimators.darn,
    "st": estimators.st,
    "no sampling": no_sampling,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of results.json")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--widths", type=int, nargs=3, default=(64, 128, 256))
    args = parser.parse_args()
    config = OmegaConf.create({"steps": 1, "batch_size": args.batch_size})
    stacks = {"stacks": (1, 1, 1), "stochastic": (1, 2, 3)}
    model = sresnet(SHAPE, GaussianLikelihood(), widths=tuple(args.widths), **stacks)
    chunks = {
        name: train_chunk(config, make(), model, dequantised()) for name, make in VARIANTS.items()
    }
    seconds = measure(chunks, args.rounds)
    rows = {
        name: {
            "seconds_per_step": sorted(values)[len(values) // 2],
            **paired(values, seconds["no sampling"]),
        }
        for name, values in seconds.items()
    }
    for name, row in rows.items():
        print(f"{name:12} {row['seconds_per_step']:7.3f} s  {row['ratio']:.3f} of no sampling")
    args.out.mkdir(parents=True, exist_ok=True)
    settings = {"rounds": args.rounds, "batch_size": args.batch_size, "widths": args.widths}
    write_json_atomic(args.out / "results.json", settings | {"variants": rows} | provenance())


if __name__ == "__main__":
    main()
