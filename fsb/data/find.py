"""Where the files of a data set are looked for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from fsb.errors import FsbError


class Missing(FsbError):
    """The files of a data set are in none of the places where they were looked for."""


def cache_home() -> Path:
    """Where fsb keeps what it prepared: ``$FSB_CACHE``, else ``~/.cache/fsb``."""
    return Path(os.environ.get("FSB_CACHE") or "~/.cache/fsb").expanduser()


def downloads(name: str) -> Path:
    """The folder that holds the raw files which fsb downloaded for one data set."""
    return cache_home() / "downloads" / name


def folders(root: str | None, name: str, system: Sequence[str] = ()) -> list[Path]:
    """The folders to look in, first one first.

    ``root`` alone where it is given. Else ``$FSB_DATA``, the ``system`` folders that packages
    install to, the TFDS folder (``$TFDS_DATA_DIR`` or ``~/tensorflow_datasets``), and what was
    downloaded before. Raises ``FsbError`` where ``root`` or ``$FSB_DATA`` does not exist.
    """
    if root is not None:
        return [_existing(root, "data.root")]
    named = os.environ.get("FSB_DATA")
    prepared = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return [
        *([_existing(named, "FSB_DATA")] if named else []),
        *(Path(folder).expanduser() for folder in (*system, prepared)),
        downloads(name),
    ]


def _existing(folder: str, who: str) -> Path:
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise FsbError(f"{who}={folder}: there is no such folder")
    return path


def locate(names: Sequence[str], folder: Path, places: Iterable[str]) -> list[Path] | None:
    """The files ``names`` in the first of ``folder/place`` that has them all, gzipped or not."""
    for place in places:
        here = [_present(folder / place / name) for name in names]
        if all(here):
            return [path for path in here if path]
    return None


def _present(path: Path) -> Path | None:
    both = (path, path.with_name(path.name + ".gz"))
    return next((candidate for candidate in both if candidate.is_file()), None)


def missing(name: str, wanted: str, where: Sequence[Path], can_download: bool) -> Missing:
    """The error that says what was looked for, where, and what to do."""
    places = ", ".join(map(str, where))
    network = " or data.download=true" if can_download else ""
    return Missing(f"{name}: no {wanted} in {places}; give data.root=FOLDER, set FSB_DATA{network}")
