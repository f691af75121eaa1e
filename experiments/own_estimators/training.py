"""Train ELBO and gradient variance of the trainings here, against steps, evaluations and seconds.

    python experiments/own_estimators/training.py training_mnist

Steps of two cores take the seconds that were measured alone, in experiments/bench_cpu/unbiased_1,
for batches of 128: the trainings themselves shared the machine.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from fsb.storage.curves import draw_lines
from fsb.storage.metrics_file import MetricsFile
from fsb.storage.style import new_figure, save

HERE = Path(__file__).parent
FIELDS = {"train_elbo": "train ELBO (nats)", "gradient_variance": "gradient variance"}


def lines(rows, field, scale):
    """By estimator: steps times ``scale``, mean over the seeds, standard deviation."""
    found = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["step"]:
            found[row["run"]][row["step"]].append(row[field])
    return {
        run: (
            np.array([*values]) * scale[run],
            np.array([np.mean(x) for x in values.values()]),
            np.array([np.std(x, ddof=1) for x in values.values()]),
        )
        for run, values in found.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", help="of a curves.csv, below this one")
    folder = HERE / parser.parse_args().folder
    rows = MetricsFile(folder / "curves.csv").read()
    speed = {row["estimator"]: row for row in MetricsFile(
        HERE.parent / "bench_cpu/unbiased_1/results.csv").read()}  # fmt: skip
    runs = sorted({row["run"] for row in rows})
    scales = {
        "steps": dict.fromkeys(runs, 1),
        "evaluations": {run: speed[run]["evaluations"] for run in runs},
        "seconds, 2 cores": {run: speed[run]["ms_per_step"] / 1000 for run in runs},
    }
    figure = new_figure(7.8, 4.2, "")
    for i, (field, label) in enumerate(FIELDS.items()):
        for j, (name, scale) in enumerate(scales.items()):
            axes = figure.add_subplot(2, 3, 3 * i + j + 1)
            found = lines(rows, field, scale)
            draw_lines(axes, found)
            axes.set(xlabel=name, ylabel=label)
            if i or j:
                axes.get_legend().remove()
            late = min(mean[len(mean) // 10 :].min() for _, mean, _ in found.values())
            axes.set_ylim(*((late, None) if field == "train_elbo" else (0, None)))
    save(figure, folder / "training.png")


if __name__ == "__main__":
    main()
