"""The implementation of ``fsb.storage.loggers.wandb_logger``."""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fsb.errors import FsbError, first_line
from fsb.storage.atomic import write_text_atomic

FINISH_TIMEOUT = 60.0  # seconds for an online run to send what is left
SUMMARIES = {
    "train_elbo": "max,last",
    "valid_elbo": "max,last",
    "test_elbo": "max,last",
    "train_objective": "max,last",
    "gradient_variance": "min,last",
    "steps_per_second": "max,last",
}
"""What of a metric stands in the table of the runs: its best, on the side that is better."""


class WandbLogger:
    """Logs scalars and images of a run. It warns at the first failure and then stops logging."""

    pictures = True

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        mode: str,
        init_timeout: float,
        run: dict[str, Any],
    ):
        try:
            import wandb
        except ImportError as error:
            raise FsbError("logger=wandb needs the package wandb; or take logger=none") from error
        (folder / "wandb").mkdir(parents=True, exist_ok=True)
        self._wandb: Any = wandb
        self._run: Any = None
        settings: dict[str, Any] = {
            "init_timeout": init_timeout,
            "finish_timeout": FINISH_TIMEOUT,
            "console": "off",  # else it captures the terminal of the progress bar
            "silent": True,
        }
        alone = run["job_type"] == "train"  # an agent of a sweep knows one run by its id
        run = {**run, "dir": str(folder), "config": config, "id": _identity(folder, alone)}
        self._about = str(run["name"])
        run["reinit"] = "create_new"  # the members of a sweep log side by side
        run["settings"] = wandb.Settings(**settings)
        if mode == "online":
            self._guarded(lambda: self._start_online(run), "going on offline")
        if self._run is None:
            self._guarded(lambda: self._start(mode="offline", **run), "going on without")

    def _start_online(self, run: dict[str, Any]) -> None:
        wandb = self._wandb
        wandb.setup(wandb.Settings(silent=True))  # else login contacts the server
        if wandb.run is None and not wandb.login(prompt=False, verify=False):  # else it prompts
            raise ConnectionError("not logged in (`wandb login`)")
        try:
            self._start(mode="online", resume="allow", **run)
        except Exception:
            wandb.teardown()  # the failed start still holds the id
            raise

    def _start(self, **run: Any) -> None:
        self._run = self._wandb.init(**run)
        # W&B's own counter cannot go back, as a resumed run may.
        self._run.define_metric("*", step_metric="step")
        for name, summary in SUMMARIES.items():
            self._run.define_metric(name, step_metric="step", summary=summary)

    def log(
        self, step: int, metrics: Mapping[str, float], images: Mapping[str, np.ndarray] = {}
    ) -> None:
        """Logs scalars and uint8 images [H, W] or [H, W, 3] of one step, with captions."""

        def send() -> None:
            pictures = {
                name: self._wandb.Image(image, caption=f"{name}, step {step}: {self._about}")
                for name, image in images.items()
            }
            self._run.log({**metrics, **pictures, "step": step})

        if self._run is not None and not self._guarded(send, "going on without"):
            self._run = None

    def finish(self) -> None:
        """Sends what is left, for at most a minute."""
        if self._run is not None:
            self._guarded(self._run.finish, "what it has lies in the run folder")
            self._run = None

    def _guarded(self, call: Callable[[], Any], consequence: str) -> bool:
        try:
            call()
        except Exception as error:  # no failure of W&B may end a training run
            reason = first_line(error)[:200]
            warnings.warn(f"Weights & Biases: {reason}; {consequence}", stacklevel=3)
            return False
        return True


def _identity(folder: Path, alone: bool) -> str:
    """The W&B id of this run folder, kept in a file for when the run is resumed.

    A run that an agent of `wandb sweep` has started takes the id that the agent gives it.
    """
    path = folder / "wandb" / "run_id"
    if not path.exists():
        given = os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None
        write_text_atomic(path, (given if alone and given else uuid.uuid4().hex[:8]) + "\n")
    return path.read_text("utf-8").strip()
