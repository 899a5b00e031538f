"""How many cores train, and who decides."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gan3d.config import Config
from gan3d.training.cores import available_cores, useful_cores


@pytest.mark.parametrize(
    ("batch", "microbatches", "group", "cores", "expected"),
    [
        (16, 1, 1, 1, 1),
        (16, 1, 1, 2, 2),
        (16, 1, 1, 3, 2),  # 3 does not divide 16
        (16, 1, 1, 64, 4),  # at least four images each
        (12, 1, 1, 3, 3),
        (7, 1, 1, 2, 1),
        (16, 8, 1, 4, 2),  # 4 images of a device are no 8 microbatches
        (16, 1, 8, 4, 2),  # D compares 8 of them
        (16, 1, 16, 4, 1),
    ],
)
def test_devices_share_the_batch_evenly(batch, microbatches, group, cores, expected):
    config = Config(batch=batch, microbatches=microbatches, mbstd_group_size=group)
    assert useful_cores(config, cores) == expected


def test_another_mistake_in_the_configuration_is_left_to_who_reports_it():
    assert useful_cores(Config(batch=16, size_min=0.9, size_max=0.5), 2) == 1


def test_no_more_cores_than_threads(monkeypatch):
    monkeypatch.setenv("NPROC", "1")
    assert available_cores() == 1
    monkeypatch.setenv("NPROC", "1000")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 5}, raising=False)
    assert available_cores() == 3
    monkeypatch.setenv("NPROC", "a few")
    assert available_cores() == 3
    monkeypatch.setenv("NPROC", "0")
    assert available_cores() == 1


COUNT = """
import os, jax
from gan3d.config import Config
from gan3d.training import cores
cores.available_cores = lambda: 2
if os.environ.get("FIRST"): jax.devices()
cores.use_cores(Config(batch=16))
print(jax.device_count())
"""


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 2),
        ({"JAX_NUM_CPU_DEVICES": "1"}, 1),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}, 3),
        ({"FIRST": "1"}, 1),
    ],
)
def test_who_has_said_how_many_devices_there_are_gets_them(settings, expected):
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu", **settings}
    command = [sys.executable, "-c", COUNT]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert int(result.stdout) == expected
