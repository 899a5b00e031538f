"""Opens what a training run left behind, for sampling and evaluation."""

from __future__ import annotations

import os
import pathlib
from typing import Any, NamedTuple

import jax

from gan3d import config as config_lib
from gan3d.training.assemble import Parts, assemble, init_state
from gan3d.training.checkpoint import CheckpointError, Checkpoints
from gan3d.training.directory import CHECKPOINTS_NAME, CONFIG_NAME


class RunError(Exception):
    """A run directory that cannot be used, in one line meant for the person who named it."""


class Run(NamedTuple):
    """A finished or interrupted training run.

    Attributes:
      parts: what `assemble` builds from the run's own configuration.
      ema_params: averaged generator parameters of the newest readable checkpoint.
      images_seen: images seen by then.
    """

    parts: Parts
    ema_params: Any
    images_seen: int


def load_run(run_dir: str | os.PathLike[str]) -> Run:
    """Loads the configuration and the newest readable checkpoint of a run.

    Raises:
      RunError: there is no such run, its configuration is unreadable, or it has no checkpoint yet.
    """
    run_dir = pathlib.Path(run_dir)
    if not run_dir.is_dir():
        raise RunError(f"there is no run {run_dir}: train one with python -m experiments.train")
    config_path = run_dir / CONFIG_NAME
    if not config_path.is_file():
        raise RunError(f"{run_dir} is not a run directory: it has no {CONFIG_NAME}")
    try:
        config = config_lib.from_json(config_path.read_text(encoding="utf-8"))
        config_lib.validate(config)
    except ValueError as error:
        raise RunError(f"{config_path} is not a configuration of this version: {error}") from error

    no_checkpoint = RunError(
        f"run {run_dir} has no checkpoint yet: let it train until it saves one"
    )
    if not (run_dir / CHECKPOINTS_NAME).is_dir():
        raise no_checkpoint
    parts = assemble(config)
    template = jax.eval_shape(lambda: init_state(parts, config.seed))
    # Read only: the run may still be going on, and is left as it was found.
    with Checkpoints(run_dir / CHECKPOINTS_NAME, read_only=True) as checkpoints:
        try:
            restored = checkpoints.restore_latest(template)
        except CheckpointError as error:
            raise RunError(f"run {run_dir} cannot be used: {error}") from error
    if restored is None:
        raise no_checkpoint
    state, images_seen = restored
    return Run(parts, state.ema_params, int(images_seen))
