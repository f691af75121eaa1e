"""Data sets of the user's own, by configuration."""

import numpy as np
import pytest
from PIL import Image
from test_prepared import prepare

import fsb.data
from fsb.cli.factory import build
from fsb.cli.program import preflight
from fsb.cli.schema import Train
from fsb.errors import FsbError

SPLITS = ("train", "valid", "test")


def splits(dataset):
    return [np.asarray(getattr(dataset, split)) for split in SPLITS]


def test_arrays_with_their_splits(tmp_path, images):
    made = [images(n, 6, 4, seed=n) for n in (5, 2, 3)]
    np.savez(tmp_path / "mine.npz", **dict(zip(SPLITS, made, strict=True)))
    overrides = ["data=arrays", f"data.file={tmp_path}/mine.npz", "batch_size=4"]
    (config,) = preflight("train", overrides, Train)
    for found, expected in zip(splits(build(config, "data")), made, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_without_a_valid_split_it_is_the_end_of_train(tmp_path, images):
    train, test = images(20, 6, 4, 3), images(4, 6, 4, 3, seed=1)
    np.savez(tmp_path / "mine.npz", train=train, test=test)
    for count, given in ((2, {}), (7, {"valid": 7})):
        found = splits(fsb.data.arrays(str(tmp_path / "mine.npz"), **given))
        for got, expected in zip(found, (train[:-count], train[-count:], test), strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (lambda x: x, lambda x: x),
        (lambda x: x > 99, lambda x: np.uint8(255) * (x > 99)),
        (lambda x: (x / 255).astype(np.float32), lambda x: x),
    ],
)
def test_one_array_is_divided_by_a_fixed_permutation(tmp_path, images, stored, expected):
    made = images(40, 3, 2)
    np.save(tmp_path / "mine.npy", stored(made))
    dataset = fsb.data.arrays(str(tmp_path / "mine.npy"), test=10, binarisation="threshold")
    found = splits(dataset)
    assert [len(part) for part in found] == [27, 3, 10]
    whole = np.concatenate([found[0], found[1], found[2]])
    assert sorted(x.tobytes() for x in whole) == sorted(x.tobytes() for x in expected(made))
    order = np.random.RandomState(0).permutation(40)
    np.testing.assert_array_equal(whole, expected(made)[order])


ZEROS = np.zeros((9, 4, 4), np.uint8)


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ({"train": ZEROS, "images": ZEROS}, {}, "has images, train; wanted are train, test"),
        ({"a": ZEROS + 2.0}, {}, r"floats out of \[0, 1\]"),
        ({"a": ZEROS + np.nan}, {}, r"floats out of \[0, 1\]"),
        ({"a": ZEROS.astype(int)}, {}, r"train is int64 \[7, 4, 4\], not uint8"),
        ({"a": ZEROS[:, 0]}, {}, r"train is uint8 \[7, 4\], not uint8 \[N, H, W\]"),
        ({"a": np.uint8(3)}, {}, "leaves none for train"),
        ({"a": ZEROS}, {"test": 9}, "data.test=9 of 9 images leaves none for train"),
        ({"a": ZEROS}, {"valid": 8}, "data.valid=8 of 8 images leaves none for train"),
        ({"a": np.array([{}])}, {}, "damaged, truncated or in another format"),
        ({}, {}, "has nothing"),
    ],
)
def test_arrays_that_are_refused(tmp_path, content, settings, message):
    np.savez(tmp_path / "mine.npz", **content)
    with pytest.raises(FsbError, match=message):
        fsb.data.arrays(str(tmp_path / "mine.npz"), **settings)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda home: fsb.data.arrays(), "data.file: give"),
        (lambda home: fsb.data.arrays(f"{home}/none.npz"), "no such .npz or .npy file"),
        (lambda home: fsb.data.images(), "data.folder: give"),
        (lambda home: fsb.data.images(f"{home}/none"), "there is no such folder"),
        (lambda home: fsb.data.images(str(home)), "has no .png, .jpg, .jpeg files"),
        (lambda home: fsb.data.tfds(), "give the name of a set"),
        (lambda home: fsb.data.tfds("../x"), "data.name=../x: give the name of a set"),
        (lambda home: fsb.data.tfds("kmnist", root=str(home)), "no kmnist, prepared by TFDS"),
    ],
)
def test_what_is_not_there_is_told(tmp_path, make, message):
    with pytest.raises(FsbError, match=message):
        make(tmp_path)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_a_folder_of_images(tmp_path, images):
    """The central square, by area; the files of the folders are sorted by their whole names."""
    made = images(4, 4, 10, 3)
    for split, numbers in {"train": (0, 1), "valid": (2,), "test": (3,)}.items():
        for number in numbers:
            save(tmp_path / split / f"b{number % 2}" / f"{number}.PNG", made[number])
    found = splits(fsb.data.images(str(tmp_path), size=2))
    squares = made[:, :, 3:7].reshape(4, 2, 2, 2, 2, 3).mean((2, 4))
    for got, expected in zip(found, np.split(squares, [2, 3]), strict=True):
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() <= 1
    grey = fsb.data.images(str(tmp_path), size=2, grey=True)
    assert grey.shape == (2, 2)
    luma = squares @ [0.299, 0.587, 0.114]
    assert np.abs(grey.train - luma[:2]).max() <= 2


def test_a_folder_without_splits_is_divided_and_notices_new_files(tmp_path, images):
    for number in range(12):
        save(tmp_path / f"{number}.png", np.full((3, 3), 20 * number, np.uint8))
    load = lambda: splits(fsb.data.images(str(tmp_path), size=1, grey=True, test=2, valid=3))
    assert [len(part) for part in load()] == [7, 3, 2]
    values = np.concatenate(load()).ravel()
    assert sorted(values) == [20 * number for number in range(12)]
    save(tmp_path / "new.jpg", np.full((3, 3), 7, np.uint8))
    assert len(np.concatenate(load())) == 13
    (tmp_path / "new.jpg").write_bytes(b"\xff\xd8 broken")
    with pytest.raises(FsbError, match=r"new.jpg: damaged, truncated"):
        load()


def test_a_set_that_tfds_has_prepared(tmp_path, images):
    train, test = images(12, 28, 28), images(3, 28, 28, seed=1)
    prepare(tmp_path, "toy", "1.0.0", {"train": train, "test": test})
    dataset = fsb.data.tfds("toy", root=str(tmp_path), valid=2)
    assert [len(part) for part in splits(dataset)] == [10, 2, 3]
    assert dataset.shape == (28, 28)
    whole = np.concatenate([dataset.train, dataset.valid])
    assert sorted(x.tobytes() for x in whole) == sorted(x.tobytes() for x in train)
    with pytest.raises(FsbError, match="other"):
        fsb.data.tfds("toy", root=str(tmp_path), valid=2, test="other")
