"""A run that is killed, again and again, ends as if it had not been."""

import random
import shutil
import time

import pytest

from runs import TINY, rows, start, state


def newest(folder):
    """The step of the newest checkpoint; 0 before the first."""
    return max((int(path.name) for path in folder.glob("checkpoints/[0-9]*[0-9]")), default=0)


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path):
    """SIGKILL at 20 random moments: while it starts, steps, evaluates, saves and draws."""
    often = [*TINY, "max_steps=240", "checkpoint_every=4", "steps_per_call=3", "bound_samples=[]"]
    begun = time.monotonic()
    whole = start(*often, f"hydra.run.dir={tmp_path / 'whole'}")
    assert whole.wait(timeout=300) == 0
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
            while progress and run.poll() is None and newest(folder) < goal:
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 0.3 if progress else duration / 2))
        else:
            run.wait(timeout=300)
        if run.poll() is None:
            run.kill()
            run.wait()
            kills += 1
            places.add(newest(folder))
            if not (folder / "config.yaml").exists():
                shutil.rmtree(folder, ignore_errors=True)  # it had not begun
            continue
        assert run.returncode == 0, run.stderr.read()
        assert state(folder) == state(tmp_path / "whole")
        assert rows(folder) == rows(tmp_path / "whole")
        assert (folder / "summary.json").exists()
        if kills >= 20:
            break
        folder = tmp_path / f"run{kills}"
    assert len(places) > 8  # killed all along the way
