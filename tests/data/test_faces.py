import numpy as np
import pytest
from scipy.io import savemat

from fsb.data import faces
from fsb.errors import FsbError

SUBJECT = np.repeat([3, 7, 8, 9, 11], [4, 1, 5, 2, 3])


def save(folder, images):
    made = images(len(SUBJECT), 6, 4)
    np.savez(folder / "faces.npz", images=made, subject=SUBJECT)
    return made


def test_every_face_stands_below_the_average_of_its_person(tmp_path, images):
    made = save(tmp_path, images)
    dataset = faces(str(tmp_path))
    splits = [dataset.train, dataset.valid, dataset.test]
    assert sum(map(len, splits)) == 14  # the one of whom there is a single face is left out
    assert dataset.shape == (12, 4)
    found = {}
    for number, split in enumerate(splits):
        for pair in split:
            average, face = pair[:6], pair[6:]
            (index,) = np.flatnonzero((made == face).all((1, 2)))
            own = made[SUBJECT[index] == SUBJECT]
            np.testing.assert_array_equal(average, np.round(own.mean(0)))
            assert found.setdefault(SUBJECT[index], number) == number  # one split a person
    assert set(found) == {3, 8, 9, 11}
    assert set(found.values()) == {0, 1, 2}


def test_the_toronto_file_without_its_nobodies(tmp_path, images):
    made, subject = images(9, 6, 4), np.array([0, 0, -1, 1, 1, -1, 2, 2, -1])
    savemat(tmp_path / "TFD_48x48.mat", {"images": made, "labs_id": subject[:, None]})
    dataset = faces(str(tmp_path))
    below = np.concatenate([dataset.train, dataset.valid, dataset.test])[:, 6:]
    assert sorted(x.tobytes() for x in below) == sorted(x.tobytes() for x in made[subject >= 0])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((4, 6, 4), np.uint8), "subject": [0, 0, 1, 1]}, "2 people"),
        ({"images": np.zeros((4, 6, 4)), "subject": [0, 0, 1, 1]}, "uint8"),
        ({"images": np.zeros((4, 6, 4), np.uint8), "subject": [0, 1]}, "one subject each"),
        ({"images": np.zeros((4, 6, 4), np.uint8)}, "subject"),
    ],
)
def test_what_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "faces.npz", **arrays)
    with pytest.raises(FsbError, match=message):
        faces(str(tmp_path))


def test_no_file(tmp_path):
    with pytest.raises(FsbError, match=r"TFD_48x48.mat"):
        faces(str(tmp_path))


def test_the_real_olivetti_faces(real):
    dataset = faces(real)
    assert [len(x) for x in (dataset.train, dataset.valid, dataset.test)] == [320, 40, 40]
    assert dataset.shape == (128, 64)
