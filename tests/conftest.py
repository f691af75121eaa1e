"""Strict numerics for every test, and eight simulated devices."""

import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=8 "
    # Most of a test is its compilation; from jaxlib 0.11 on, the second is the only way.
    "--xla_backend_optimization_level=0 "
    + "--xla_cpu_use_fusion_emitters=false"
    * (version("jaxlib") < "0.11")
)
os.environ["NPROC"] = "16"  # in-process collectives need two threads a device
os.environ["WANDB_MODE"] = "offline"
os.environ["FSB_CACHE"] = tempfile.mkdtemp(prefix="fsb-test-")  # nothing a user prepared is touched

COMPILED = Path(__file__).resolve().parent.parent / ".cache" / "jax-tests"
COMPILED.mkdir(parents=True, exist_ok=True)
os.symlink(COMPILED, os.path.join(os.environ["FSB_CACHE"], "jax"))
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(COMPILED)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import absl.logging
import jax
import pytest
import typechecker
from _pytest.doctest import DoctestItem

typechecker.install()  # before fsb is imported

# Hydra closes the handlers it finds, and absl's would close pytest's capture with it.
absl.logging.get_absl_handler().python_handler.setStream(sys.__stderr__)

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def key():
    return jax.random.key(0)


def pytest_collection_modifyitems(items):
    """The examples of the documentation are slow tests."""
    for item in items:
        if isinstance(item, DoctestItem):
            item.add_marker(pytest.mark.slow)
