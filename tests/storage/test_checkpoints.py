"""A checkpoint comes back with the same bits, or its damage is found."""

import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fsb.errors import FsbError
from fsb.storage.checkpoints import Checkpoints
from fsb.storage.leaves import named_leaves, sha256


class Pair(NamedTuple):
    first: object
    second: object


def everything(seed=0):
    params = {"a": jnp.arange(6.0).reshape(2, 3) + seed, "b/c d": jnp.ones(4, jnp.bfloat16) / 3}
    return {
        "params": params,
        "optimizer": optax.adam(1e-3).init(params),
        "key": jax.random.key(seed),
        "keys": jax.random.split(jax.random.key(seed, impl="rbg"), (2, 3)),
        "pair": Pair(jnp.int32(7), (np.arange(3), np.float64(1 / 3))),
        "mask": jnp.array([True, False]),
        "nothing": (),
        "none": None,
        "empty": jnp.zeros((0, 3)),
        "empty_numpy": np.zeros((2, 0)),
        "step": 41 + seed,
        "rate": 0.1,
        "flag": True,
        "odd": jnp.array([jnp.nan, -0.0, jnp.inf, 1e-45]),
    }


def sha(state):
    return sha256(named_leaves(state))


def small(value):
    return {"w": jnp.full(3, float(value)), "n": jnp.int32(value)}


def filled(folder, metrics, **options):
    """Checkpoints of steps 1, 2, ... with these metrics."""
    checkpoints = Checkpoints(folder, **options)
    for step, metric in enumerate(metrics, start=1):
        checkpoints.save(step, small(step), metric)
    return checkpoints


@pytest.mark.slow
def test_every_kind_of_leaf_comes_back_bitwise(tmp_path):
    state = everything()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(5, state)
    restored, step = checkpoints.restore(everything(seed=3))
    assert step == 5
    assert sha(restored) == sha(state)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert [type(x) for x in jax.tree.leaves(restored)] == [
        np.ndarray if isinstance(x, np.generic) and not isinstance(x, float) else type(x)
        for x in jax.tree.leaves(state)
    ]
    checkpoints.close()


@pytest.mark.slow
def test_restores_onto_the_wanted_sharding(tmp_path):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.NamedSharding(mesh, jax.P("data"))
    everywhere = jax.NamedSharding(mesh, jax.P())
    state = {"x": jnp.arange(16.0).reshape(8, 2), "key": jax.random.key(1)}
    Checkpoints(tmp_path).save(1, jax.device_put(state, everywhere))
    wanted = {"x": spread, "key": everywhere}
    abstract = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, wanted
    )
    restored, _ = Checkpoints(tmp_path).restore(abstract)
    assert sha(restored) == sha(state)
    assert restored["x"].sharding == spread
    assert restored["key"].sharding == everywhere
    # without shardings: one device
    restored, _ = Checkpoints(tmp_path).restore(jax.eval_shape(lambda: state))
    assert sha(restored) == sha(state)
    assert len(restored["x"].devices()) == 1


@pytest.mark.slow
def test_keeps_the_newest_and_the_best(tmp_path):
    checkpoints = filled(tmp_path, [-5.0, -1.0, -3.0, float("nan"), None], keep_last=2, keep_best=1)
    assert checkpoints.steps() == [2, 4, 5]
    assert checkpoints.restore(small(0), "best")[1] == 2
    assert checkpoints.restore(small(0), "latest")[1] == 5
    state, step = checkpoints.restore(small(0), 4)
    assert (step, int(state["n"])) == (4, 4)
    # the record is on the disk, not in the object
    again = Checkpoints(tmp_path, keep_last=1, keep_best=2)
    again.save(6, small(6), -2.0)
    assert again.steps() == [2, 6]


@pytest.mark.slow
def test_keeps_no_best_when_told(tmp_path):
    assert filled(tmp_path, [3.0, 2.0, 1.0], keep_last=1, keep_best=0).steps() == [3]


@pytest.mark.slow
def test_a_metric_that_is_not_finite_is_never_the_best(tmp_path):
    odd = [1.0, float("inf"), float("nan"), float("-inf")]
    checkpoints = filled(tmp_path, odd, keep_last=1, keep_best=1)
    assert checkpoints.steps() == [1, 4]
    assert checkpoints.restore(small(0), "best")[1] == 1


@pytest.mark.slow
def test_saving_a_step_again(tmp_path):
    checkpoints = filled(tmp_path, [1.0, 2.0])
    before = (tmp_path / "2" / "meta" / "metadata").stat().st_mtime_ns
    checkpoints.save(2, small(2), 2.0)
    after = (tmp_path / "2" / "meta" / "metadata").stat().st_mtime_ns
    assert after == before  # the same state: left alone
    checkpoints.save(2, small(9), 2.0)
    assert int(checkpoints.restore(small(0))[0]["n"]) == 9


@pytest.mark.slow
def test_saving_a_damaged_step_again_mends_it(tmp_path):
    checkpoints = filled(tmp_path, [1.0, 2.0])
    largest(tmp_path / "2").write_bytes(b"")
    checkpoints.save(2, small(2), 2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checkpoints.restore(small(0))[1] == 2


@pytest.mark.slow
def test_going_on_from_an_earlier_step_drops_the_later_ones(tmp_path):
    checkpoints = filled(tmp_path, [1.0, 2.0, 3.0], keep_last=3)
    checkpoints.save(2, small(7), 0.0)
    assert checkpoints.steps() == [1, 2]
    assert checkpoints.restore(small(0), "best")[1] == 1


def largest(folder):
    return max((p for p in folder.rglob("d/*") if p.is_file()), key=lambda p: p.stat().st_size)


@pytest.mark.slow
def test_damage_is_named_and_the_previous_one_used(tmp_path):
    checkpoints = filled(tmp_path, [1.0, 2.0])
    for path in [p for p in (tmp_path / "2" / "state").rglob("d/*") if p.is_file()]:
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=r"2 is damaged \(.*\); trying step 1") as caught:
        state, step = checkpoints.restore(small(0))
    assert (step, int(state["n"])) == (1, 1)
    assert "\n" not in str(caught[0].message)
    with pytest.warns(UserWarning, match="damaged"):
        assert checkpoints.restore(small(0), "best")[1] == 1
    with pytest.raises(FsbError, match=r"damaged .*; other steps: 1$"):
        checkpoints.restore(small(0), 2)
    for path in (tmp_path / "1").rglob("d/*"):
        path.unlink()
    with (
        pytest.warns(UserWarning, match="no other is left"),
        pytest.raises(FsbError, match=r"no valid checkpoint in .*; tried steps 1, 2$"),
    ):
        checkpoints.restore(small(0))


@pytest.mark.slow
def test_the_digest_finds_what_orbax_does_not(tmp_path):
    """Another valid checkpoint's arrays under this one's record."""
    checkpoints = filled(tmp_path, [1.0, 2.0])
    (tmp_path / "2" / "state").rename(tmp_path / "lost")
    (tmp_path / "1" / "state").rename(tmp_path / "2" / "state")
    with (
        pytest.warns(UserWarning, match="SHA-256 differs"),
        pytest.raises(FsbError, match="no valid checkpoint"),
    ):
        checkpoints.restore(small(0))


@pytest.mark.slow
def test_a_damaged_record_is_found(tmp_path):
    checkpoints = filled(tmp_path, [1.0, 9.0])
    record = tmp_path / "2" / "meta" / "metadata"
    text = record.read_text()
    for changed in (
        text.replace("9.0", "0.0"),
        text.replace("float32", "float64"),
        text[:-2],
        "[]",
    ):
        record.write_text(changed)
        for which in ("latest", "best"):
            with pytest.warns(UserWarning, match="2 is damaged"):
                assert checkpoints.restore(small(0), which)[1] == 1


@pytest.mark.slow
def test_a_checkpoint_under_another_step_is_damaged(tmp_path):
    checkpoints = filled(tmp_path, [1.0, 2.0])
    (tmp_path / "2").rename(tmp_path / "3")
    with pytest.warns(UserWarning, match=r"3 is damaged \(its record was altered\)"):
        assert checkpoints.restore(small(0))[1] == 1


def attempts(path):
    """The file with a byte changed in several places, cut in several places, and gone."""
    data = path.read_bytes()
    for place in sorted({0, len(data) // 3, len(data) // 2, max(len(data) - 1, 0)}):
        if data:
            flipped = bytes([data[place] ^ 0x41])
            yield f"byte {place}", data[:place] + flipped + data[place + 1 :]
            yield f"cut at {place}", data[:place]
    yield "gone", None


# Orbax leaves its other reads of a damaged file to the garbage collector.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_any_damage_to_any_file_is_harmless(tmp_path):
    state = {"w": jnp.arange(4.0), "key": jax.random.key(2), "n": 3}
    older = {"w": jnp.zeros(4), "key": jax.random.key(1), "n": 2}
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, older)
    checkpoints.save(2, state)
    wanted = {1: sha(older), 2: sha(state)}
    found = {1: 0, 2: 0}
    files = [p for p in (tmp_path / "2").rglob("*") if p.is_file()]
    assert len(files) > 8
    for path in files:
        whole = path.read_bytes()
        for what, damaged in attempts(path):
            if damaged is None:
                path.unlink()
            else:
                path.write_bytes(damaged)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                restored, step = checkpoints.restore(older)
            named = any(f"{tmp_path / '2'} is damaged" in str(w.message) for w in caught)
            assert sha(restored) == wanted[step], (path, what)
            assert named == (step == 1), (path, what)
            found[step] += 1
            path.write_bytes(whole)
    assert found[1] > 20


@pytest.mark.slow
def test_wrong_requests(tmp_path):
    with pytest.raises(FsbError, match="no checkpoint in"):
        Checkpoints(tmp_path / "none").restore(small(0))
    assert not (tmp_path / "none").exists()
    checkpoints = filled(tmp_path, [1.0, 2.0])
    with pytest.raises(FsbError, match=r"no checkpoint of step 7 in .*; steps there: 1, 2$"):
        checkpoints.restore(small(0), 7)
    with pytest.raises(FsbError, match='must be "latest", "best" or a step, got "bset"'):
        checkpoints.restore(small(0), "bset")
    with pytest.raises(FsbError, match="keep_last must be at least 1"):
        Checkpoints(tmp_path, keep_last=0)
    with pytest.raises(FsbError, match="keep_best at least 0"):
        Checkpoints(tmp_path, keep_best=-1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"w": jnp.zeros(4), "n": jnp.int32(0)}, r"state\['w'\] is float32\[3\] there and float32"),
        ({"w": jnp.zeros(3, jnp.bfloat16), "n": jnp.int32(0)}, "and bfloat16"),
        ({"w": jnp.zeros(3)}, r"state\['n'\] is int32\[\] there and absent here"),
        ({**small(0), "v": jnp.zeros(1)}, r"state\['v'\] is absent there"),
    ],
)
def test_a_state_that_does_not_fit(tmp_path, other, message):
    checkpoints = filled(tmp_path, [None])
    with pytest.raises(FsbError, match=message) as caught:
        checkpoints.restore(other)
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FsbError, match="cannot write a checkpoint in") as caught:
        Checkpoints(tmp_path / "file" / "checkpoints").save(1, small(1))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_what_a_killed_run_left_is_ignored_and_cleaned(tmp_path):
    filled(tmp_path, [1.0])
    left = tmp_path / "7.orbax-checkpoint-tmp"
    left.mkdir()
    (left / "half").write_text("half")
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.steps() == [1]
    assert checkpoints.restore(small(0))[1] == 1
    assert left.exists()  # reading changes nothing: another process may be saving
    checkpoints.save(2, small(2))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2"]


@pytest.mark.slow
def test_nothing_is_pickled(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, everything())
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"\x80\x04\x95" not in path.read_bytes()


SAVER = """
    import sys, jax.numpy as jnp
    from fsb.storage.checkpoints import Checkpoints
    checkpoints = Checkpoints(sys.argv[1])
    for step in range(1, 10_000):
        state = {"w": jnp.full((1000, 1000), float(step)), "n": jnp.int32(step)}
        checkpoints.save(step, state, metric=-abs(step - 3.0))
        print(step, flush=True)
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_valid_checkpoints(tmp_path):
    rng = np.random.default_rng(0)
    for trial in range(5):
        folder = tmp_path / str(trial)
        command = [sys.executable, "-c", textwrap.dedent(SAVER), str(folder)]
        saver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        done = [int(saver.stdout.readline()) for _ in range(3)]
        time.sleep(rng.uniform(0, 0.15))
        os.kill(saver.pid, signal.SIGKILL)
        done += [int(line) for line in saver.communicate()[0].split()]
        like = {"w": jnp.zeros((1000, 1000)), "n": jnp.int32(0)}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            state, step = Checkpoints(folder).restore(like)
        assert step >= done[-1]
        assert float(state["w"].min()) == float(state["w"].max()) == step
        checkpoints = Checkpoints(folder)
        checkpoints.save(step + 1, state)
        assert not list(folder.glob("*tmp*"))
        assert checkpoints.restore(like, "best")[1] == 3


WORKER = """
    import sys, warnings
    import jax
    jax.distributed.initialize(sys.argv[2], num_processes=2, process_id=int(sys.argv[3]),
                               initialization_timeout=60)
    import jax.numpy as jnp, numpy as np
    from pathlib import Path
    from fsb.storage.checkpoints import Checkpoints
    from fsb.storage.leaves import named_leaves, sha256
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    same, spread = jax.NamedSharding(mesh, jax.P()), jax.NamedSharding(mesh, jax.P("data"))
    make = jax.jit(lambda n: {"w": jnp.arange(6.0) + n, "x": jnp.arange(4.0) * n,
                              "key": jax.random.key(n)},
                   out_shardings={"w": same, "x": spread, "key": same})
    checkpoints = Checkpoints(sys.argv[1])
    for step in (1, 2, 3, 3):
        checkpoints.save(step, make(step), metric=float(step))
    assert checkpoints.steps() == [2, 3], checkpoints.steps()
    state, step = checkpoints.restore(make(0))
    assert step == 3 and state["x"].sharding == spread
    assert sha256(named_leaves(state)) == sha256(named_leaves(make(3)))
    # what each process loads: its share of the batches
    from fsb.data import feed
    from fsb.data.stream import epoch_indices
    from fsb.runtime.devices import layout
    class Images(np.ndarray):
        def __getitem__(self, rows):
            loaded.append(np.asarray(rows))
            return np.asarray(self)[rows]
    loaded, images = [], np.arange(24, dtype=np.uint8).reshape(12, 2)
    with feed(images.view(Images), jax.random.key(0), 4, 3, 0, layout()) as batches:
        pool, _ = batches(0, 3)
    mine = epoch_indices(jax.random.key(0), 0, 3, 12, 4)[:, [[0, 1], [2, 3]][jax.process_index()]]
    assert [rows.tolist() for rows in loaded[:3]] == mine.tolist()
    (held,) = pool.addressable_shards
    assert (np.asarray(held.data) == images[mine]).all() and pool.shape == (3, 4, 2)
    from jax.experimental import multihost_utils
    multihost_utils.sync_global_devices("before the damage")
    if jax.process_index() == 0:
        for path in (Path(sys.argv[1]) / "3" / "state").rglob("d/*"):
            path.write_bytes(path.read_bytes()[:-1])
    multihost_utils.sync_global_devices("after the damage")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        state, step = checkpoints.restore(make(0))
    assert step == 2 and any("3 is damaged" in str(w.message) for w in caught), (step, caught)
    print("fine", flush=True)
"""


@pytest.mark.slow
def test_two_processes(tmp_path, free_port):
    env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    command = [sys.executable, "-c", textwrap.dedent(WORKER), str(tmp_path / "c")]
    command.append(f"127.0.0.1:{free_port}")
    workers = [
        subprocess.Popen(
            [*command, str(i)], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for i in range(2)
    ]
    for worker in workers:
        output = worker.communicate(timeout=120)[0]
        assert worker.returncode == 0, output[-3000:]
        assert "fine" in output


@pytest.fixture
def free_port():
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.slow
def test_imports_lazily():
    code = "import sys, fsb.storage.checkpoints; assert 'orbax.checkpoint' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
