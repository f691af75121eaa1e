import gzip

import numpy as np
import pytest
from PIL import Image

from fsb.data.raw import Raw, carve, check, digest
from fsb.data.readers import read_idx, read_image, read_npz, reading
from fsb.errors import FsbError


def test_idx_round_trip(tmp_path, images, write_idx):
    x = images(7, 5, 4)
    for name in ("x", "x.gz"):
        write_idx(tmp_path / name, x)
        np.testing.assert_array_equal(read_idx(tmp_path / name), x)


@pytest.mark.parametrize("cut", [0, 10, 17, -3])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_idx_is_named(tmp_path, images, write_idx, cut, zipped):
    path = tmp_path / ("x.gz" if zipped else "x")
    write_idx(path, images(7, 5, 4))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(FsbError, match=str(path)) as error:
        read_idx(path)
    assert "\n" not in str(error.value)


def test_labels_are_not_images(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(bytes([0, 0, 8, 1]) + bytes(20))
    with pytest.raises(FsbError, match=r"not an idx file of images"):
        read_idx(path)


def test_flipped_bits_in_a_gzip_are_found(tmp_path):
    path = tmp_path / "x.gz"
    content = bytearray(gzip.compress(bytes(range(256)) * 40))
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(FsbError, match=r"x.gz"):
        read_idx(path)


def test_an_npz_may_not_hold_a_pickle(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x=np.array([print], dtype=object))
    with pytest.raises(FsbError, match=r"x.npz"):
        read_npz(path)
    path.write_bytes(b"PK\3\4 broken")
    with pytest.raises(FsbError, match=r"x.npz"):
        read_npz(path)


def test_a_message_of_several_lines_becomes_one():
    with pytest.raises(FsbError, match=r"^file: .*one two") as error, reading("file"):
        raise ValueError("one\n  two")
    assert "\n" not in str(error.value)


def test_check(images):
    x = images(6, 2, 2)
    raw = Raw({"train": x}, "here")
    published = {"train": (6, digest(x))}
    assert check(raw, published, verify=True).verified
    changed = raw._replace(splits={"train": x[::-1]})
    with pytest.raises(FsbError, match=r"here: .*sha256.*data.verify=false"):
        check(changed, published, verify=True)
    assert not check(changed, published, verify=False).verified
    other_order = changed._replace(comparable=False)
    assert not check(other_order, published, verify=True).verified
    with pytest.raises(FsbError, match=r"5 images where 6"):
        check(other_order._replace(splits={"train": x[:5]}), published, verify=True)


def test_carve_takes_the_last(images):
    x = images(6, 2, 2)
    splits = carve(Raw({"train": x, "test": x}, ""), 2).splits
    np.testing.assert_array_equal(splits["train"], x[:4])
    np.testing.assert_array_equal(splits["valid"], x[4:])
    for wrong in (0, 6, -1):
        with pytest.raises(FsbError, match=r"data.valid"):
            carve(Raw({"train": x}, ""), wrong)


def test_images_of_other_formats_are_refused(tmp_path):
    """Pillow gives PostScript to Ghostscript, for one."""
    path = tmp_path / "test.webp"
    for form in ("PNG", "GIF", "EPS"):
        Image.new("RGB", (4, 4)).save(path, form)
        with pytest.raises(FsbError, match=f"{path}: .*cannot identify image file"):
            read_image(path, path, ("WEBP", "JPEG"))
    Image.new("RGB", (4, 4)).save(path, "WEBP")
    assert read_image(path, path, ("WEBP", "JPEG")).size == (4, 4)
