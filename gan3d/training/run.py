"""Opens what a training run or an export left behind, for sampling and evaluation."""

from __future__ import annotations

import os
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan3d import config as config_lib
from gan3d.exported import IMAGES_SEEN, PARAMETERS_NAME, ExportError, read_arrays
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
      discriminator_params: of the same checkpoint; None = of an export, which has none.
      images_seen: images seen by then.
    """

    parts: Parts
    ema_params: Any
    discriminator_params: Any | None
    images_seen: int


def load_run(run_dir: str | os.PathLike[str]) -> Run:
    """Loads the configuration and the newest readable checkpoint of a run.

    A directory of `gan3d.deploy`, with parameters and without checkpoints, is opened too.

    Raises:
      RunError: there is no such run, its configuration is unreadable, or it has no checkpoint yet.
    """
    run_dir = pathlib.Path(run_dir)
    parts = assemble(read_config(run_dir))
    if (run_dir / CHECKPOINTS_NAME).is_dir():
        return _from_checkpoint(run_dir, parts)
    if (run_dir / PARAMETERS_NAME).is_file():
        return _from_parameters(run_dir / PARAMETERS_NAME, parts)
    raise _no_checkpoint(run_dir)


def read_config(run_dir: str | os.PathLike[str]) -> config_lib.Config:
    """The configuration of a run or an export.

    Raises:
      RunError: there is no such run, or its configuration is unreadable.
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
    return config


def flat_parameters(params: Any) -> dict[str, Any]:
    """Arrays by their path in the tree, joined by "/", in the tree's order."""
    leaves, _ = jax.tree.flatten_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _from_parameters(path: pathlib.Path, parts: Parts) -> Run:
    try:
        arrays = read_arrays(path)
    except ExportError as error:
        raise RunError(str(error)) from error
    template = jax.eval_shape(lambda: init_state(parts, parts.config.seed)).ema_params
    wanted = flat_parameters(template)
    for name, shape in {**wanted, IMAGES_SEEN: np.empty(())}.items():
        if name not in arrays or arrays[name].shape != shape.shape:
            found = f"has shape {arrays[name].shape}" if name in arrays else "is missing"
            raise RunError(f"{path} does not fit {CONFIG_NAME}: {name} {found}, not {shape.shape}")
    params = jax.tree.unflatten(
        jax.tree.structure(template),
        [jnp.asarray(arrays[name], leaf.dtype) for name, leaf in wanted.items()],
    )
    return Run(parts, params, None, int(arrays[IMAGES_SEEN]))


def _from_checkpoint(run_dir: pathlib.Path, parts: Parts) -> Run:
    template = jax.eval_shape(lambda: init_state(parts, parts.config.seed))
    # Read only: the run may still be going on, and is left as it was found.
    with Checkpoints(run_dir / CHECKPOINTS_NAME, read_only=True) as checkpoints:
        try:
            restored = checkpoints.restore_latest(template)
        except CheckpointError as error:
            raise RunError(f"run {run_dir} cannot be used: {error}") from error
    if restored is None:
        raise _no_checkpoint(run_dir)
    state, images_seen = restored
    return Run(parts, state.ema_params, state.discriminator_params, int(images_seen))


def _no_checkpoint(run_dir: pathlib.Path) -> RunError:
    return RunError(f"run {run_dir} has no checkpoint yet: let it train until it saves one")
