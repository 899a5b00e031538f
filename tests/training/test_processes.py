"""The real program on one device, on eight, and in two processes that talk over loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import training_runs
from training_runs import finish, wait_until_logged

from experiments.killed_run import final_state, metrics_but_speed, write_photographs
from gan3d.training import processes

STEPS, BATCH = 20, 8
SIZES = dict(
    images=STEPS * BATCH,
    batch=BATCH,
    log_interval_images=BATCH,
    sheet_interval_images=STEPS * BATCH,
    checkpoint_interval_images=STEPS * BATCH,
    # Adam's first steps are as long as its rate however small a gradient is, so that rounding
    # grows with the rate.
    generator_learning_rate=1e-4,
    discriminator_learning_rate=1e-4,
)
ENDLESS = {**SIZES, "images": 10**7, "checkpoint_interval_images": 10**7}
WAIT_FOR_THE_DEAD_SECONDS = 60


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("processes")
    write_photographs(directory)
    return directory


@pytest.fixture(scope="module")
def alone(workplace) -> list[dict]:
    """What one process with one device logs."""
    code, output = finish(training_runs.start(workplace, "alone", SIZES))
    assert code == 0, output
    return metrics_but_speed(workplace / "alone")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def start_two(workplace: Path, run: str, sizes: dict) -> list:
    together = [f"--coordinator=localhost:{free_port()}", "--num_processes=2"]
    return [
        training_runs.start(workplace, run, sizes, [*together, f"--process_id={i}"])
        for i in range(2)
    ]


def slurm(process_id: int, port: int, hosts: int) -> dict[str, str]:
    """What srun says to one of two processes on so many hosts; all of them are this one."""
    variables = dict(JOB_ID=7, STEP_NODELIST="localhost,elsewhere", STEP_NUM_NODES=hosts, NTASKS=2)
    variables |= dict(PROCID=process_id, LOCALID=process_id if hosts == 1 else 0)
    named = {f"SLURM_{name}": str(value) for name, value in variables.items()}
    return {**named, "JAX_COORDINATOR_PORT": str(port)}


def start_two_by_slurm(workplace: Path, run: str, sizes: dict) -> list:
    port = free_port()
    return [
        training_runs.start(workplace, run, sizes, ["--cluster"], environment=slurm(i, port, 2))
        for i in range(2)
    ]


def assert_same_losses(actual: list[dict], expected: list[dict]) -> None:
    """In all steps within 1e-4; the looks at the samples, too."""
    assert [row.keys() for row in actual] == [row.keys() for row in expected]
    assert sum("loss_g" in row for row in expected) == STEPS
    for row, other in zip(actual, expected, strict=True):
        for name, value in row.items():
            if not isinstance(value, dict):  # a histogram
                np.testing.assert_allclose(value, other[name], atol=1e-4, err_msg=name)


def test_eight_devices_train_as_one(workplace, alone):
    code, output = finish(training_runs.start(workplace, "eight", SIZES, num_devices=8))
    assert code == 0, output
    assert "on 8 x cpu" in output
    assert_same_losses(metrics_but_speed(workplace / "eight"), alone)


def test_two_processes_train_as_one_end_together_and_resume(workplace, alone):
    """Stopped, and then killed; the second time they learn from Slurm who they are. How two finish
    is tested in `test_rollbacks`."""
    run_dir = workplace / "two"
    both = start_two(workplace, "two", ENDLESS)
    wait_until_logged(both[0], run_dir, (STEPS + 5) * BATCH)
    both[1].send_signal(signal.SIGTERM)
    ends = [finish(process) for process in both]
    for code, output in ends:
        assert code == 128 + signal.SIGTERM, output
        assert "the same command continues" in output
    assert "on 2 x cpu of 2 processes" in ends[0][1]
    rows = [row for row in metrics_but_speed(run_dir) if row["images"] <= STEPS * BATCH]
    assert_same_losses(rows, alone)
    _, saved = final_state(run_dir)
    # One checkpoint, complete, and nothing else beside it.
    assert os.listdir(run_dir / "checkpoints") == [str(saved)]

    both = start_two_by_slurm(workplace, "two", ENDLESS)
    wait_until_logged(both[0], run_dir, saved + 5 * BATCH)
    both[1].kill()
    killed_at = time.monotonic()
    code, output = finish(both[0])
    assert time.monotonic() - killed_at < WAIT_FOR_THE_DEAD_SECONDS
    assert code not in (0, -signal.SIGKILL), output
    assert f"resuming at {saved:,} images" in output
    finish(both[1])


@pytest.mark.parametrize(("hosts", "visible"), [(1, ["0", "1"]), (2, ["all", "all"])])
def test_one_process_per_host_drives_all_gpus_and_several_one_each(hosts, visible):
    program = """
import jax
from gan3d.training import processes
processes.join()
print(jax.config.read("jax_cuda_visible_devices"), processes.greatest(jax.process_index()))
"""
    port = free_port()
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, **slurm(i, port, hosts)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    printed = [finish(process)[1].splitlines()[-1] for process in both]  # after gloo's own lines
    assert printed == [f"{seen} 1" for seen in visible]


@pytest.mark.parametrize(("local_size", "visible"), [("1", "all"), ("2", "0")])
def test_open_mpi_says_how_many_processes_a_host_has(local_size, visible, monkeypatch):
    def initialize(*given, **timeouts):  # as jax does where Open MPI has started it
        for platform in ("cuda", "rocm"):
            jax.config.update(f"jax_{platform}_visible_devices", "0")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_SIZE", local_size)
    monkeypatch.delenv("JAX_LOCAL_DEVICE_IDS", raising=False)
    try:
        processes.join()
        assert jax.config.read("jax_cuda_visible_devices") == visible
        assert jax.config.read("jax_rocm_visible_devices") == visible
    finally:
        for platform in ("cuda", "rocm"):
            jax.config.update(f"jax_{platform}_visible_devices", "all")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("localhost:1", None, 0), "must be given together, got 'localhost:1', None and 0"),
        (("localhost", 2, 0), "coordinator must be HOST:PORT, got 'localhost'"),
        (("localhost:0", 2, 0), "coordinator must be HOST:PORT, got 'localhost:0'"),
        (("localhost:1", 0, 0), "num_processes must be at least 1, got 0"),
        (("localhost:1", 2, 2), "process_id must be at least 0 and less than 2, got 2"),
    ],
)
def test_wrong_numbers_are_refused(arguments, message):
    with pytest.raises(ValueError) as error:
        processes.join(*arguments)
    assert message in str(error.value)


def test_one_process_is_first_and_agrees_with_itself():
    tree = {"a": np.arange(3)}
    assert processes.is_first()
    assert processes.from_first(tree) is tree
    assert processes.greatest(7) == 7
