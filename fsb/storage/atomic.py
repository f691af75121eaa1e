"""Atomic writes: a reader, or a killed run, sees the old file or the new one, never a mixture."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsb.errors import FsbError


def write_text_atomic(path: str | Path, text: str) -> None:
    """Writes ``text`` (UTF-8) to a temporary file beside ``path``, then renames it.

    Raises:
      FsbError: if the folder is missing or cannot be written.
    """
    path = Path(path)
    # The process id keeps two writers apart; the last one to finish replaces the whole file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise FsbError(f"cannot write {path}: {error.strerror or error}") from error


def write_json_atomic(path: str | Path, content: Mapping[str, Any]) -> None:
    """Writes ``content`` to ``path`` as indented JSON, atomically.

    Arrays become numbers or lists. Values that are not finite become null, since JSON has no NaN.

    Raises:
      FsbError: as ``write_text_atomic``.
    """
    text = json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    write_text_atomic(path, text + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if hasattr(value, "tolist"):  # numpy and jax arrays and scalars
        return _plain(value.tolist())
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value if isinstance(value, bool | int | float | None) else str(value)
