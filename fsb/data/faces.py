"""Pairs of a person's average face and each of their faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fsb.constraints import Seed
from fsb.data.dataset import Dataset, files_reader, load
from fsb.data.preprocess import Binarisation
from fsb.data.raw import Raw
from fsb.data.readers import read_mat, read_npz, reading
from fsb.errors import FsbError

_PLACES = (".", "faces", "tfd", "TFD")
_MAT = ("TFD_48x48.mat", "TFD_96x96.mat")
_NPZ = ("faces.npz", "olivetti.npz")


def faces(
    root: str | None = None,
    binarisation: Binarisation = "dequantised",
    seed: Seed = 0,
    least: int = 2,
) -> Dataset:
    """Pairs of faces, uint8 [N, 2 H, W]: a person's average face above one of their faces.

    For ``model=structured``, which predicts the lower half from the upper: the multi-modal task of
    the structured prediction papers. People with fewer than ``least`` faces are left out. A fixed
    permutation assigns 80 % of the others to train, 10 % to valid and 10 % to test, at least one
    each; nobody is in two splits. The papers' own split is not published.

    Reads the Toronto Face Database, TFD_48x48.mat or TFD_96x96.mat (``images``, ``labs_id``, where
    -1 marks an unknown person), which is not public, or your own faces.npz with ``images`` uint8
    [N, H, W] and ``subject`` [N]; olivetti.npz has the Olivetti faces in that form.

    Raises:
      FsbError: if no files are found, they are damaged, or there are fewer than three people.
    """
    mats = [files_reader([name], _PLACES, _load_mat) for name in _MAT]
    npzs = [files_reader([name], _PLACES, _load_npz) for name in _NPZ]

    def paired(reader):
        def read(folder: Path) -> Raw | None:
            raw = reader(folder)
            return None if raw is None else _pairs(raw, least)

        return read

    return load(
        "faces",
        [paired(reader) for reader in (*mats, *npzs)],
        wanted=f"{', '.join(_MAT + _NPZ)}",
        root=root,
        binarisation=binarisation,
        seed=seed,
        verify=False,
        arguments={"least": least},
        can_download=False,
    )


def _load_npz(found: list[Path]) -> Raw:
    arrays = read_npz(found[0])
    with reading(found[0]):
        return _checked(arrays["images"], arrays["subject"], found[0])


def _load_mat(found: list[Path]) -> Raw:
    content = read_mat(found[0], ["images", "labs_id"])
    with reading(found[0]):
        subject = content["labs_id"].ravel()
        known = subject >= 0
        return _checked(content["images"][known], subject[known], found[0])


def _checked(images: np.ndarray, subject: np.ndarray, path: Path) -> Raw:
    if images.dtype != np.uint8 or images.ndim != 3 or subject.shape != images.shape[:1]:
        raise ValueError("images must be uint8 [N, H, W], with one subject each")
    return Raw({"images": images, "subject": subject}, str(path))


def _pairs(raw: Raw, least: int) -> Raw:
    images, subject = raw.splits["images"], raw.splits["subject"]
    persons, counts = np.unique(subject, return_counts=True)
    persons = np.random.RandomState(0).permutation(persons[counts >= least])
    if len(persons) < 3:
        raise FsbError(
            f"{raw.source}: {len(persons)} people have at least {least} faces; three are needed"
        )
    tenth = max(1, len(persons) // 10)
    parts = np.split(persons, [len(persons) - 2 * tenth, len(persons) - tenth])
    named = zip(("train", "valid", "test"), parts, strict=True)
    splits = {name: _stacked(images, subject, part) for name, part in named}
    return raw._replace(splits=splits)


def _stacked(images: np.ndarray, subject: np.ndarray, persons: np.ndarray) -> np.ndarray:
    """[N, 2 H, W]: each face of the given persons below that person's average."""
    pairs = []
    for person in persons:
        own = images[subject == person]
        average = np.round(own.mean(0)).astype(np.uint8)
        pairs.append(np.concatenate([np.broadcast_to(average, own.shape), own], axis=1))
    return np.concatenate(pairs)
