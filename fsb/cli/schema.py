"""The keys of every program's configuration, with their types and ranges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from pydantic import Strict

from fsb.constraints import Count, Natural, Seed
from fsb.errors import FsbError


@dataclass(frozen=True, kw_only=True)
class Distributed:
    """The processes of one run: by hand, or as the cluster that has started them tells."""

    cluster: Literal["auto", "slurm", "mpi", "tpu"] | None = None  # older runs do not have it
    coordinator: str | None
    num_processes: Count
    process_id: Natural

    def __post_init__(self) -> None:
        if self.cluster is not None and (self.num_processes, self.process_id) != (1, 0):
            raise FsbError(
                f"distributed.cluster={self.cluster}: the cluster numbers its processes; leave "
                "num_processes and process_id out"
            )
        if self.cluster not in (None, "mpi") and self.coordinator is not None:
            raise FsbError(
                f"distributed.cluster={self.cluster}: the cluster says where its processes meet; "
                "leave coordinator out, which goes with cluster=mpi only"
            )
        if self.process_id >= self.num_processes:
            raise FsbError(
                f"distributed.process_id: must be below num_processes={self.num_processes}, "
                f"got {self.process_id}"
            )
        if self.num_processes > 1 and self.coordinator is None:
            raise FsbError("distributed.coordinator: several processes need one, as host:port")
        if self.coordinator is None:
            return
        host, _, port = self.coordinator.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise FsbError(
                f"distributed.coordinator: {self.coordinator} is not host:port, "
                "with a port from 1 to 65535"
            )


@dataclass(frozen=True)
class Train:
    """The keys of configs/train.yaml, where each is explained; groups are checked as factories."""

    data: dict
    model: dict
    estimator: dict
    objective: dict
    optimizer: dict
    logger: dict
    seed: Seed
    max_steps: Count
    batch_size: Count
    steps_per_call: Annotated[int, Ge(1), Le(10**6)] | None
    eval_every: Count
    eval_examples: Count | None
    bound_samples: list[Count]
    checkpoint_every: Count
    keep_last: Count
    keep_best: Natural
    resume: str | None
    devices: Count | None
    distributed: Distributed
    compilation_cache: Annotated[str, Strict()] | None  # 5 is no folder
    modules: list[str]
    # Older runs do not have these.
    control_optimizer: dict | None = None
    likelihood: str | None = None
    eval_batch_size: Count = 512
    on_divergence: Literal["stop", "warn"] = "stop"
    members: dict[str, list] | None = None
    gradient_draws: Natural | None = None
    profile: Annotated[int, Ge(1), Le(10**4)] | None = None  # a trace grows by the step


@dataclass(frozen=True)
class Evaluate:
    """The keys of configs/evaluate.yaml, where each is explained."""

    run: str
    checkpoint: Literal["last", "best"]
    split: Literal["test", "valid", "train"]
    data_root: str | None
    batch_size: Count
    bound_samples: list[Count]
    seed: Seed
    devices: Count | None
    compilation_cache: Annotated[str, Strict()] | None
    modules: list[str]


@dataclass(frozen=True)
class Lab:
    """The keys of configs/lab.yaml, where each is explained."""

    problem: dict
    estimators: Any
    leave_out: list[str]
    batches: Annotated[int, Ge(3)]
    draws: Count
    chunk_size: Count
    fit_steps: Natural
    fit_learning_rate: float
    max_states: Natural
    reference: str
    seed: Seed
    compilation_cache: Annotated[str, Strict()] | None
    modules: list[str]


@dataclass(frozen=True)
class Prepare:
    """The keys of configs/prepare.yaml."""

    data: dict
    modules: list[str]


@dataclass(frozen=True)
class Bench:
    """The keys of configs/bench.yaml, where each is explained."""

    suite: Literal[
        "step", "estimators", "peers", "sweep", "start", "memory", "data", "count", "scaling"
    ]
    rounds: Count
    steps: Count
    batch_size: Count
    layers: Count
    width: Count
    torch: bool
    estimators: Literal["all"] | list[str]
    overrides: list[str]
    members: Count
    jobs: Count
    nets: list[str]
    top: Count
    balance: Annotated[float, Gt(0)]
    grid: dict[str, list[Count]]
    modules: list[str]
