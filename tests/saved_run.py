"""A run directory as training leaves it, of a tiny model that was never trained."""

from __future__ import annotations

import dataclasses
import pathlib

import jax
import numpy as np

from gan3d.config import Config, to_json
from gan3d.training.assemble import assemble, init_state
from gan3d.training.checkpoint import Checkpoints

TINY = Config(
    surface_size=16,
    texture_size=16,
    background_size=8,
    latent_size=4,
    background_latent_size=2,
    mapping_layers=1,
    generator_width=4,
    discriminator_width=4,
)


def save_run(directory: pathlib.Path, config: Config = TINY, images_seen: int = 320) -> None:
    """Writes config.json and one checkpoint with small random parameters."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(to_json(config))
    parts, random = assemble(config), np.random.default_rng(0)
    # Shapes only, because initialising op by op is slow.
    shapes = jax.eval_shape(lambda: init_state(parts, 0))
    state = jax.tree.map(
        lambda leaf: np.asarray(0.3 * random.standard_normal(leaf.shape)).astype(leaf.dtype), shapes
    )
    state = dataclasses.replace(state, images_seen=np.int32(images_seen))
    with Checkpoints(directory / "checkpoints") as checkpoints:
        checkpoints.save(images_seen, state)
