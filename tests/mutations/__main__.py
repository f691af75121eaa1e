"""Breaks the code in many small ways, one at a time, and sees whether a test notices.

    python tests/mutations [words of the mutations to run]
    python tests/mutations --changed [revision]

The second runs those whose file, test or row has changed since the revision, commits or not; by
default since the branch left origin/main, or else in the last commit.

Works on a copy of the repository in a temporary folder. Writes tests/MUTATIONS.md when all
mutations were run, and exits with 1 if one went unnoticed. Not part of the test run.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
HEADER = """\
# Mutations

Each line is one small error put into the code, and the first test that failed because of it.
Written by `python tests/mutations`, which makes the errors in a copy of the repository.

| file | error | caught by |
|---|---|---|
"""


class Mutation(NamedTuple):
    """``old``, which stands in the file exactly once, becomes ``new``; ``tests`` should fail.

    ``rows`` is the file that holds this row.
    """

    what: str
    file: str
    old: str
    new: str
    tests: str
    rows: Path

    @property
    def paths(self) -> set[Path]:
        """The files that decide whether the error is noticed, besides what these import."""
        test = ROOT / "tests" / self.tests.partition(" -k ")[0]
        return {(ROOT / "fsb" / self.file).resolve(), test, self.rows}


MUTATIONS = [
    Mutation(*row, path)
    for path in sorted(HERE.glob("[!_]*.py"))
    for row in importlib.import_module(path.stem).MUTATIONS
]


def copy_of_the_repository(folder):
    for name in ("fsb", "tests", "configs", "scripts", "experiments", "docs", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "Makefile"):
        shutil.copy(ROOT / name, folder)


def run_tests(folder, tests, output):
    """In a process of its own: pytest on the copy."""
    sys.stdout = sys.stderr = open(output, "w")  # noqa: SIM115  # pytest writes until the end
    os.chdir(folder)
    sys.path[:] = [str(folder), *(path for path in sys.path if path != str(ROOT / "tests"))]
    import fsb

    assert fsb.__file__ == str(folder / "fsb" / "__init__.py"), f"this is {fsb.__file__}"
    import jax
    import pytest

    jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    file, _, names = tests.partition(" -k ")
    arguments = [f"tests/{file}", "-x", "-q", "--tb=line", "-p", "no:cacheprovider", "-k", names]
    code = pytest.main(arguments)
    sys.stdout.flush()
    os._exit(code)


def first_failure(folder, tests):
    """The test that failed first; None if all passed."""
    output = folder / "output"
    process = multiprocessing.get_context("fork").Process(
        target=run_tests, args=(folder, tests, output)
    )
    process.start()
    process.join()
    text = output.read_text()
    # An ERROR without "::" is that of a file that cannot be collected, which proves nothing.
    found = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(\S+?::\S+?)(?:\[| - |$)", text, re.M)
    if process.exitcode == 0 or (process.exitcode == 1 and found):
        return found and found.group(1)
    raise SystemExit(text)


def git(*arguments):
    """The lines that git prints; None if it fails."""
    done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True)
    return done.stdout.splitlines() if done.returncode == 0 else None


def changed_files(revision):
    """The files that differ from a revision; "" stands for the default one."""
    if not revision:
        head, base = git("rev-parse", "HEAD"), git("merge-base", "HEAD", "origin/main")
        revision = base[0] if base and base != head else "HEAD~1"
    tracked, new = git("diff", "--name-only", revision), git("ls-files", "-o", "--exclude-standard")
    if tracked is None:
        raise SystemExit(f"no revision {revision}")
    return {ROOT / name for name in [*tracked, *new]}


def table_row(mutation, caught):
    """A row of tests/MUTATIONS.md."""
    cells = (mutation.file, mutation.what, str(caught))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("words", nargs="*", help="words in the file or name of the mutations")
    parser.add_argument("--changed", nargs="?", const="", metavar="REVISION")
    given = parser.parse_args(arguments)
    chosen = [m for m in MUTATIONS if all(word in f"{m.file} {m.what}" for word in given.words)]
    if not chosen:
        print(f"no mutation has the words {' '.join(given.words)}", file=sys.stderr)
        return True
    if given.changed is not None:
        files = changed_files(given.changed)
        chosen = [m for m in chosen if m.paths & files]
    unnoticed, lines = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        copy_of_the_repository(folder)
        for mutation in chosen:
            start, path = time.monotonic(), folder / "fsb" / mutation.file
            text = path.read_text()
            assert text.count(mutation.old) == 1, f"{mutation.what}: {text.count(mutation.old)}"
            path.write_text(text.replace(mutation.old, mutation.new))
            caught = first_failure(folder, mutation.tests)
            path.write_text(text)
            if caught is None:
                unnoticed.append(mutation.what)
            print(f"{time.monotonic() - start:5.1f} s  {mutation.what}: {caught}", flush=True)
            lines.append(table_row(mutation, caught))
    print(f"{len(chosen) - len(unnoticed)} of {len(chosen)} caught; not: {unnoticed}")
    if not unnoticed and len(chosen) == len(MUTATIONS):
        (ROOT / "tests" / "MUTATIONS.md").write_text(HEADER + "".join(lines))
    return bool(unnoticed)


if __name__ == "__main__":
    # Imported once, for all the processes that are forked from this one.
    os.environ.update(JAX_PLATFORMS="cpu", PYTHONDONTWRITEBYTECODE="1")
    for module in ("flax.linen", "optax", "pytest", "hypothesis", "scipy.stats", "hydra", "yaml"):
        importlib.import_module(module)
    sys.exit(main(sys.argv[1:]))
