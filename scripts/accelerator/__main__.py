"""Everything that the project wants of an accelerator, in pieces of minutes: docs/accelerator.md.

Timings are made once; trainings go on in turn, each for so many seconds, until they are done.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from compare import compare

import fsb.data
from accelerator import pieces, run
from accelerator.plan import Program, Timing, Training
from accelerator.timings import time_steps
from accelerator.trainings import PLAN
from fsb.data.find import Missing
from fsb.errors import FsbError, first_line, unknown
from fsb.runtime.xla import compilation_cache
from fsb.storage.atomic import write_json_atomic
from fsb.storage.metrics_file import MetricsFile
from fsb.storage.provenance import provenance

ROOT = Path(__file__).resolve().parents[2]
LEAST = 20.0
"""Seconds below which no item is begun: starting takes them."""

Item = Timing | Training | Program


class Work:
    """The items, their records below ``home/experiments`` and runs below ``home/runs``."""

    def __init__(self, home: Path, miniature: bool):
        self.home, self.miniature = home, miniature
        self.compiled = jax.config.jax_compilation_cache_dir or str(home / "runs/accelerator/jax")
        self.lacking: dict[str, bool] = {}

    def experiment(self, item: Item) -> Path:
        return self.home / "experiments" / item.into

    def run_folder(self, item: Training) -> Path:
        return self.home / "runs/accelerator" / item.into / item.name

    def record(self, item: Item) -> dict[str, Any]:
        path = self.experiment(item) / f"{item.name}.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def missing(self, item: Item) -> str:
        """The name of the data that are not there."""
        on_digits = self.miniature and isinstance(item, Training)
        name = "" if isinstance(item, Timing) or on_digits else item.data
        if name and name not in self.lacking:
            try:
                getattr(fsb.data, name)()
                self.lacking[name] = False
            except Missing:
                self.lacking[name] = True
        return name if self.lacking.get(name) else ""

    def finished(self, item: Item) -> str:
        """What there is of a finished item; "" if it is not."""
        record = self.record(item)
        if isinstance(item, Training):
            return pieces.finished(self.run_folder(item))
        if not record.get("rows"):
            return ""
        return f"recorded {record['date'][:10]}, {record['device']}"

    def left(self, item: Item) -> float:
        """Estimated seconds."""
        if not isinstance(item, Training):
            return item.seconds
        rows = pieces.rows(self.run_folder(item))
        speed = rows[0].get("steps_per_second", item.speed)
        return (item.steps - rows[0]["step"]) / speed

    def state(self, item: Item) -> str:
        """In words, for the plan."""
        if done := self.finished(item):
            return done
        if name := self.missing(item):
            return f"needs data: {name}"
        told = [f"failed: {error}"] if (error := self.record(item).get("error")) else []
        if isinstance(item, Training) and (at := pieces.step(self.run_folder(item))):
            told.append(f"at step {at}")
        return ", ".join(told)

    def command(self, item: Item) -> str:
        if isinstance(item, Timing):
            return f"scripts/accelerator.sh --only {item.name}"
        if isinstance(item, Program):
            return f"python {self.line(item, Path('experiments'))}"
        return pieces.command(item, self.run_folder(item).relative_to(self.home))

    def line(self, item: Program, experiments: Path) -> str:
        """The program and its arguments."""
        words = item.small if self.miniature else item.words
        return f"experiments/{item.into}/{words} --out {experiments / item.into / item.name}"

    def make(self, item: Item, seconds: float) -> None:
        """Runs an item, for so many seconds if it is a training, and writes the record."""
        begun, rows, error = time.monotonic(), [], None
        try:
            if isinstance(item, Timing):
                rows = time_steps(item, self.miniature)
            elif isinstance(item, Program):
                pieces.run_program(ROOT, self.line(item, self.home / "experiments"))
                rows = [{"out": str(self.experiment(item) / item.name)}]
            else:
                folder = self.run_folder(item)
                pieces.train(item, folder, seconds, self.compiled, self.miniature)
        except Exception as failure:
            error = first_line(failure)
        finally:
            if isinstance(item, Training) and self.run_folder(item).exists():
                rows = pieces.rows(self.run_folder(item))
            if rows or error:
                self.write(item, rows, error, time.monotonic() - begun)

    def write(self, item: Item, rows: list, error: str | None, seconds: float) -> None:
        """The record of an item as JSON, and a line for each of its measurements."""
        folder = self.experiment(item)
        folder.mkdir(parents=True, exist_ok=True)
        date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        origin = {"date": date, **provenance(), "seconds": seconds}
        told = {"what": item.what, "command": self.command(item), "miniature": self.miniature}
        write_json_atomic(
            folder / f"{item.name}.json", told | origin | {"error": error, "rows": rows}
        )
        versions = ", ".join(f"{name} {number}" for name, number in origin["versions"].items())
        table = MetricsFile(folder / "measurements.csv")
        for row in rows or [{"error": error}]:
            table.append({"item": item.name, **row, **origin, "versions": versions})


def table(work: Work, items: Sequence[Item]) -> str:
    """The plan as text."""
    lines = [f"{'':3} {'item':26} {'about':>8}  {'state':32} {'what':66} command"]
    total = 0.0
    for number, item in enumerate(items, start=1):
        state, seconds = work.state(item), 0.0 if work.finished(item) else work.left(item)
        total += seconds
        about = f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
        row = f"{number:3} {item.name:26} {about:>8}  {state:32} {item.what:66}"
        lines.append(f"{row} {work.command(item)}")
    lines.append(f"{'':30} {total / 60:5.0f} min  in all; estimates from assumed speeds")
    return "\n".join(lines)


def go(work: Work, items: Sequence[Item], seconds: float, obey: Callable[[], None]) -> None:
    """Makes one item after the other, and again those that are not done, until time is over.

    ``obey`` is called after each, and may end it all.
    """
    end = time.monotonic() + seconds
    todo = [item for item in items if not work.finished(item)]
    while todo:
        for item in list(todo):
            left = end - time.monotonic()
            if left < LEAST:
                print(f"time is over; not done: {', '.join(i.name for i in todo)}")
                return
            if (name := work.missing(item)) or (
                not isinstance(item, Training) and item.seconds > left
            ):
                print(f"{item.name}: " + (f"needs data: {name}" if name else "no time left for it"))
                todo.remove(item)
                continue
            print(f"{item.name}: {item.what}", flush=True)
            work.make(item, min(left - LEAST / 2, getattr(item, "piece", math.inf)))
            obey()
            error = work.record(item).get("error")
            if error:
                print(f"{item.name}: failed: {error}")
            if error or work.finished(item):
                todo.remove(item)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("accelerator.sh", description=__doc__.splitlines()[0])
    parser.add_argument("minutes", nargs="?", type=float, default=math.inf, help="default: no end")
    parser.add_argument("--plan", action="store_true", help="only print what there is to do")
    parser.add_argument("--miniature", action="store_true", help="all of it, tiny, on any machine")
    parser.add_argument("--out", type=Path, default=ROOT, help="holds experiments/ and runs/")
    parser.add_argument("--only", nargs="+", default=[], metavar="ITEM")
    args = parser.parse_args(argv)
    names = [item.name for item in PLAN]
    for name in args.only:
        if name not in names:
            raise unknown("--only", name, names)
    if args.miniature and args.out == ROOT:
        raise FsbError("--miniature: give --out=FOLDER, for its numbers mean nothing")
    items = [item for item in PLAN if not args.only or item.name in args.only]
    work = Work(args.out.absolute(), args.miniature)
    if args.plan:
        print(table(work, items))
        return 0
    compilation_cache(work.compiled)
    print(provenance())
    with pieces.signals() as obey:
        go(work, items, 60 * args.minutes, obey)
    for folder in {work.run_folder(item).parent for item in items if isinstance(item, Training)}:
        if list(folder.rglob("metrics.csv")):
            compare(folder, work.home / "experiments" / folder.name, "", unfinished=True)
    return 0


if __name__ == "__main__":
    run(main)
