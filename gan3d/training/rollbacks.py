"""After a step that was not finite: back to the newest checkpoint, and on with other randomness.

A state is a function of the seed, of the images seen, and of the images to which the run went back,
in order. That list is a file in the run directory, so that a run that is stopped, or that falls
back to an earlier checkpoint, repeats exactly what it did.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from gan3d.training import processes
from gan3d.training.checkpoint import CheckpointError
from gan3d.training.directory import replace_text

if TYPE_CHECKING:
    from jaxtyping import Array, Key

ROLLBACKS_NAME = "rollbacks.json"
# Without a new checkpoint in between: other randomness has not helped, and will not.
MAX_ROLLBACKS = 3
# Folded into the seed's key; the sheets' and the dashboard's streams are the two numbers above, and
# steps fold in images seen, which stay below 2**31.
_STREAM = 2**32 - 3


def read_rollbacks(run_dir: Path) -> list[int]:
    """The images to which a run went back, in order.

    Raises:
      CheckpointError: the file is damaged.
    """
    path = run_dir / ROLLBACKS_NAME
    try:
        rollbacks = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise CheckpointError(f"{path} must be a JSON list of numbers: {error}") from error
    if not isinstance(rollbacks, list) or not all(type(n) is int and n >= 0 for n in rollbacks):
        raise CheckpointError(f"{path} must be a JSON list of numbers, got {rollbacks!r}")
    return rollbacks


def write_rollbacks(run_dir: Path, rollbacks: Sequence[int]) -> None:
    """Replaces the list."""
    replace_text(run_dir / ROLLBACKS_NAME, json.dumps(list(rollbacks)) + "\n")


def agreed(rollbacks: Sequence[int]) -> list[int]:
    """The first process's list, on all."""
    table = np.zeros(processes.greatest(len(rollbacks)), np.int32)
    table[: len(rollbacks)] = rollbacks
    return processes.from_first(table).tolist()


def rolled_back(rollbacks: Sequence[int], back_to: int, reason: str) -> list[int]:
    """The list with one more.

    Raises:
      FloatingPointError: the run went back this far too often already.
    """
    if sum(earlier >= back_to for earlier in rollbacks) >= MAX_ROLLBACKS:
        raise FloatingPointError(
            f"{reason}; other randomness from {back_to:,} images on has not helped "
            f"{MAX_ROLLBACKS} times"
        )
    return [*rollbacks, back_to]


def keys(key: Key[Array, ""], rollbacks: Sequence[int]) -> list[Key[Array, ""]]:
    """One per number of rollbacks; the first is the key itself."""
    return [key, *(jax.random.fold_in(key, _STREAM - n) for n in range(len(rollbacks)))]


def generation(rollbacks: Sequence[int], images_seen: int) -> int:
    """Number of the last rollback to this point or before it, 0 = none: which key a step takes.

    >>> [generation([32, 16], images) for images in (0, 16, 32)]
    [0, 2, 2]
    >>> [generation([16, 32], images) for images in (0, 16, 32)]
    [0, 1, 2]
    """
    return max((n for n, to in enumerate(rollbacks, start=1) if to <= images_seen), default=0)
