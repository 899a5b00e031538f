"""Settings of the whole test session. They have to be made before jax starts its backend."""

from __future__ import annotations

import gc
import importlib.util
import mmap
import os
import resource
from pathlib import Path

import pytest


def xla_knows(flag: str) -> bool:
    """Whether this jaxlib's XLA has a flag: one that it does not have would end the process.

    A flag's name is a C string; that of a former flag still stands among the reserved names.
    """
    name = b"\0" + flag.encode() + b"\0"
    folder = Path(importlib.util.find_spec("jaxlib").origin).parent
    for library in folder.glob("libjax_common.*"):
        with library.open("rb") as file:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return content.find(name) >= 0
    return False


# With as many threads as cores, two virtual devices on two cores wait for each other in a
# collective until it times out.
os.environ.setdefault("NPROC", "16")
# Tests compile far more than they compute. Without optimization and with its older emitters XLA
# compiles our programs in a quarter of the time, and they run a few times slower. XLA_FLAGS= tests
# what users run.
QUICK = ["--xla_backend_optimization_level=0"]
if xla_knows("xla_cpu_use_fusion_emitters"):
    QUICK.append("--xla_cpu_use_fusion_emitters=false")
# In pieces, to be compiled by several threads, a program takes more time of the processor.
if xla_knows("xla_cpu_parallel_codegen_split_count"):
    QUICK.append("--xla_cpu_parallel_codegen_split_count=1")
# XLA's check of its own passes: a tenth of the compilation.
QUICK.append("--xla_disable_hlo_passes=hlo-verifier")
os.environ.setdefault("XLA_FLAGS", " ".join(QUICK))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests of the cache have one of their own; no other may fill that of the person who runs them.
os.environ["GAN3D_CACHE"] = ""

import jax  # noqa: E402

# Tracing makes very many objects and little garbage: collecting it takes a good part of its time.
gc.freeze()
gc.set_threshold(200_000, 20, 100)

jax.config.update("jax_num_cpu_devices", 2)
# A broadcast between different numbers of axes is more often a mistake than meant.
jax.config.update("jax_numpy_rank_promotion", "raise")

# Of a worker's memory, before it forgets its compiled programs after every module.
MOST_KILOBYTES = 3_000_000

# Longest first, so that no worker is left alone with a long module at the end.
LONGEST = (
    "test_processes",
    "test_notebooks",
    "test_doctests",
    "test_reference",
    "test_reconstruct",
    "test_resume",
    "test_golden",
    "test_invert",
    "test_encoder",
    "test_finite_differences",
    "test_pipeline",
    "test_report",
    "test_parallel",
    "test_evaluate",
    "test_readme",
    "test_trained",
    "test_exported",
    "test_step",
    "test_transforms",
    "test_robustness",
    "test_fit",
    "test_depth_peeling",
    "test_watertight",
    "test_padding",
    "test_generator",
    "test_benchmark_render",
    "test_benchmark_train",
    "test_other_devices",
    "test_scene",
    "test_both_sides",
    "test_continuity",
    "test_derivative_orders",
    "test_near_plane",
    "test_assemble",
    "test_texture",
    "test_picture",
    "test_fitting",
    "test_robust_modes",
)


@pytest.fixture(scope="module", autouse=True)
def forgotten_programs():
    """Modules that draw the same tiny run share programs; all together would take gigabytes."""
    yield
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > MOST_KILOBYTES:
        jax.clear_caches()


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """Directory of a run of a tiny model, as training leaves it; a module may write in it."""
    from saved_run import save_run

    directory = tmp_path_factory.mktemp("runs") / "tiny"
    save_run(directory)
    return directory


def pytest_collection_modifyitems(items):
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))
