"""The runs of `experiments.kill_test`: starting them, watching them, and comparing their ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from gan3d.training.state import TrainState

BATCH = 4
FLAGS = dict(
    batch=BATCH,
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
    log_interval_images=BATCH,
    checkpoint_interval_images=16 * BATCH,
    sheet_interval_images=256 * BATCH,
)
_PROGRESS = re.compile(r"^([\d,]+)/[\d,]+ images", re.MULTILINE)
_RESUMED = re.compile(r"^resuming at ([\d,]+) images", re.MULTILINE)
_UNFINISHED = "*.orbax-checkpoint-tmp*"


class Attempt:
    """One start of a run, in a process of its own.

    Attributes:
      log: file with all that it prints.
      first_step_seconds: how long it took to its first step, None = it has not got there.
    """

    def __init__(self, command: Sequence[str], run_dir: Path, environment: dict[str, str]):
        self._checkpoints = run_dir / "checkpoints"
        self.log = run_dir.with_name(f"{run_dir.name}.log")
        self._began = time.monotonic()
        self.first_step_seconds: float | None = None
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment
            )

    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def finish(self) -> float:
        """Waits for its end; returns the seconds from start to end.

        Raises:
          RuntimeError: it failed.
        """
        if self._process.wait() != 0:
            raise RuntimeError(f"exit code {self._process.returncode}:\n{self.log.read_text()}")
        return time.monotonic() - self._began

    def kill(self) -> str:
        """Kills it; returns what it was doing: "start-up", "training" or "saving"."""
        self._process.kill()
        self._process.wait()
        self._seconds = time.monotonic() - self._began
        if not self.new_images():  # what is incomplete was left by an earlier attempt
            return "start-up"
        return "saving" if self.is_saving() else "training"

    def resumed_from(self) -> int:
        """Images at the checkpoint that it read, 0 = none."""
        return self._last_number(_RESUMED)

    def new_images(self) -> int:
        """Images of this attempt, as far as it has reported them."""
        new = max(0, self._last_number(_PROGRESS) - self.resumed_from())
        if new and self.first_step_seconds is None:
            self.first_step_seconds = time.monotonic() - self._began
        return new

    def is_saving(self) -> bool:
        """Whether there is a checkpoint that is not complete."""
        return any(self._checkpoints.glob(_UNFINISHED))

    def newest_checkpoint(self) -> int:
        """Images at the newest complete one, 0 = none."""
        names = [path.name for path in self._checkpoints.glob("*")]
        return max((int(name) for name in names if name.isdecimal()), default=0)

    def errors(self, newest: int) -> list[str]:
        """What went wrong in an attempt that was killed.

        Args:
          newest: complete checkpoint when it was started.
        """
        errors = []
        if self._process.returncode != -9:
            errors.append(f"it had ended before, exit code {self._process.returncode}")
        if self.new_images() and self.resumed_from() != newest:
            errors.append(f"resumed from {self.resumed_from()}, not from {newest}")
        return errors

    def describe(self, where: str) -> str:
        """The attempt in one line."""
        at = self.resumed_from() + self.new_images()
        return (
            f"in {where} after {self._seconds:.2f} s, at {at} images, "
            f"resumed from {self.resumed_from()}, newest checkpoint {self.newest_checkpoint()}"
        )

    def _last_number(self, pattern: re.Pattern[str]) -> int:
        numbers = pattern.findall(self.log.read_text(errors="replace"))
        return int(numbers[-1].replace(",", "")) if numbers else 0


def start(workplace: Path, run: str, images: int) -> Attempt:
    """Starts a run of the photographs in the workplace, or starts it again."""
    run_dir = workplace / run
    flags = [f"--{name}={value}" for name, value in {**FLAGS, "images": images}.items()]
    flags += [f"--data=folder:{workplace / 'photographs'}", f"--run={run_dir}"]
    environment = {
        **compiling_once(workplace / "compiled", "--xla_backend_optimization_level=0"),
        "JAX_PLATFORMS": "cpu",
        "GAN3D_CACHE": str(workplace / "decoded"),
    }
    command = [sys.executable, "-m", "experiments.train", *flags]
    return Attempt(command, run_dir, {**os.environ, **environment})


def compiling_once(directory: Path, xla_flags: str) -> dict[str, str]:
    """Environment variables of processes that share compiled programs, compiled in a hurry."""
    return {
        "XLA_FLAGS": xla_flags,
        "JAX_COMPILATION_CACHE_DIR": str(directory),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def write_photographs(workplace: Path) -> None:
    """A folder `photographs` with a dozen pictures."""
    (workplace / "photographs").mkdir(parents=True)
    colors = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
    for number, image in enumerate(colors):
        Image.fromarray(image).save(workplace / "photographs" / f"{number}.png")


def differences(expected: Path, actual: Path) -> list[str]:
    """What the ends of two runs do not share, one line each."""
    lines = []
    states, images = zip(_final_state(expected), _final_state(actual), strict=True)
    if images[0] != images[1]:
        lines.append(f"images seen: {images[0]} and {images[1]}")
    for name, leaf in states[0].items():
        if leaf.tobytes() != states[1][name].tobytes():
            lines.append(f"final state: {name} differs")
    if metrics_but_speed(expected) != metrics_but_speed(actual):
        lines.append("metrics differ")
    sheets = [
        {p.name: p.read_bytes() for p in run.glob("sheets/*.png")} for run in (expected, actual)
    ]
    if not sheets[0] or sheets[0] != sheets[1]:
        lines.append("sheets differ")
    return lines


def _final_state(run_dir: Path) -> tuple[dict[str, np.ndarray], int]:
    """Leaves of the newest checkpoint by name, and images seen."""
    import jax  # slow imports, and in this process needed at the end only

    state, images_seen = final_state(run_dir)
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}, images_seen


def final_state(run_dir: Path) -> tuple[TrainState, int]:
    """The newest intact checkpoint and images seen at it."""
    import jax

    from gan3d import config as config_lib
    from gan3d.training.assemble import assemble, init_state
    from gan3d.training.checkpoint import Checkpoints

    config = config_lib.from_json((run_dir / "config.json").read_text())
    template = jax.eval_shape(lambda: init_state(assemble(config), config.seed))
    with Checkpoints(run_dir / "checkpoints", read_only=True) as checkpoints:
        return checkpoints.restore_latest(template)


def metrics_but_speed(run_dir: Path) -> list[dict]:
    """Rows of the run's metrics, in the order of the clock."""
    from gan3d.training.metrics import METRICS_NAME, read_metrics

    rows = read_metrics(run_dir / METRICS_NAME)
    return [{name: v for name, v in row.items() if name != "images_per_second"} for row in rows]
