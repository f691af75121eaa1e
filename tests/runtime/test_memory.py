"""What is refused for want of memory, and how much there is."""

import jax
import jax.numpy as jnp
import pytest

from fsb.errors import FsbError
from fsb.runtime import memory
from fsb.runtime.memory import CURE, free_memory, out_of_memory, require_memory
from runs import main

GB = 10**9


def outer(x):
    return jnp.sort((x[:, None] * x[None]).ravel())[::1000]


def test_a_program_that_needs_more_than_there_is(monkeypatch):
    """40,000^2 products of four bytes, once or more than once."""
    x = jax.ShapeDtypeStruct((40_000,), "float32")
    monkeypatch.setattr(memory, "free_memory", lambda: 6 * GB)
    with pytest.raises(FsbError, match=r"needs (6|12|19)\.\d GB more memory, and 6\.0 GB are free"):
        require_memory(jax.jit(outer), x)
    monkeypatch.setattr(memory, "free_memory", lambda: 100 * GB)
    require_memory(jax.jit(outer), x)


def test_what_counts(monkeypatch):
    """Results that do not take the place of arguments, and the shares of all devices."""
    monkeypatch.setattr(memory, "free_memory", lambda: 3 * GB)
    add, x = lambda x: x + 1, jax.ShapeDtypeStruct((10**9,), "float32")
    with pytest.raises(FsbError, match=r"needs 4\.0 GB"):
        require_memory(jax.jit(add), x)
    require_memory(jax.jit(add, donate_argnums=0), x)
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.NamedSharding(mesh, jax.P("batch"))
    with pytest.raises(FsbError, match=r"needs 4\.0 GB"):
        require_memory(jax.jit(add, in_shardings=split), x)


def test_a_run_that_does_not_fit(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(memory, "PLENTY", 0)
    monkeypatch.setattr(memory, "free_memory", lambda: 0)
    for members in ([], ["members={seed:[0,1]}"]):
        with pytest.raises(SystemExit) as caught:
            main(tmp_path / f"run{len(members)}", *members)
        assert caught.value.code == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("fsb: error: a train step needs 0.0 GB more memory")
        assert last.endswith(CURE)


def write(folder, **texts):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.fixture
def root(tmp_path):
    """A machine with 8 GB left of which 1 GB is swap."""
    told = "MemFree: 3 kB\nMemAvailable: 7000000 kB\nSwapFree: 812500 kB\n"
    write(tmp_path / "proc", meminfo=told)
    return tmp_path


def test_memory_of_a_machine(root, tmp_path):
    assert free_memory(root) == 8 * GB
    assert free_memory(tmp_path / "none") == 2**63


def test_memory_of_groups(root):
    """The least of all groups above; cached files count as free."""
    write(root / "proc/self", cgroup="0::/job/step\n")
    top = root / "sys/fs/cgroup"
    write(top, memory__stat="inactive_file 0\n")
    stat = "anon 7\ninactive_file 1000000000\n"
    write(top / "job", memory__max=f"{6 * GB}\n", memory__current=f"{4 * GB}\n", memory__stat=stat)
    write(top / "job/step", memory__max="max\n", memory__current="1\n", memory__stat=stat)
    assert free_memory(root) == 3 * GB


def test_memory_of_groups_of_the_first_version(root):
    """A container's own group is at the top of what it sees."""
    write(root / "proc/self", cgroup="9:name=systemd:/x\n4:memory:/outside/of/it\n0::/\n")
    write(
        root / "sys/fs/cgroup/memory",
        memory__limit_in_bytes=str(5 * GB),
        memory__usage_in_bytes=str(4 * GB),
        memory__stat=f"inactive_file 5\ntotal_inactive_file {GB}\n",
    )
    assert free_memory(root) == 2 * GB


def test_other_errors_pass():
    for error in (ValueError("RESOURCE_EXHAUSTED: too many files"), OSError("memory")):
        with pytest.raises(type(error)), out_of_memory():
            raise error
