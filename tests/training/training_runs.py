"""Small runs of the real training program, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from gan3d import config as config_lib
from gan3d.training.assemble import assemble, init_state
from gan3d.training.checkpoint import Checkpoints
from gan3d.training.metrics import read_metrics

SIZES = dict(
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
)
TIMEOUT_SECONDS = 300


def write_photographs(workplace: Path) -> None:
    """A folder `photographs` with a dozen pictures."""
    (workplace / "photographs").mkdir()
    colors = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
    for number, image in enumerate(colors):
        Image.fromarray(image).save(workplace / "photographs" / f"{number}.png")


def start(
    workplace: Path, run: str, sizes: dict, more: Sequence[str] = (), num_devices: int = 1
) -> subprocess.Popen:
    """Starts a training of the photographs in `workplace / run`."""
    flags = [f"--{name}={value}" for name, value in {**SIZES, **sizes}.items()]
    flags += [f"--data=folder:{workplace}/photographs", f"--run={workplace / run}", *more]
    # Compiled once, by the first of the processes of all tests, and in a hurry.
    compiling = {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} "
        f"--xla_force_host_platform_device_count={num_devices}",
        "JAX_COMPILATION_CACHE_DIR": str(workplace.parent / "compiled"),
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


def finish(process: subprocess.Popen, timeout_seconds: float = TIMEOUT_SECONDS) -> tuple[int, str]:
    """Exit code and output."""
    try:
        output, _ = process.communicate(timeout=timeout_seconds)
    finally:
        process.kill()
    return process.returncode, output


def wait_until_logged(process: subprocess.Popen, run_dir: Path, images: int) -> None:
    """Returns when the run has logged so many images, or has ended."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline and process.poll() is None and logged(run_dir) < images:
        time.sleep(0.01)


def logged(run_dir: Path) -> int:
    """Images seen at the last line of the metrics."""
    path = run_dir / "metrics.jsonl"
    rows = read_metrics(path) if path.exists() else []
    return rows[-1]["images"] if rows else 0


def losses(run_dir: Path) -> list[dict]:
    """All metrics but the speed."""
    rows = read_metrics(run_dir / "metrics.jsonl")
    return [{name: v for name, v in row.items() if name != "images_per_second"} for row in rows]


def final_state(run_dir: Path):
    """The newest checkpoint: (state, images seen)."""
    config = config_lib.from_json((run_dir / "config.json").read_text())
    template = jax.eval_shape(lambda: init_state(assemble(config), config.seed))
    with Checkpoints(run_dir / "checkpoints", read_only=True) as checkpoints:
        return checkpoints.restore_latest(template)
