import pytest

from fsb.prepare import main, prepare


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FSB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.delenv("FSB_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_prepare_says_what_there_is(capsys):
    main(["data=digits"])
    out = capsys.readouterr().out
    assert "train 1437, valid 180, test 180; 8 x 8, uint8" in out
    assert "checksum  verified" in out
    assert "opens in" in out


def test_prepare_writes_the_cache_once(tmp_path):
    import struct

    import numpy as np

    from fsb.data import mnist

    for name in ("train", "t10k"):
        header = struct.pack(">IIII", 0x803, 9, 28, 28)
        content = np.arange(9 * 784, dtype=np.uint32).astype(np.uint8).tobytes()
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(header + content)
    report = prepare(lambda: mnist(str(tmp_path), valid=2, verify=False))
    assert report["checksum"].startswith("not verified")
    assert report["splits"].startswith("train 7, valid 2, test 9; 28 x 28")
    assert str(tmp_path / "cache" / "data") in report["cache"]
    assert float(report["opens in"].split()[0]) < 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data=mnst", "did you mean mnist"),
        ("data=mnist data.root=/no/such", "data.root=/no/such: there is no such folder"),
        ("data=mnist", "no train-images-idx3-ubyte"),
        ("data=mnist data.binarisation=dynamik", "did you mean dynamic"),
        ("data=mnist data.valdi=3", "did you mean valid"),
        ("data=miniimagenet data.size=big", "data.size"),
        ("data=cifar10 data.valid=0", "data.valid"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(override, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(override.split())
    error = capsys.readouterr().err.strip()
    assert exit_.value.code == 2
    assert message in error
    assert "\n" not in error
