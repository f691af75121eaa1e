"""tensorflow-datasets without TensorFlow: reads prepared copies and downloads raw files."""

from __future__ import annotations

import json
import os
import re
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fsb.data.find import downloads
from fsb.data.raw import Raw
from fsb.data.readers import read_bytes, read_image, reading, require_file
from fsb.errors import FsbError

MOST_FEATURES = 2**20  # bytes of features.json
_REACH_SECONDS = 5.0


def prepared_reader(
    name: str,
    splits: Mapping[str, str] | None = None,
    convert: Callable[[np.ndarray], np.ndarray] = lambda images: images,
) -> Callable[[Path], Raw | None]:
    """A reader for the images of a TFDS data set, prepared as array_record or tfrecord.

    The images are in the fixed, shuffled order of TFDS, not that of the published files.

    Args:
      splits: maps our split names to those of TFDS.
      convert: applied to the images.
    """
    splits = splits or {"train": "train", "test": "test"}

    def read(folder: Path) -> Raw | None:
        home = newest_version(folder / name)
        if home is None:
            return None
        with reading(home):  # images of several sizes cannot be stacked
            images = {
                ours: np.stack([example["image"] for example in examples(home, theirs, "image")])
                for ours, theirs in splits.items()
            }
        flat = {key: x[..., 0] if x.shape[-1] == 1 else x for key, x in images.items()}
        stored = {key: convert(x) for key, x in flat.items()}
        return Raw(stored, str(home), notes="TFDS order", comparable=False)

    return read


def newest_version(folder: Path) -> Path | None:
    """The folder of the newest version prepared by TFDS in ``folder``, or None."""
    homes = [path.parent for path in folder.glob("*/dataset_info.json")]
    numbered = [home for home in homes if home.name.replace(".", "").isdigit()]
    return max(numbered, key=lambda home: [int(n) for n in home.name.split(".")], default=None)


def examples(home: Path, split: str, feature: str) -> Iterator[dict[str, Any]]:
    """The examples of a prepared split, with only ``feature`` decoded.

    Raises:
      FsbError: if files are damaged, the split is missing or incomplete, or features.json names
        classes of other libraries, which TFDS would import.
    """
    import tensorflow_datasets as tfds

    _require_known_features(home / "features.json")
    with reading(home):
        builder = tfds.builder_from_directory(home)
        info, features = builder.info.splits[split], builder.info.features
        # TFDS would decode an image of any format, some with other programs.
        encoded = [name for name in features if name == "image" or name != feature]
        skip = {name: tfds.decode.SkipDecoding() for name in encoded}
        seen = 0
        for record in _records(builder, info):
            example = features.deserialize_example_np(record, decoders=skip)
            if feature == "image":
                example["image"] = _pixels(example["image"], home, features["image"].shape)
            yield example
            seen += 1
        if seen != info.num_examples:
            raise EOFError(f"{seen} examples in {split}, not {info.num_examples}")


def _require_known_features(path: Path) -> None:
    """Refuses a name of a module or class that is not TFDS's own; raises FsbError."""

    def visit(value: Any) -> None:
        for item in value.values() if isinstance(value, dict) else value:
            if isinstance(item, dict | list):
                visit(item)
                continue
            named = isinstance(item, str) and re.fullmatch(r"\w+(\.\w+)+", item)
            if named and not item.startswith("tensorflow_datasets.core.features."):
                raise FsbError(f"{path}: names {item}, which is not a feature of TFDS")

    with reading(path):
        content = json.loads(read_bytes(path, MOST_FEATURES))
        visit([content])


def _pixels(content: bytes, home: Path, shape: Sequence[int | None]) -> np.ndarray:
    """The uint8 pixels [H, W, C] of an encoded image; C is 1 or 3."""
    return np.asarray(read_image(content or b"", home, ("PNG", "JPEG")))[..., : shape[-1]]


def _records(builder: Any, info: Any) -> Iterator[bytes]:
    """The serialised examples; tfds.data_source itself reads array_record only."""
    if builder.info.file_format.value == "array_record":
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        source = ArrayRecordDataSource([str(require_file(Path(f))) for f in info.filepaths])
        for at in range(0, len(source), 1000):
            yield from source.__getitems__(range(at, min(at + 1000, len(source))))
        return
    for file in info.filepaths:
        yield from tfrecords(Path(file))


def tfrecords(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file: each has a length, a crc, the bytes and a crc (not checked).

    Raises:
      FsbError: if the file ends within a record.
    """
    with reading(path), open(require_file(path), "rb") as file:
        size = path.stat().st_size
        while header := file.read(12):
            (length,) = struct.unpack("<Q", header[:8])
            record = file.read(min(length, size))
            if len(record) < length or len(file.read(4)) < 4:
                raise EOFError("it ends within a record")
            yield record


def fetch(name: str, files: Sequence[str]) -> Path:
    """Downloads the published ``files`` of a TFDS data set and returns their folder.

    TFDS knows their addresses and checksums, and verifies the checksums.

    Raises:
      FsbError: if the server does not answer within five seconds, or a download fails.
    """
    import tensorflow_datasets as tfds

    folder = downloads(name)
    known = tfds.builder(name, data_dir=str(folder)).url_infos
    chosen = {url: info for url, info in known.items() if url.rsplit("/", 1)[-1] in files}
    return _fetch(name, chosen, folder)


def _fetch(name: str, infos: Mapping[str, Any], folder: Path) -> Path:
    import tensorflow_datasets as tfds

    for url in infos:
        _reach(url)  # without a network, TFDS itself retries for minutes
    try:
        manager = tfds.download.DownloadManager(
            download_dir=folder, url_infos=dict(infos), force_checksums_validation=True
        )
        for url, path in manager.download({url: url for url in infos}).items():
            os.replace(path, folder / url.rsplit("/", 1)[-1])
    except Exception as error:  # TFDS, requests and urllib3 raise unrelated types
        reason = " ".join(str(error).split())
        raise FsbError(f"{name}: the download failed ({reason[:200]})") from error
    return folder


def _reach(url: str) -> None:
    """Checks that the server answers at all, through a proxy if the environment sets one.

    Raises:
      FsbError: if it does not answer.
    """
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    answers: list[str] = []

    def ask() -> None:
        try:
            urlopen(Request(url, method="HEAD"), timeout=_REACH_SECONDS).close()
            answers.append("")
        except HTTPError:
            answers.append("")  # an HTTP error is an answer
        except Exception as error:
            answers.append(str(error))

    # Name resolution has no timeout, so it must not block the main thread.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_REACH_SECONDS + 1)
    problem = answers[0] if answers else "no answer"
    if problem:
        raise FsbError(f"cannot download {url}: {problem}; is there a network?")
