"""python -m fsb.prepare data=mnist data.root=FOLDER: verify a data set and write its cache."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fsb.cli.factory import build
from fsb.cli.program import program
from fsb.cli.schema import Prepare
from fsb.data import Dataset


def prepare(make: Callable[[], Dataset]) -> dict[str, Any]:
    """Makes the data set, which writes its cache, and opens it once more to time that.

    Returns:
      Its source, checksum, splits, mean and cache, and the time to open it from now on.

    Raises:
      FsbError: as ``make``.
    """
    dataset = make()
    start = time.perf_counter()
    make()
    seconds = time.perf_counter() - start
    shape = " x ".join(map(str, dataset.shape))
    counts = ", ".join(
        f"{split} {len(getattr(dataset, split))}" for split in ("train", "valid", "test")
    )
    return {
        "data set": dataset.name,
        "source": dataset.source,
        "checksum": "verified" if dataset.verified else "not verified, counts and shapes only",
        **({"notes": dataset.notes} if dataset.notes else {}),
        "splits": f"{counts}; {shape}, {dataset.train.dtype}",
        "mean of x": f"{dataset.mean.mean():.4f} ({dataset.preprocess.likelihood})",
        "cache": str(dataset.cache) if dataset.cache else "none needed",
        "opens in": f"{seconds:.3f} s",
    }


@program("prepare", Prepare)
def main(config: Any, checked: None) -> None:
    """Prepare the data set of the configuration and describe it."""
    for name, value in prepare(lambda: build(config, "data")).items():
        print(f"{name:>10}  {value}")


if __name__ == "__main__":
    main()
