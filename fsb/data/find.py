"""Finds the files of a data set."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from fsb.errors import FsbError


class Missing(FsbError):
    """Raised if the files of a data set are not found."""


def cache_home() -> Path:
    """The folder for prepared data: ``$FSB_CACHE``, else ``~/.cache/fsb``."""
    return Path(os.environ.get("FSB_CACHE") or "~/.cache/fsb").expanduser()


def downloads(name: str) -> Path:
    """The folder for the downloaded raw files of one data set."""
    return cache_home() / "downloads" / name


def folders(root: str | None, name: str, system: Sequence[str] = ()) -> list[Path]:
    """The folders to search, in order.

    Only ``root`` if it is given. Otherwise ``$FSB_DATA``, the ``system`` folders used by package
    managers, the TFDS folder (``$TFDS_DATA_DIR`` or ``~/tensorflow_datasets``), and earlier
    downloads.

    Raises:
      FsbError: if ``root`` or ``$FSB_DATA`` does not exist.
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
    """The files ``names``, gzipped or not, in the first ``folder/place`` that has them all."""
    for place in places:
        here = [_present(folder / place / name) for name in names]
        if all(here):
            return [path for path in here if path]
    return None


def _present(path: Path) -> Path | None:
    both = (path, path.with_name(path.name + ".gz"))
    return next((candidate for candidate in both if candidate.is_file()), None)


def missing(name: str, wanted: str, where: Sequence[Path], can_download: bool) -> Missing:
    """The error for missing files: what was looked for, where, and how to fix it."""
    places = ", ".join(map(str, where))
    network = ", or data.download=true" if can_download else ""
    return Missing(f"{name}: no {wanted} in {places}; set data.root=FOLDER or FSB_DATA{network}")
