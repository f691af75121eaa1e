"""Strict numerics for every test, eight simulated devices, and what makes the tests fast."""

import gc
import hashlib
import os
import platform
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
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"  # a tenth of the time of most tests
os.environ["NPROC"] = "16"  # in-process collectives need two threads a device
os.environ["WANDB_MODE"] = "offline"
os.environ["FSB_CACHE"] = tempfile.mkdtemp(prefix="fsb-test-")  # nothing a user prepared is touched

TESTS = Path(__file__).resolve().parent


def processor():
    """What the machine code of this processor depends on: XLA's own keys do not hold it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    flags = [line for line in lines if line.startswith(("flags", "Features"))]
    text = f"{platform.machine()} {platform.processor()} {flags[:1]}"
    return hashlib.sha256(text.encode()).hexdigest()[:8]


# Compiled programs are kept from one run of the tests to the next, and shared with the processes
# that the tests start. XLA's keys hold the versions and the flags; `make clean` removes the folder.
COMPILED = TESTS.parent / ".cache" / f"jax-tests-{processor()}"
COMPILED.mkdir(parents=True, exist_ok=True)
os.symlink(COMPILED, os.path.join(os.environ["FSB_CACHE"], "jax"))
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(COMPILED)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
# A file that another process is still writing is compiled again, with a warning.
os.environ["PYTHONWARNINGS"] = "ignore:Error reading persistent compilation cache:UserWarning"

import absl.logging
import jax
import pytest
import typechecker
from _pytest.doctest import DoctestItem

if os.environ.get("FSB_TYPECHECK"):
    typechecker.install()  # before fsb is imported

# Hydra closes the handlers it finds, and absl's would close pytest's capture with it.
absl.logging.get_absl_handler().python_handler.setStream(sys.__stderr__)

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def key():
    return jax.random.key(0)


# They start first. The fast tests that share finished runs do so in one process.
LONGEST = (
    "test_accelerator",
    "test_kills",
    "test_resume",
    "test_train",
    "test_errors",
    "test_hostile",
    "test_lab",
)
SHARE_RUNS = (
    "test_resume",
    "test_train",
    "test_errors",
    "test_hostile",
    "test_evaluate",
    "test_recorder",
)
BY_ROW = ("test_contract",)
"""Files whose tests of one row share a program, and no more than that."""


def pytest_collection_modifyitems(items):
    """The examples of the documentation are slow tests."""
    for item in items:
        if isinstance(item, DoctestItem):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.path.stem not in LONGEST)


def pytest_collection_finish():
    """What is there now stays until the end; traces are many small objects that live long."""
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """The tests of a file or row stay in one process, since they share compiled functions."""
    from xdist.scheduler import LoadScopeScheduling

    fast = config.option.markexpr == "not slow"

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file, _, name = nodeid.partition("::")
            if Path(file).stem in BY_ROW:  # too long for one process beside an idle one
                return file + name.partition("[")[2]
            return "runs" if fast and Path(file).stem in SHARE_RUNS else file

    return ByFile(config, log)
