"""A run that is killed, again and again, ends as if it had not been."""

import multiprocessing
import os
import random
import shutil
import sys
import time

import pytest

from runs import TINY, one_device, rows, state

# Forked from a process that has imported the program: half of a start is its imports.
FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["fsb.train", "orbax.checkpoint", "matplotlib.figure"])


def run_forked(arguments, flags, output):
    os.environ["XLA_FLAGS"] = flags
    sys.stdout = sys.stderr = open(output, "w")  # noqa: SIM115  # until the process ends
    import fsb.train

    fsb.train.main(arguments)


def newest(folder):
    """The step of the newest checkpoint; 0 before the first."""
    return max((int(path.name) for path in folder.glob("checkpoints/[0-9]*[0-9]")), default=0)


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path):
    """SIGKILL at 20 random moments: while it starts, steps, evaluates, saves and draws."""
    output = tmp_path / "output"

    def start(*arguments):
        process = FORK.Process(target=run_forked, args=(arguments, one_device(), output))
        process.start()
        return process

    often = [*TINY, "max_steps=240", "checkpoint_every=4", "steps_per_call=3", "bound_samples=[]"]
    begun = time.monotonic()
    whole = start(*often, f"hydra.run.dir={tmp_path / 'whole'}")
    whole.join(timeout=300)
    assert whole.exitcode == 0, output.read_text()
    duration = time.monotonic() - begun

    moments = random.Random(5)
    folder, kills, places = tmp_path / "run0", 0, set()
    while True:
        begins = not (folder / "config.yaml").exists()
        run = start(*often, f"hydra.run.dir={folder}") if begins else start(f"resume={folder}")
        if kills < 20:
            # a while after it began, or after it made some progress
            progress = moments.randrange(8)
            goal = newest(folder) + 4 * progress
            while progress and run.is_alive() and newest(folder) < goal:
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 0.3 if progress else duration / 2))
        else:
            run.join(timeout=300)
        if run.is_alive():
            run.kill()
            run.join()
            kills += 1
            places.add(newest(folder))
            if not (folder / "config.yaml").exists():
                shutil.rmtree(folder, ignore_errors=True)  # it had not begun
            continue
        assert run.exitcode == 0, output.read_text()
        assert state(folder) == state(tmp_path / "whole")
        assert rows(folder) == rows(tmp_path / "whole")
        assert (folder / "summary.json").exists()
        if kills >= 20:
            break
        folder = tmp_path / f"run{kills}"
    assert len(places) > 8  # killed all along the way
