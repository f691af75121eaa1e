"""The prepared copy of a data set: one memory-mapped .npy per split, verified when opened."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fsb.data.find import Missing, cache_home
from fsb.data.raw import Raw
from fsb.errors import FsbError

SPLITS = ("train", "valid", "test")
_LAYOUT = 2  # raise it when the meaning of the stored bytes changes

log = logging.getLogger(__name__)


class Opened(NamedTuple):
    """A cache that has been opened and verified.

    splits: name -> read-only, memory-mapped uint8 array.
    meta: the contents of meta.json.
    """

    splits: dict[str, np.ndarray]
    meta: dict[str, Any]
    folder: Path


def cached(
    name: str, arguments: Mapping[str, Any], root: str | None, read: Callable[[], Raw]
) -> Opened:
    """Opens the cache of a data set, writing it first from ``read()`` if there is none.

    ``arguments`` are those that change the stored bytes; together with ``root`` they determine the
    folder. A damaged cache is rebuilt with a warning. Without ``root``, if ``read`` finds no files,
    the newest cache made with any ``root`` is used.

    Raises:
      FsbError: if ``read`` raises it, if the cache is damaged and cannot be rebuilt, or if it
        cannot be written.
    """
    folder = _folder(name, arguments, root)
    damage = None
    if folder.exists():
        try:
            opened = open_cache(folder)
            changed = _changed(opened.meta)
            if not changed:
                return opened
            log.warning("%s has changed; preparing %s again", changed, name)
        except FsbError as error:
            damage = error
            log.warning("%s; preparing it again", error)
    try:
        raw = read()
    except Missing as error:
        others = list(folder.parent.glob(folder.name + "-*"))
        if damage:
            raise FsbError(f"{damage}, and it cannot be prepared again: {error}") from error
        if root is None and others:
            return open_cache(max(others, key=lambda other: other.stat().st_mtime))
        raise
    _write(folder, raw, {"name": name, "arguments": dict(arguments), "root": root})
    return open_cache(folder)


def _stamp(path: str | Path) -> list[int] | None:
    """What changes when a file is written or replaced; None if it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _changed(meta: Mapping[str, Any]) -> str | None:
    """The first source file that is there and is not what the copy was made of."""
    for path, stamp in meta["files"].items():
        if _stamp(path) not in (None, stamp):
            return path
    return None


def _folder(name: str, arguments: Mapping[str, Any], root: str | None) -> Path:
    fingerprint = _short(json.dumps([_LAYOUT, name, dict(arguments)], sort_keys=True))
    place = "" if root is None else "-" + _short(str(Path(root).expanduser().resolve()))
    return cache_home() / "data" / f"{name}-{fingerprint}{place}"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def open_cache(folder: Path) -> Opened:
    """Opens a cache folder, checking the header, shape and crc32 of every split against meta.json.

    Raises:
      FsbError: if a file is damaged; the error names it.
    """
    file = folder / "meta.json"
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
        splits = {}
        for split in SPLITS:
            file = folder / f"{split}.npy"
            expected = meta["splits"][split]
            images = np.load(file, mmap_mode="r", allow_pickle=False)
            if list(images.shape) != expected["shape"] or images.dtype != np.uint8:
                raise ValueError(f"{images.dtype} {images.shape}")
            if zlib.crc32(images.data) != expected["crc32"]:
                raise ValueError("its crc32 differs")
            splits[split] = images
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise FsbError(f"{file}: damaged cache ({reason})") from error
    return Opened(splits, meta, folder)


def _write(folder: Path, raw: Raw, meta: dict[str, Any]) -> None:
    # Written to a temporary folder and renamed, so that a cache is always complete.
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        temporary.mkdir(parents=True)
        entries = {}
        for split in SPLITS:
            images = np.ascontiguousarray(raw.splits[split])
            with open(temporary / f"{split}.npy", "wb") as file:
                np.save(file, images, allow_pickle=False)
                os.fsync(file.fileno())
            entries[split] = {"shape": list(images.shape), "crc32": zlib.crc32(images.data)}
        about = {"source": raw.source, "verified": raw.verified, "notes": raw.notes}
        about["files"] = {str(path.absolute()): _stamp(path) for path in raw.files}
        text = json.dumps({**meta, **about, "splits": entries}, indent=2)
        (temporary / "meta.json").write_text(text, encoding="utf-8")
        _publish(temporary, folder)
    except OSError as error:
        reason = error.strerror or error
        raise FsbError(
            f"cannot write the cache {folder} ({reason}); set FSB_CACHE to a folder you can write"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _publish(temporary: Path, folder: Path) -> None:
    try:
        os.replace(temporary, folder)
    except OSError:  # the folder exists: damaged, or written by another process
        try:
            stale = _changed(open_cache(folder).meta)
        except FsbError:
            stale = "damaged"
        if stale:
            shutil.rmtree(folder)
            os.replace(temporary, folder)
