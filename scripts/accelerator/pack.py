"""What a machine with jax, flax, optax and orbax but without a network lacks, to be carried there.

FOLDER/1, FOLDER/2, ... hold at most 66 MB each: wheels for Python 3.12 on x86-64 Linux with that
of fsb, the commit, and the files of data sets, which are looked for in $FSB_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fsb.data
from accelerator import run
from accelerator.plan import Training
from accelerator.trainings import PLAN
from fsb.errors import FsbError
from fsb.storage.atomic import write_text_atomic
from fsb.storage.provenance import git_commit

ROOT = Path(__file__).resolve().parents[2]
MOST = 66_000_000  # below 64 MiB
NEEDED = ("hydra-core>=1.3.8,<1.4", "omegaconf>=2.3.1,<2.4", "pydantic>=2.11,<3", "jaxtyping>=0.3")
SOURCE_ONLY = "antlr4-python3-runtime==4.9.3"  # of hydra; there is no wheel of it
TARGET = ("--python-version=3.12", "--platform=manylinux2014_x86_64", "--only-binary=:all:")
SETS = tuple(dict.fromkeys(item.data for item in PLAN if isinstance(item, Training)))


def wheels(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    here = str(folder)
    subprocess.run([*pip, "wheel", "--no-deps", "-w", here, SOURCE_ONLY, str(ROOT)], check=True)
    subprocess.run([*pip, "download", *TARGET, "-f", here, "-d", here, *NEEDED], check=True)


def files(name: str, home: Path) -> list[Path]:
    """The files below ``home`` that a data set is made of; they are checked on the way.

    Raises:
      FsbError: if it is not there, or elsewhere.
    """
    if name not in SETS:
        raise FsbError(f"{name}: the plan needs only {', '.join(SETS)}")
    opened = getattr(fsb.data, name)(root=str(home))
    source = Path(opened.source)
    found = json.loads((opened.cache / "meta.json").read_text())["files"] or [source]
    if source.is_dir() and found == [source]:
        found = sorted(path for path in source.rglob("*") if path.is_file())
    return [Path(path).relative_to(home) for path in found]


def pack(folder: Path, names: list[str]) -> None:
    home = Path(os.environ.get("FSB_DATA") or ".").absolute()
    sets = [files(name, home) for name in names]
    first = folder / "1"
    (first / "wheels").mkdir(parents=True)
    wheels(first / "wheels")
    write_text_atomic(first / "commit", f"{git_commit()}\n")
    number, size = 1, sum(path.stat().st_size for path in first.rglob("*.whl"))
    by_size = lambda found: sum((home / path).stat().st_size for path in found)
    for path in dict.fromkeys(path for found in sorted(sets, key=by_size) for path in found):
        more = (home / path).stat().st_size
        if size + more > MOST:
            number, size = number + 1, 0
        target = folder / str(number) / "data" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(home / path, target)
        size += more
    for part in sorted(folder.iterdir()):
        total = sum(path.stat().st_size for path in part.rglob("*") if path.is_file())
        print(f"{part}: {total / 1e6:.1f} MB")


def main() -> int:
    parser = argparse.ArgumentParser("accelerator.sh --pack", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a new one")
    parser.add_argument("data", nargs="*", help=f"default: {', '.join(SETS)}")
    args = parser.parse_args()
    if args.folder.exists():
        raise FsbError(f"{args.folder}: it is there already")
    pack(args.folder, args.data or [*SETS])
    return 0


if __name__ == "__main__":
    run(main)
