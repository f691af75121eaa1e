import csv
import io
import pickle
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from fsb.data import miniimagenet
from fsb.errors import FsbError

SPLITS = {"train": 4, "val": 1, "test": 2}  # classes
EACH = 20


@pytest.fixture
def classes():
    """split -> class -> uint8 [20, 84, 84, 3]; smooth pictures, so that JPEG keeps them."""
    rng, made, number = np.random.default_rng(0), {}, 0
    for split, count in SPLITS.items():
        made[split] = {}
        for _ in range(count):
            coarse = rng.integers(0, 256, (EACH, 3, 3, 3), dtype=np.uint8)
            made[split][f"n{number:08d}"] = coarse.repeat(28, 1).repeat(28, 2)
            number += 1
    return made


def write_csv(folder, classes):
    for split, members in classes.items():
        with open(folder / f"{split}.csv", "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["filename", "label"])
            rows.writerows(
                [f"{c}{i + 1:08d}.jpg", c] for c, x in members.items() for i in range(len(x))
            )


def write_pictures(classes, name):
    for members in classes.values():
        for c, x in members.items():
            for i, image in enumerate(x):
                path = name(c, i)
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(path)


def flat_folder(root, classes):
    write_csv(root, classes)
    write_pictures(classes, lambda c, i: root / "images" / f"{c}{i + 1:08d}.png")
    for path in (root / "images").iterdir():  # PNG bytes under the name the csv gives
        path.rename(path.with_suffix(".jpg"))


def imagenet_folder(root, classes):
    write_csv(root, classes)
    # ImageNet's numbers have gaps: the csv counts the files, by number and not by name.
    write_pictures(classes, lambda c, i: root / "train" / c / f"{c}_{i * 7 + 3}.png")


def split_folders(root, classes):
    for split, members in classes.items():
        write_pictures({split: members}, lambda c, i, s=split: root / s / c / f"{i:03d}.png")


def pickles(root, classes):
    for split, members in classes.items():
        where = {c: list(range(k * EACH, (k + 1) * EACH)) for k, c in enumerate(members)}
        content = {"image_data": np.concatenate(list(members.values())), "class_dict": where}
        (root / f"mini-imagenet-cache-{split}.pkl").write_bytes(pickle.dumps(content, protocol=2))


def packed(root, classes):
    jpeg, label, names, splits = [], [], [], []
    for split, members in classes.items():
        for c, x in members.items():
            for image in x:
                out = io.BytesIO()
                Image.fromarray(image).save(out, "PNG")
                jpeg.append(np.frombuffer(out.getvalue(), np.uint8))
                label.append(len(names))
            names.append(c)
            splits.append(split)
    np.savez(
        root / "miniimagenet84_subset.npz",
        jpeg=np.concatenate(jpeg),
        offsets=np.cumsum([0, *map(len, jpeg)]),
        label=np.array(label, np.uint8),
        wnid=np.array(names),
        official_split=np.array(splits),
    )


def zipped(root, classes):
    inside = root / "inside"
    inside.mkdir()
    flat_folder(inside, classes)
    with zipfile.ZipFile(root / "mini-imagenet.zip", "w") as archive:
        for path in sorted(inside.rglob("*.*")):
            archive.write(path, f"top/{path.relative_to(inside)}")
    shutil.rmtree(inside)


def tarred(root, classes):
    inside = root / "inside"
    inside.mkdir()
    pickles(inside, classes)
    with tarfile.open(root / "mini-imagenet.tar.gz", "w:gz") as archive:
        archive.add(inside, "anything")
    shutil.rmtree(inside)


FORMS = [flat_folder, imagenet_folder, split_folders, pickles, packed, zipped, tarred]


@pytest.mark.slow
@pytest.mark.parametrize("write", FORMS)
def test_every_form(tmp_path, classes, write):
    root = tmp_path / "root"
    root.mkdir()
    write(root, classes)
    dataset = miniimagenet(str(root), size=84, verify=False)
    for split, theirs in (("train", "train"), ("valid", "val"), ("test", "test")):
        expected = np.concatenate(list(classes[theirs].values()))
        np.testing.assert_array_equal(getattr(dataset, split), expected)
    assert dataset.notes == "a subset: 140 of 60000 images"
    assert dataset.preprocess.likelihood == "gaussian"


@pytest.mark.slow
def test_smaller_images_are_area_averages(tmp_path, classes):
    pickles(tmp_path, classes)
    dataset = miniimagenet(str(tmp_path), size=28, verify=False)
    full = np.concatenate(list(classes["train"].values()))
    average = full.reshape(-1, 28, 3, 28, 3, 3).mean((2, 4))
    np.testing.assert_allclose(dataset.train, average, atol=1)
    assert miniimagenet(str(tmp_path), verify=False).shape == (64, 64, 3)


def test_within_splits_each_training_class(tmp_path, classes):
    pickles(tmp_path, classes)
    dataset = miniimagenet(str(tmp_path), size=84, split="within", verify=False)
    for split, low, high in (("train", 0, 18), ("valid", 18, 19), ("test", 19, 20)):
        expected = np.concatenate([x[low:high] for x in classes["train"].values()])
        np.testing.assert_array_equal(getattr(dataset, split), expected)


def test_wrong_classes_are_refused(tmp_path, classes):
    pickles(tmp_path, classes)
    with pytest.raises(FsbError, match=r"not 64/16/20"):
        miniimagenet(str(tmp_path))


def damaged_picture(root, classes):
    flat_folder(root, classes)
    (root / "images" / "n0000000000000003.jpg").write_bytes(b"\xff\xd8\xff no picture")


def absent_picture(root, classes):
    flat_folder(root, classes)
    (root / "images" / "n0000000000000003.jpg").unlink()


def cut_zip(root, classes):
    zipped(root, classes)
    path = root / "mini-imagenet.zip"
    path.write_bytes(path.read_bytes()[:5000])


def strange_zip(root, classes):
    with zipfile.ZipFile(root / "mini-imagenet.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")


def strange_csv(root, classes):
    flat_folder(root, classes)
    (root / "val.csv").write_text("a,b\n1,2\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "message"),
    [
        (damaged_picture, r"n0000000000000003.jpg: damaged"),
        (absent_picture, r"no image n0000000000000003.jpg of class n00000000"),
        (cut_zip, r"mini-imagenet.zip: damaged"),
        (strange_zip, r"mini-imagenet.zip: holds no mini-ImageNet"),
        (strange_csv, r"val.csv: damaged"),
        (lambda root, classes: None, r"no miniimagenet84_subset.npz, mini-imagenet-cache"),
    ],
)
def test_mistakes_are_one_line(tmp_path, classes, write, message):
    write(tmp_path, classes)
    with pytest.raises(FsbError, match=message) as error:
        miniimagenet(str(tmp_path), verify=False)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_an_archive_writes_nothing_outside(tmp_path, classes):
    root = tmp_path / "a" / "b" / "root"
    root.mkdir(parents=True)
    zipped(root, classes)
    with zipfile.ZipFile(root / "mini-imagenet.zip", "a") as archive:
        archive.writestr("../../../../escaped.csv", "x")
        archive.writestr(f"{tmp_path}/absolute.csv", "x")
    miniimagenet(str(root), verify=False)
    assert not list(tmp_path.parent.rglob("escaped.csv"))
    assert not (tmp_path / "absolute.csv").exists()


@pytest.mark.parametrize(("key", "value"), [("split", "clases"), ("size", 0)])
def test_wrong_arguments(key, value):
    with pytest.raises(FsbError, match=rf"data.{key}"):
        miniimagenet(**{key: value})


@pytest.mark.slow
def test_tfds_builder_round_trip(tmp_path, classes, monkeypatch):
    import tensorflow_datasets as tfds

    from fsb.data.tfds_miniimagenet import MiniImagenet

    manual, home = tmp_path / "manual", tmp_path / "tfds"
    manual.mkdir()
    split_folders(manual, classes)
    builder = MiniImagenet(data_dir=str(home), file_format="array_record")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=str(manual))
    )
    source = tfds.data_source("mini_imagenet", split="validation", data_dir=str(home))
    assert len(source) == EACH
    assert source[0]["image"].shape == (84, 84, 3)
    dataset = miniimagenet(size=84, verify=False)  # found through TFDS_DATA_DIR
    assert dataset.source.endswith("mini_imagenet/1.0.0")
    ordered = lambda x: sorted(image.tobytes() for image in x)  # TFDS shuffles
    expected = np.concatenate(list(classes["train"].values()))
    assert ordered(dataset.train) == ordered(expected)


@pytest.mark.slow
def test_real_subset(real):
    dataset = miniimagenet(real)
    assert [len(x) for x in (dataset.train, dataset.valid, dataset.test)] == [6400, 1600, 2000]
    assert dataset.shape == (64, 64, 3)
    assert dataset.verified
    assert dataset.notes == "a subset: 10000 of 60000 images"
    within = miniimagenet(real, split="within")
    assert [len(x) for x in (within.train, within.valid, within.test)] == [5760, 320, 320]
    assert 100 < within.train.mean() < 130
