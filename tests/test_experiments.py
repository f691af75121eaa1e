"""Every published experiment composes and takes a train step, in the published setting."""

import jax
import numpy as np
import pytest

from fsb.cli.factory import build
from fsb.cli.program import configs_dir, preflight
from fsb.cli.schema import Train
from fsb.data import Dataset
from fsb.data.preprocess import choose
from fsb.training.setup import assemble
from fsb.training.step import step

JOBS = {"compare": 4, "compare_mnist": 4, "compare_omniglot": 4}
JOBS |= {"fig2_omniglot": 2, "fig4_mnist": 3, "fig4_mnist_deep": 2}
JOBS |= {"muprop_table2": 10, "muprop_table2_m20": 12, "muprop_table3": 6}
JOBS |= {"fig3_cifar10": 8, "fig3_miniimagenet": 8, "ablation_mnist": 4}
JOBS |= {"fourier_table1": 15, "fourier_table2": 10, "protocol": 12}
SHAPES = {"cifar10": (32, 32, 3), "miniimagenet": (64, 64, 3)}
NAMES = sorted(path.stem for path in (configs_dir() / "experiment").glob("*.yaml"))
COMPILED = set()


def shape_of(job):
    return SHAPES.get(job.data._target_.rpartition(".")[2], (28, 28))


def some_state(parts):
    """A state of the right shapes: to compile the published initialisation takes as long again."""
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.key(0)
        if not np.issubdtype(leaf.dtype, np.floating):
            return np.zeros(leaf.shape, leaf.dtype)
        noise = 0.02 * rng.standard_normal(leaf.shape)
        return (noise if path[0].name == "params" else noise * 0 + 0.5).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, parts.state_shapes())


def take_step(job):
    """A step on random images; of S-ResNets with two, since 128 need 20 GB."""
    shape = shape_of(job)
    size = job.batch_size if len(shape) == 2 else 2
    images = np.random.default_rng(1).integers(0, 256, (size, *shape), np.uint8)
    preprocess = choose(job.data.get("binarisation", "static"), 0)
    if job.data.get("binarisation", "static") == "static":
        images = images // 128
    job.devices = 1
    parts = assemble(job, size, Dataset("random", images, images[:1], images[:1], preprocess))
    before = some_state(parts)
    after = jax.jit(step, static_argnums=0)(parts.recipe, before, images)
    for old, new in zip(jax.tree.leaves(before.params), jax.tree.leaves(after.params), strict=True):
        assert np.isfinite(new).all()
        assert (old != new).any()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_experiment_takes_a_step(name):
    """Of each of its nets, and of each estimator on one of them."""
    jobs = preflight("train", [f"experiment={name}"], Train)
    assert len(jobs) == len({str(job) for job in jobs}) == JOBS.get(name, len(jobs))
    for job in jobs:
        for key in ("estimator", "optimizer", "control_optimizer", "objective"):
            build(job, key)
        net = str((job.model, shape_of(job), job.data.get("binarisation")))
        new = {net, str((job.estimator, job.objective))}
        if not new <= COMPILED:
            take_step(job)
        COMPILED.update(new)
