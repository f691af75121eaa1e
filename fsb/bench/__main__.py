"""python -m fsb.bench: the speed of the train step, as ratios within one interleaved run.

Every variant takes its turn in every round, so that what slows the machine slows all of them; a
ratio is the median over the rounds of the paired ratios. The turns are shuffled, so that nobody
always follows the same one (and its still spinning threads).
"""

from __future__ import annotations

import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from fsb.bench.timing import measure, show, speeds, verdicts
from fsb.bench.variants import chunks
from fsb.cli.program import program
from fsb.cli.schema import Bench
from fsb.storage.atomic import write_json_atomic
from fsb.storage.metrics_file import MetricsFile
from fsb.storage.provenance import provenance


@program("bench", Bench)
def main(config: Any, _: None) -> None:
    """Measure, print the tables, and save them in the folder of the run, in place of older ones."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    seconds = measure(chunks(config), config.rounds)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.csv").unlink(missing_ok=True)
    rows, bounds = speeds(seconds, config.steps), verdicts(seconds)
    table = MetricsFile(folder / "results.csv")
    for row in rows:
        table.append(row)
    origin = provenance()
    if "eager PyTorch" in seconds:
        origin["versions"]["torch"] = metadata.version("torch")
    settings = {key: config[key] for key in ("rounds", "steps", "batch_size", "layers", "width")}
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    write_json_atomic(
        folder / "results.json",
        {"date": date, **settings, "bounds": bounds, "variants": rows, **origin},
    )
    print(show(rows, bounds))
    print(folder)


if __name__ == "__main__":
    main()
