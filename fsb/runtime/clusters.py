"""Clusters: what a launcher has told each process of a job, as ``jax.distributed`` reads it."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from fsb.errors import FsbError, first_line

SIGNS = {
    "mpi": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),
    "slurm": (
        *("SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID"),
        *("SLURM_JOB_ID", "SLURM_STEP_NODELIST"),
    ),
    "tpu": ("TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES"),
}
"""What shows that a process belongs to a job: of mpi and slurm all of these variables, of tpu one
of them or the metadata server of Google Cloud. The third numbers the processes of one host. They
are in the order in which ``auto`` looks, which is JAX's: mpirun may run inside a SLURM job."""

CURES = {
    "mpi": "start it with mpirun of Open MPI; for another MPI see docs/scaling.md",
    "slurm": "start it with srun, also inside sbatch",
    "tpu": "start it on every host of a TPU slice, with jax[tpu] installed",
}


class Place(NamedTuple):
    """Where a process stands in a run.

    coordinator: "host:port" of process 0; None where there is but one process.
    num_processes: how many there are.
    process_id: the number of this one.
    """

    coordinator: str | None
    num_processes: int
    process_id: int


def place(cluster: str, coordinator: str | None = None) -> Place:
    """The place of this process in the job that a cluster has started.

    Args:
      cluster: "slurm", "mpi" (Open MPI) or "tpu"; or "auto", the first whose signs are there.
      coordinator: "host:port" of process 0, where mpi does not tell: from Open MPI 5 on.

    Raises:
      FsbError: if the process was not started by such a cluster, or its signs make no sense.
    """
    wanted = SIGNS if cluster == "auto" else (cluster,)
    found = next((name for name in wanted if _environment(name)), None)
    if found is None:
        raise FsbError(f"distributed.cluster={cluster}: {_missing(cluster)}")
    try:
        return _read(found, coordinator)
    except FsbError:
        raise
    except Exception as error:  # JAX reads the variables and asks servers; any of it can fail
        said = first_line(error)[:150]
        raise FsbError(f"distributed.cluster={cluster}: cannot read the job: {said}") from error


def local_devices() -> list[int] | None:
    """The GPUs of this process, by their numbers on this host; None for all.

    As JAX itself chooses: one for each process of a job. The variable JAX_LOCAL_DEVICE_IDS says
    otherwise.
    """
    if "JAX_LOCAL_DEVICE_IDS" in os.environ:
        return None
    launcher = next((name for name in ("mpi", "slurm") if not _unset(name)), None)
    number = os.environ[SIGNS[launcher][2]] if launcher else ""
    return [int(number)] if number.isdecimal() else None


def _environment(cluster: str) -> Any:
    """JAX's own reader of this cluster; None if the process was not started by it."""
    # Private: the public function does not say what it has found, and starts JAX at once.
    from jax._src import clusters

    if cluster == "mpi":
        old = "OMPI_MCA_orte_hnp_uri" in os.environ  # before Open MPI 5
        return None if _unset("mpi") else clusters.OmpiCluster if old else clusters.Mpi4pyCluster
    if cluster == "slurm":
        return None if _unset("slurm") else clusters.SlurmCluster
    both = (clusters.GkeTpuCluster, clusters.GceTpuCluster)
    return next((one for one in both if one.is_env_present()), None)


def _read(cluster: str, coordinator: str | None) -> Place:
    env = _environment(cluster)
    if cluster == "tpu":
        count, number = env.get_process_count(), env.get_process_id()
    else:
        count, number = (int(os.environ[name]) for name in SIGNS[cluster][:2])
    if not 0 <= number < count:
        raise FsbError(f"distributed.cluster={cluster}: there is no process {number} of {count}")
    if count == 1:
        return Place(None, 1, 0)
    if coordinator is None:
        if not env.is_env_present():
            raise FsbError(
                "distributed.cluster=mpi: Open MPI 5 does not say where process 0 is: give "
                "distributed.coordinator=host:port of rank 0 as well, or install mpi4py"
            )
        coordinator = env.get_coordinator_address(
            timeout_secs=60, override_coordinator_port=os.environ.get("JAX_COORDINATOR_PORT")
        )
    return Place(coordinator, count, number)


def _unset(cluster: str) -> list[str]:
    return [name for name in SIGNS[cluster] if name not in os.environ]


def _missing(cluster: str) -> str:
    """What was looked for in vain, and the cure."""
    if cluster == "auto":
        looked = ", ".join(f"{' '.join(SIGNS[name])} ({name})" for name in SIGNS)
        return f"no cluster has started this process; looked for {looked}; use srun or mpirun"
    if cluster == "tpu":
        return f"no TPU slice here: {' and '.join(SIGNS['tpu'])} are not set; {CURES['tpu']}"
    return f"{', '.join(_unset(cluster))} not set; {CURES[cluster]}"
