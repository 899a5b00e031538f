"""Small runs of the real training program, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.killed_run import FLAGS, compiling_once
from gan3d.training.metrics import read_metrics

TIMEOUT_SECONDS = 300


def start(
    workplace: Path,
    run: str,
    sizes: dict,
    more: Sequence[str] = (),
    num_devices: int = 1,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen:
    """Starts a training of the photographs in `workplace / run`."""
    flags = [f"--{name}={value}" for name, value in {**FLAGS, **sizes}.items()]
    flags += [f"--data=folder:{workplace}/photographs", f"--run={workplace / run}", *more]
    # By the first of the processes of all tests.
    compiling = compiling_once(
        workplace.parent / "compiled",
        f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={num_devices}",
    )
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.train", *flags],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **compiling, **(environment or {})},
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
