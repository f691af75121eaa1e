"""Reading a pickle of numpy arrays without letting it run anything.

A pickle names the callables it wants called. Here every name but a handful is refused, and the
handful are the stand-ins below: numpy's own unpickling is never reached, for a forged dtype or
array state can corrupt memory there.
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
    """The content of a pickle made of numpy arrays, lists, dicts, strings and numbers.

    Raises ``FsbError`` where the pickle names anything else, or is damaged.
    """
    with reading(path), open(require_file(path), "rb") as file:
        # latin1 keeps the bytes of arrays that Python 2 wrote.
        unpickler = _Restricted(file, encoding="latin1")
        unpickler.path = path
        return _finished(unpickler.load())


class _Dtype:
    """Stands for numpy.dtype: plain numbers and booleans only."""

    def __init__(self, kind: str, *_: Any):
        self.value = np.dtype(str(kind))
        if self.value.kind not in "biuf":
            raise pickle.UnpicklingError(f"an array of {kind!r} is not allowed")

    def __setstate__(self, state: tuple) -> None:
        self.value = self.value.newbyteorder(state[1] if state[1] in "<>" else "=")


class _Array:
    """Stands for an array while its state arrives."""

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
                f"{self.path}: refused, for it asks to call {module}.{name}; only numpy arrays, "
                "lists, dicts, strings and numbers are read"
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
