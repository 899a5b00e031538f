"""Kills a training with SIGKILL at random moments, and compares its end with an undisturbed one.

A tiny configuration of the real program, on a CPU. A kill falls into the start-up, into training or
into a save; after every one the same command is given again, and what it resumes from must be the
newest complete checkpoint. After the last kill the run may finish. Exit code 0 if its final state,
its metrics and its sheets are then, byte by byte, those of a run that nobody disturbed.

  python -m experiments.kill_test --kills=50
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags

from experiments import flags as experiment_flags
from experiments.flags import UsageError
from experiments.killed_run import Attempt, differences, start, write_photographs

# Where kills are aimed at, and how often; where one fell is looked up afterwards.
AIMS = {"start-up": 3, "training": 4, "saving": 3}
# A kill comes at most so many images after the start, or in the save after that. A run is so long
# that it has not finished before the last kill; if it has, that is an error.
SPAN_IMAGES = 128
IMAGES_PER_KILL = 128
PATIENCE_SECONDS = 300.0
_SAVE_SECONDS = 0.1


class Moment(NamedTuple):
    """When to kill.

    Attributes:
      aim: one of `AIMS`.
      fraction: of the time that a start takes, or of `SPAN_IMAGES`, in [0, 1).
      seconds: after that, or after the next save has begun.
    """

    aim: str
    fraction: float
    seconds: float


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_integer("kills", 50, "how often the run is killed", 1, flag_values=values)
    flags.DEFINE_integer("seed", 0, "of the moments", flag_values=values)
    flags.DEFINE_string(
        "directory", None, "for both runs, kept; default a temporary one", flag_values=values
    )
    return values


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    values = _define_flags()
    experiment_flags.parse(values, argv, __doc__)
    if values.directory is None:
        with tempfile.TemporaryDirectory() as directory:
            return kill_test(Path(directory), values.kills, values.seed)
    directory = Path(values.directory).absolute()
    if directory.exists():
        raise UsageError(f"directory must not exist yet, got {directory}")
    return kill_test(directory, values.kills, values.seed)


def kill_test(workplace: Path, kills: int, seed: int) -> int:
    """Both runs, a line per kill, and the comparison; returns the exit code."""
    began = time.monotonic()
    write_photographs(workplace)
    images = IMAGES_PER_KILL * kills
    seconds = start(workplace, "undisturbed", images).finish()
    print(f"undisturbed: {images} images, {seconds:.0f} s", flush=True)
    fell, wrong = Counter(), []
    # The time of a start, for now: this one has nothing to compile, and nothing left to do.
    start_seconds = start(workplace, "undisturbed", images).finish()
    for number, moment in enumerate(draw_moments(kills, seed), start=1):
        attempt = start(workplace, "killed", images)
        newest = attempt.newest_checkpoint()
        wait_until(moment, attempt, start_seconds)
        where = attempt.kill()
        if attempt.first_step_seconds is not None:
            start_seconds = attempt.first_step_seconds
        fell[where] += 1
        wrong += [f"kill {number}: {error}" for error in attempt.errors(newest)]
        print(f"kill {number}: {attempt.describe(where)}", flush=True)
    start(workplace, "killed", images).finish()
    wrong += differences(workplace / "undisturbed", workplace / "killed")
    print(
        f"{kills} kills, seed {seed}, {time.monotonic() - began:.0f} s: "
        + ", ".join(f"{fell[where]} in {where}" for where in AIMS)
    )
    for line in wrong or ["final state, metrics and sheets are those of the undisturbed run"]:
        print(line)
    return 1 if wrong else 0


def draw_moments(kills: int, seed: int) -> list[Moment]:
    """The moments of all kills, a function of the seed."""
    generator = random.Random(seed)
    aims = generator.choices(list(AIMS), list(AIMS.values()), k=kills)
    return [Moment(a, generator.random(), _SAVE_SECONDS * generator.random()) for a in aims]


def wait_until(moment: Moment, attempt: Attempt, start_seconds: float) -> None:
    """Returns when the moment has come, or the process has ended."""
    deadline = time.monotonic() + PATIENCE_SECONDS

    def wait_for(condition) -> None:
        while attempt.runs() and not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{attempt.log} has not got there in {PATIENCE_SECONDS:.0f} s")
            time.sleep(0.002)

    if moment.aim == "start-up":
        until = time.monotonic() + moment.fraction * start_seconds
        wait_for(lambda: time.monotonic() >= until)
        return
    wait_for(lambda: attempt.new_images() > moment.fraction * SPAN_IMAGES)
    if moment.aim == "saving":
        wait_for(attempt.is_saving)
    until = time.monotonic() + moment.seconds
    wait_for(lambda: time.monotonic() >= until)


if __name__ == "__main__":
    sys.exit(experiment_flags.run(main, sys.argv))
