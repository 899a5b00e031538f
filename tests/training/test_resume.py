"""The real program, stopped in the middle of a run, ends with the parameters of an undisturbed one.

One device: the processes started here do not have the virtual devices of the test session.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from gan3d import config as config_lib
from gan3d.training.assemble import assemble, init_state
from gan3d.training.checkpoint import Checkpoints
from gan3d.training.metrics import read_metrics

# Long enough that the signals arrive before the end, small enough for a few seconds.
SIZES = dict(
    images=480,
    batch=4,
    surface_size=8,
    texture_size=8,
    background_size=4,
    latent_size=4,
    background_latent_size=4,
    mapping_layers=1,
    generator_width=8,
    discriminator_width=8,
    # One program to compile instead of two.
    penalty_interval=1,
    r2_gamma=0.0,
    log_interval_images=4,
    sheet_interval_images=480,
    checkpoint_interval_images=40,
)
TIMEOUT_SECONDS = 300


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder with photographs, for the run directories and for compiled programs."""
    directory = tmp_path_factory.mktemp("resume")
    (directory / "photographs").mkdir()
    colors = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
    for number, image in enumerate(colors):
        Image.fromarray(image).save(directory / "photographs" / f"{number}.png")
    return directory


def start(workplace: Path, run: str) -> subprocess.Popen:
    flags = [f"--{name}={value}" for name, value in SIZES.items()]
    flags += [f"--data=folder:{workplace}/photographs", f"--run={workplace / run}"]
    # Compiled once, by the first of the processes, and in a hurry.
    compiling = {
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        "JAX_COMPILATION_CACHE_DIR": str(workplace / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.train", *flags],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **compiling},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> tuple[int, str]:
    try:
        output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    finally:
        process.kill()
    return process.returncode, output


def stop(process: subprocess.Popen, run_dir: Path, images: int, number: int) -> tuple[int, str]:
    """Sends a signal as soon as the run has logged so many images."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline and process.poll() is None and logged(run_dir) < images:
        time.sleep(0.01)
    process.send_signal(number)
    return finish(process)


def logged(run_dir: Path) -> int:
    path = run_dir / "metrics.jsonl"
    rows = read_metrics(path) if path.exists() else []
    return rows[-1]["images"] if rows else 0


def final_state(run_dir: Path):
    config = config_lib.from_json((run_dir / "config.json").read_text())
    template = jax.eval_shape(lambda: init_state(assemble(config), config.seed))
    with Checkpoints(run_dir / "checkpoints", read_only=True) as checkpoints:
        return checkpoints.restore_latest(template)


def losses(run_dir: Path) -> list[dict]:
    rows = read_metrics(run_dir / "metrics.jsonl")
    return [{name: v for name, v in row.items() if name != "images_per_second"} for row in rows]


def test_sigterm_and_sigkill_change_nothing(workplace):
    code, output = finish(start(workplace, "undisturbed"))
    assert code == 0, output

    run_dir = workplace / "disturbed"
    code, output = stop(start(workplace, "disturbed"), run_dir, 120, signal.SIGTERM)
    assert code == 128 + signal.SIGTERM, output
    assert "the same command continues" in output
    assert 120 <= logged(run_dir) < SIZES["images"], "the signal came too late to be a test"

    code, output = stop(start(workplace, "disturbed"), run_dir, 280, signal.SIGKILL)
    assert code == -signal.SIGKILL, output
    assert "resuming at " in output
    assert 280 <= logged(run_dir) < SIZES["images"], "the signal came too late to be a test"

    code, output = finish(start(workplace, "disturbed"))
    assert code == 0, output
    assert "resuming at " in output

    expected, expected_images = final_state(workplace / "undisturbed")
    actual, actual_images = final_state(run_dir)
    assert actual_images == expected_images == SIZES["images"]
    for name in ("generator_params", "discriminator_params", "ema_params"):
        jax.tree.map(np.testing.assert_array_equal, getattr(actual, name), getattr(expected, name))
    jax.tree.map(np.testing.assert_array_equal, actual, expected)
    assert losses(run_dir) == losses(workplace / "undisturbed")
