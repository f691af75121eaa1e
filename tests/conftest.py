"""Strict numerics for every test, and eight simulated devices."""

import os
import sys
import tempfile
from importlib.metadata import version

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

import absl.logging
import jax
import pytest

# Hydra closes the handlers it finds, and absl's would close pytest's capture with it.
absl.logging.get_absl_handler().python_handler.setStream(sys.__stderr__)

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def key():
    return jax.random.key(0)
