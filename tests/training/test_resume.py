"""The real program, stopped in the middle of a run, ends with the parameters of an undisturbed one.

One device: the processes started here do not have the virtual devices of the test session.
"""

from __future__ import annotations

import signal
from pathlib import Path

import jax
import numpy as np
import pytest
import training_runs
from training_runs import finish, logged, wait_until_logged

from experiments.killed_run import final_state, metrics_but_speed, write_photographs

# Long enough that the signals arrive before the end, small enough for a few seconds.
SIZES = dict(
    images=320,
    batch=4,
    log_interval_images=4,
    sheet_interval_images=320,
    checkpoint_interval_images=40,
)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder with photographs, for the run directories and for compiled programs."""
    directory = tmp_path_factory.mktemp("resume")
    write_photographs(directory)
    return directory


def start(workplace: Path, run: str):
    return training_runs.start(workplace, run, SIZES)


def stop(process, run_dir: Path, images: int, number: int) -> tuple[int, str]:
    """Sends a signal as soon as the run has logged so many images."""
    wait_until_logged(process, run_dir, images)
    process.send_signal(number)
    return finish(process)


def test_sigterm_and_sigkill_change_nothing(workplace):
    code, output = finish(start(workplace, "undisturbed"))
    assert code == 0, output

    run_dir = workplace / "disturbed"
    code, output = stop(start(workplace, "disturbed"), run_dir, 80, signal.SIGTERM)
    assert code == 128 + signal.SIGTERM, output
    assert "the same command continues" in output
    assert 80 <= logged(run_dir) < SIZES["images"], "the signal came too late to be a test"

    code, output = stop(start(workplace, "disturbed"), run_dir, 180, signal.SIGKILL)
    assert code == -signal.SIGKILL, output
    assert "resuming at " in output
    assert 180 <= logged(run_dir) < SIZES["images"], "the signal came too late to be a test"

    code, output = finish(start(workplace, "disturbed"))
    assert code == 0, output
    assert "resuming at " in output

    expected, expected_images = final_state(workplace / "undisturbed")
    actual, actual_images = final_state(run_dir)
    assert actual_images == expected_images == SIZES["images"]
    for name in ("generator_params", "discriminator_params", "ema_params"):
        jax.tree.map(np.testing.assert_array_equal, getattr(actual, name), getattr(expected, name))
    jax.tree.map(np.testing.assert_array_equal, actual, expected)
    assert metrics_but_speed(run_dir) == metrics_but_speed(workplace / "undisturbed")
