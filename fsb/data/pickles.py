"""Reads pickles of NumPy arrays without executing anything.

A pickle names the callables to call. All names but a few are refused, and those few are replaced by
the stand-ins below. NumPy's own unpickling is never used, as a forged dtype or array state can
corrupt memory there.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from fsb.data.readers import reading, require_file
from fsb.errors import FsbError


def load_arrays(path: Path) -> Any:
    """Loads a pickle made of NumPy arrays, lists, dicts, strings and numbers.

    Raises:
      FsbError: if the pickle names anything else, or is damaged.
    """
    with reading(path), open(require_file(path), "rb") as file:
        # latin1 keeps the bytes of arrays that Python 2 wrote.
        unpickler = _Restricted(file, encoding="latin1")
        unpickler.path = path
        return _finished(unpickler.load())


class _Dtype:
    """Stand-in for numpy.dtype; allows numbers and booleans only."""

    def __init__(self, kind: str, *_: Any):
        self.value = np.dtype(str(kind))
        if self.value.kind not in "biuf":
            raise pickle.UnpicklingError(f"an array of {kind!r} is not allowed")

    def __setstate__(self, state: tuple) -> None:
        self.value = self.value.newbyteorder(state[1] if state[1] in "<>" else "=")


class _Array:
    """Stand-in for an array until its state arrives."""

    def __init__(self, *_: Any):
        self.value = np.empty(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, content = state
        self.value = _frombuffer(content, dtype, shape, "F" if fortran else "C")


def _frombuffer(content: Any, dtype: _Dtype, shape: tuple, order: Any = "C") -> np.ndarray:
    raw = content.encode("latin1") if isinstance(content, str) else content
    return np.frombuffer(raw, dtype.value).reshape(shape, order=order)


def _scalar(dtype: _Dtype, content: Any) -> Any:
    return _frombuffer(content, dtype, ())[()]


def _encode(text: str, encoding: str = "latin1") -> bytes:
    return str(text).encode(encoding)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): None,  # only ever an argument of _reconstruct
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}


class _Restricted(pickle.Unpickler):
    path: Path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise FsbError(
                f"{self.path}: refused, as it would call {module}.{name}; only NumPy arrays, "
                "lists, dicts, strings and numbers are allowed"
            )
        return _ALLOWED[module, name]


def _finished(value: Any) -> Any:
    """``value`` with every stand-in replaced by its array."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {_finished(key): _finished(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finished(entry) for entry in value]
    return value
