"""What a launcher has told a process, and what is said where no launcher has."""

import jax
import pytest

from fsb.errors import FsbError
from fsb.runtime import clusters, processes
from fsb.runtime.clusters import local_devices, place
from runs import main, variables

OF_JAX = ("JAX_COORDINATOR_PORT", "JAX_LOCAL_DEVICE_IDS", "OMPI_MCA_orte_hnp_uri", "OMPI_VERSION")


@pytest.fixture(autouse=True)
def job(monkeypatch):
    """Puts a process into a job of a cluster; before, it is in none."""
    for name in (*sum(clusters.SIGNS.values(), ()), *OF_JAX):
        monkeypatch.delenv(name, raising=False)

    def put(cluster, count=4, number=2, **more):
        for name, value in (variables(cluster, count, number) | more).items():
            monkeypatch.setenv(name, value)

    return put


@pytest.mark.parametrize("asked", ["slurm", "auto"])
@pytest.mark.parametrize(
    ("nodes", "first"), [("n7", "n7"), ("n[07-09,12],m3", "n07"), ("m3,n1", "m3")]
)
def test_slurm(asked, nodes, first, job, monkeypatch):
    job("slurm", SLURM_STEP_NODELIST=nodes, SLURM_LOCALID="1")
    assert place(asked) == (f"{first}:{61440 + 7}", 4, 2)
    assert local_devices() == [1]
    monkeypatch.setenv("JAX_COORDINATOR_PORT", "1234")
    monkeypatch.setenv("JAX_LOCAL_DEVICE_IDS", "0,1")
    assert place(asked) == (f"{first}:1234", 4, 2)
    assert local_devices() is None  # JAX reads the variable


@pytest.mark.parametrize("asked", ["mpi", "auto"])
def test_open_mpi(asked, job, monkeypatch):
    job("slurm", 9, 8)  # mpirun in a job of SLURM: it is mpirun that counts
    job("mpi", OMPI_COMM_WORLD_LOCAL_RANK="0")
    assert place(asked) == (f"127.0.0.1:{61440 + 2}", 4, 2)
    assert local_devices() == [0]
    monkeypatch.delenv("OMPI_MCA_orte_hnp_uri")  # from version 5 on
    with pytest.raises(FsbError, match=r"give distributed.coordinator=host:port of rank 0 as well"):
        place(asked)
    assert place("mpi", "n1:1234") == ("n1:1234", 4, 2)


@pytest.mark.parametrize("cluster", ["slurm", "mpi"])
def test_a_single_task_is_alone(cluster, job, monkeypatch):
    job(cluster, 1, 0)
    monkeypatch.delenv("OMPI_MCA_orte_hnp_uri", raising=False)
    assert place("auto") == (None, 1, 0)
    processes.join(None, 1, 0, cluster)
    assert not jax.distributed.is_initialized()


def test_a_tpu_slice(monkeypatch):
    monkeypatch.setattr("jax._src.clusters.cloud_tpu_cluster.running_in_cloud_tpu_vm", True)
    for name, value in {"HOSTNAMES": "localhost,t2", "ID": "1"}.items():
        monkeypatch.setenv(f"TPU_WORKER_{name}", value)
    for name in ("MEGASCALE_COORDINATOR_ADDRESS", "MEGASCALE_NUM_SLICES", "MEGASCALE_SLICE_ID"):
        monkeypatch.setenv(name, "")  # one that is not set is asked of the metadata server
    monkeypatch.setattr("jax._src.clusters.cloud_tpu_cluster.get_metadata", lambda key: ("", 200))
    assert place("tpu") == place("auto") == ("localhost:8482", 2, 1)
    assert local_devices() is None


@pytest.mark.parametrize(
    ("cluster", "given", "line"),
    [
        ("slurm", {}, "SLURM_NTASKS, SLURM_PROCID, SLURM_LOCALID, SLURM_JOB_ID, SLURM_STEP_NODE"),
        ("slurm", {"but": "SLURM_STEP_NODELIST"}, "slurm: SLURM_STEP_NODELIST not set; start it"),
        ("mpi", {}, "OMPI_COMM_WORLD_SIZE, OMPI_COMM_WORLD_RANK, .* not set; start it with mpirun"),
        ("tpu", {}, "no TPU slice here: TPU_WORKER_HOSTNAMES and .* on every host of a TPU slice"),
        ("auto", {}, "looked for OMPI_COMM_WORLD_SIZE .* SLURM_STEP_NODELIST .* TPU_WORKER_HOST"),
        ("auto", {"but": "SLURM_PROCID"}, "auto: no cluster has started this process"),
        ("slurm", {"SLURM_PROCID": "4"}, "slurm: there is no process 4 of 4"),
        ("slurm", {"SLURM_NTASKS": "4x"}, "slurm: cannot read the job: invalid literal for int"),
    ],
)
def test_no_such_cluster(cluster, given, line, job, monkeypatch):
    if given:
        job("slurm", **{k: v for k, v in given.items() if k != "but"})
        monkeypatch.delenv(given.get("but", "nothing"), raising=False)
    with pytest.raises(FsbError, match=line) as caught:
        place(cluster)
    assert str(caught.value).startswith(f"distributed.cluster={cluster}: ")
    assert "\n" not in str(caught.value)


def test_members_have_one_process(job, tmp_path, capsys):
    job("slurm", 2, 1)
    with pytest.raises(SystemExit):  # before the others are waited for
        main(tmp_path / "run", "members={seed: [0, 1]}", "distributed.cluster=slurm")
    assert capsys.readouterr().err.startswith("fsb: error: members: share the devices of one proc")


def test_the_processes_meet_where_the_cluster_says(job, monkeypatch):
    job("slurm")
    seen = []
    monkeypatch.setattr(processes, "_peers", [])
    monkeypatch.setattr(processes, "_greeted", lambda *where: seen.append(where))
    monkeypatch.setattr(processes, "_watch", lambda peer, name: None)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *given: seen.append(given))
    processes.join(None, 1, 0, "slurm")
    assert seen == [(("localhost", 61447), 2, 4), ("localhost:61447", 4, 2, [2])]
