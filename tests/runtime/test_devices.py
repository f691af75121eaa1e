"""More devices and more processes change the speed, not the numbers."""

import jax
import numpy as np
import pytest

from fsb.errors import FsbError
from fsb.runtime import devices, processes
from fsb.storage.checkpoints import Checkpoints
from fsb.storage.leaves import named_leaves, sha256
from runs import TINY, assembled, finished, rows, state, tasks, train


def params(folder):
    """The parameters in the newest checkpoint, on the first device."""
    found, _ = Checkpoints(folder / "checkpoints").restore(assembled()[0].first_state())
    return jax.tree.map(np.asarray, found.params)


def assert_same_numbers(left, right):
    """Row for row and parameter for parameter, to the tolerance of summing in another order."""
    for ours, theirs in zip(rows(left), rows(right), strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert value == pytest.approx(theirs[name], rel=2e-4, abs=1e-5), name
    for a, b in zip(*(jax.tree.leaves(params(run)) for run in (left, right)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_layout():
    layout = devices.layout(4)
    assert layout.size == 4
    images = np.arange(24).reshape(8, 3)
    split, whole = layout.split(images), layout.replicate(images)
    np.testing.assert_array_equal(split, images)
    assert [shard.data.shape for shard in split.addressable_shards] == 4 * [(2, 3)]
    assert [shard.data.shape for shard in whole.addressable_shards] == 4 * [(8, 3)]
    gathered = jax.jit(layout.gather)(split)
    assert gathered.is_fully_replicated
    assert devices.layout().size == 8
    with pytest.raises(FsbError, match=r"^devices=9: only 8 available \(cpu\)$"):
        devices.layout(9)


def test_alone_nobody_is_asked():
    assert processes.largest(15) == 15
    assert processes.from_first(lambda: "a/b") == "a/b"
    processes.join(None, 1, 0)


@pytest.mark.slow
def test_eight_devices_give_the_numbers_of_one(tmp_path):
    many = train(tmp_path / "many", "devices=8")
    assert_same_numbers(many, finished())
    assert state(many, 10) != state(many, 20)


@pytest.mark.slow
def test_a_run_goes_on_with_other_devices(tmp_path):
    train(tmp_path / "run", "devices=8", max_steps=10)
    step_10 = state(tmp_path / "run")
    for count in (2, 1):
        first = assembled(f"devices={count}")[0].first_state()
        restored, _ = Checkpoints(tmp_path / "run" / "checkpoints").restore(first)
        assert sha256(named_leaves(restored)) == step_10[1]
        assert {len(leaf.devices()) for leaf in jax.tree.leaves(restored)} == {count}
    train(tmp_path / "run")
    assert state(tmp_path / "run", 10) == step_10
    assert_same_numbers(tmp_path / "run", finished())


def together(count, cluster, *arguments, **options):
    """Several processes as one run; their outputs."""
    processes = tasks(count, cluster, *arguments, **options)
    out = [process.communicate(timeout=400) for process in processes]
    assert [process.returncode for process in processes] == [0] * count, out
    return out


@pytest.mark.slow
def test_processes_give_the_numbers_of_one_and_write_one_folder(tmp_path):
    """Two tasks of SLURM, then four processes of Open MPI with two devices each."""
    first, second = together(2, "slurm", *TINY, "max_steps=10", cwd=tmp_path)
    # of the default name: each process has its own idea of what time it is
    (folder,) = (path.parent for path in tmp_path.glob("runs/*/*/config.yaml"))
    assert f"\n{folder}\n" in first[0]
    assert "digits" not in second[0]
    assert list(folder.parent.iterdir()) == [folder]
    assert {path.name for path in folder.iterdir()} == {p.name for p in finished().iterdir()}
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["10"]
    assert_same_numbers(folder, train(tmp_path / "short", max_steps=10))
    go_on = (f"resume={folder.relative_to(tmp_path)}", "max_steps=20")
    profile = ("profile=4", "steps_per_call=4")
    first, *_ = together(4, "mpi", *go_on, *profile, devices=2, cwd=tmp_path)
    assert f"\nprofile of steps 15 to 18: {folder}/profile; open it" in first[0]
    assert len([*folder.glob("profile/[0-3]/plugins/profile/*/*.xplane.pb")]) == 4
    assert_same_numbers(folder, finished())  # the checkpoint is read here on one device
