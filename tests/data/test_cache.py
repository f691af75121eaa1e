import logging
import os
import time

import numpy as np
import pytest

from fsb.data.cache import cached, open_cache
from fsb.data.find import Missing
from fsb.data.raw import Raw
from fsb.errors import FsbError


@pytest.fixture
def raw(images):
    splits = {
        name: images(n, 4, 4, seed=n) for name, n in (("train", 9), ("valid", 3), ("test", 2))
    }
    return Raw(splits, "somewhere", verified=True, notes="a note")


def absent():
    raise Missing("no files")


def test_what_was_written_is_opened_without_the_sources(raw):
    first = cached("toy", {"size": 4}, None, lambda: raw)
    again = cached("toy", {"size": 4}, None, absent)
    assert again.folder == first.folder
    assert again.meta["source"] == "somewhere"
    assert (again.meta["verified"], again.meta["notes"]) == (True, "a note")
    for split, images in raw.splits.items():
        np.testing.assert_array_equal(again.splits[split], images)
        assert isinstance(again.splits[split], np.memmap)
        assert not again.splits[split].flags.writeable
    assert [path.name for path in first.folder.parent.iterdir()] == [first.folder.name]


def test_arguments_and_root_have_caches_of_their_own(raw, tmp_path):
    folders = {
        cached("toy", arguments, root, lambda: raw).folder
        for arguments, root in (({}, None), ({"size": 4}, None), ({}, str(tmp_path)))
    }
    assert len(folders) == 3


def test_without_files_a_cache_made_with_a_root_serves(raw, tmp_path):
    made = cached("toy", {}, str(tmp_path), lambda: raw)
    assert cached("toy", {}, None, absent).folder == made.folder
    with pytest.raises(Missing):
        cached("toy", {}, str(tmp_path / "other"), absent)
    with pytest.raises(Missing):
        cached("toy", {"size": 1}, None, absent)


def test_the_newest_of_several_roots_serves(raw, tmp_path):
    roots = [tmp_path / name for name in ("first", "second", "third")]
    made = [cached("toy", {}, str(root), lambda: raw).folder for root in roots]
    for time_of, folder in zip((1, 3, 2), made, strict=True):
        os.utime(folder, (time_of, time_of))
    assert cached("toy", {}, None, absent).folder == made[1]


def test_a_source_that_changed_is_read_again(raw, tmp_path, caplog):
    source = tmp_path / "source"
    source.write_text("first")
    cached("toy", {}, None, lambda: raw._replace(files=(source,)))
    cached("toy", {}, None, absent)  # as it was
    source.write_text("another")
    other = raw._replace(splits={name: 255 - x for name, x in raw.splits.items()}, files=(source,))
    with caplog.at_level(logging.WARNING):
        again = cached("toy", {}, None, lambda: other)
    assert f"{source} has changed" in caplog.text
    np.testing.assert_array_equal(again.splits["train"], 255 - raw.splits["train"])
    source.unlink()
    np.testing.assert_array_equal(
        cached("toy", {}, None, absent).splits["test"], again.splits["test"]
    )


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "train.npy": flip,
    "valid.npy": lambda path: os.truncate(path, path.stat().st_size - 5),
    "test.npy": lambda path: path.unlink(),
    "meta.json": lambda path: path.write_text('{"splits": {"train": 3}}'),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_and_mended(name, raw, caplog):
    folder = cached("toy", {}, None, lambda: raw).folder
    DAMAGE[name](folder / name)
    named = "train.npy" if name == "meta.json" else name  # found where the first split is read
    with pytest.raises(FsbError, match=named) as error:
        open_cache(folder)
    assert "\n" not in str(error.value)
    with pytest.raises(FsbError, match=f"{named}.*cannot be prepared again: no files"):
        cached("toy", {}, None, absent)
    with caplog.at_level(logging.WARNING):
        again = cached("toy", {}, None, lambda: raw)
    assert named in caplog.text
    np.testing.assert_array_equal(again.splits["train"], raw.splits["train"])


def test_an_interrupted_write_leaves_nothing(raw, monkeypatch, tmp_path):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cached("toy", {}, None, lambda: raw)
    assert list((tmp_path / "cache" / "data").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_one_line(raw, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FSB_CACHE", str(tmp_path / "file"))
    with pytest.raises(FsbError, match=r"cannot write the cache.*FSB_CACHE"):
        cached("toy", {}, None, lambda: raw)


@pytest.mark.slow
def test_opening_60000_images_takes_less_than_a_second(images):
    splits = {name: images(20000, 28, 28) for name in ("train", "valid", "test")}
    cached("toy", {}, None, lambda: Raw(splits, ""))
    start = time.perf_counter()
    cached("toy", {}, None, absent)
    assert time.perf_counter() - start < 1
