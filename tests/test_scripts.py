"""The scripts beside the library."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from fsb.sites import site_key
from runs import TINY, assembled

SCRIPTS = Path(__file__).parents[1] / "scripts"


def timed(*arguments, **options):
    command = ["bash", str(SCRIPTS / "timed.sh"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_a_packed_folder_comes_back(tmp_path):
    home = tmp_path / "data" / "cifar10"
    home.mkdir(parents=True)
    content = np.random.default_rng(0).bytes(100_000)
    (home / "tile.webp").write_bytes(content)
    assert timed("pack", tmp_path / "data", tmp_path / "parts").returncode == 0
    assert timed("unpack", tmp_path / "parts", tmp_path / "again").returncode == 0
    assert (tmp_path / "again/cifar10/tile.webp").read_bytes() == content


def test_what_the_script_can_do():
    asked = timed()
    assert asked.returncode == 2
    assert "timed.sh train SECONDS RUN SETTINGS" in asked.stdout


@pytest.mark.slow
def test_a_training_in_pieces(tmp_path):
    options = {"cwd": tmp_path, "env": {**os.environ, "PYTHON": sys.executable}}
    first = timed("train", 300, "run", *TINY, **options)
    assert first.returncode == 0, first.stderr
    again = timed("train", 300, "run", *TINY, **options)  # there is nothing left to do
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "run/summary.json").exists()
    assert timed("train", 300, "other", "estimatr=st", **options).returncode == 1


@pytest.fixture
def scripts(monkeypatch):
    """The scripts can be imported, as they import each other."""
    monkeypatch.syspath_prepend(SCRIPTS)


@pytest.mark.slow
def test_operations_of_a_step(scripts):
    import utilisation

    parts, config = assembled("model.width=256", "model.hidden=0")
    layers = [(64, 256), (256, 256), (256, 256), (256, 64)]  # up and down
    # forward, and twice that backward, but for the gradient in the data
    products = 3 * sum(a * b for a, b in layers) - 64 * 256
    ratio = utilisation.operations(parts) / (2 * config.batch_size * products)
    assert 1 < ratio < 1.25  # the noise and what is done unit by unit come on top


@pytest.mark.slow
def test_many_chips_on_paper(scripts):
    """What is counted in the network is what is counted by hand, as are the bytes."""
    import scaling
    import utilisation

    parts = scaling.parts_of("vae")
    layers = [784 * 200, *[200 * 200] * 10, 200 * 784]
    sizes = [x.size for x in jax.tree.leaves(parts.state_shapes().params)]
    assert sum(sizes) == sum(layers) + 11 * 200 + 784 + 200  # with biases and the prior
    flops = utilisation.operations(parts) / (2 * 8 * (3 * sum(layers) - 784 * 200))
    assert 1 < flops < 1.25
    machine = scaling.Machine(peak=100.0, bandwidth=8.0, delay=1.0)
    assert scaling.all_reduce(machine, 16.0, chips=4) == 1 + 2 * 3 / 4 * 16 / 8
    took = scaling.all_reduce(machine, 16.0)
    assert scaling.efficiency(machine, 16.0, 60.0) == pytest.approx(2 / (2 + took))


@pytest.mark.slow
def test_the_scan_by_hand_is_that_of_fsb(scripts):
    """What is timed computes the same: given the keys of the sites, gradients agree."""
    import scan_cost

    rssm = scan_cost.rssm
    with jax.numpy_rank_promotion("allow"):  # as in the examples
        params, images = rssm.init(jax.random.key(0)), rssm.bouncing(jax.random.key(1), batch=3)
        turns = jax.random.split(site_key(jax.random.key(2), "scan"), len(images))
        keys = jax.vmap(lambda key: site_key(key, "z"))(turns)
        hand = jax.value_and_grad(scan_cost.by_hand)(params, images, keys)
        ours = scan_cost.with_fsb(params, images, jax.random.key(2))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), ours, hand)


@pytest.mark.slow
def test_the_steps_of_a_sweep_side_by_side(scripts, monkeypatch, tmp_path):
    import bench_sweep

    words = [
        str(tmp_path),
        *TINY,
        "hydra.mode=MULTIRUN",
        "--jobs=estimator=st",
        "--jobs=estimator=darn",
    ]
    monkeypatch.setattr(sys, "argv", ["bench_sweep.py", *words])
    bench_sweep.main()
    found = json.loads((tmp_path / "results.json").read_text())["jobs"]
    assert list(found) == ["st", "darn"]
    assert found["st"]["ratio"] == 1
    epochs = found["darn"]["seconds_per_epoch"] / found["darn"]["ms_per_step"]
    assert epochs == pytest.approx(1e-3 * (1437 // 16))
