"""Settings of the whole test session. They have to be made before jax starts its backend."""

from __future__ import annotations

import gc
import os

# With as many threads as cores, two virtual devices on two cores wait for each other in a
# collective until it times out.
os.environ.setdefault("NPROC", "16")
# Tests compile far more than they compute.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

# Tracing makes very many objects and little garbage: collecting it takes a good part of its time.
gc.freeze()
gc.set_threshold(200_000, 20, 100)

jax.config.update("jax_num_cpu_devices", 2)
# A broadcast between different numbers of axes is more often a mistake than meant.
jax.config.update("jax_numpy_rank_promotion", "raise")

# Longest first, so that no worker is left alone with a long module at the end.
LONGEST = (
    "test_resume",
    "test_pipeline",
    "test_transforms",
    "test_step",
    "test_reference",
    "test_parallel",
    "test_fit",
    "test_padding",
    "test_other_devices",
    "test_depth_peeling",
    "test_evaluate",
    "test_sample",
    "test_readme",
)


def pytest_collection_modifyitems(items):
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))
