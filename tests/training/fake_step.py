"""A training with a step so small that only what is around it is under test."""

from __future__ import annotations

import types

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from gan3d import config as config_lib
from gan3d.training import loop, record
from gan3d.training.checkpoint import Checkpoints
from gan3d.training.metrics import read_metrics
from gan3d.training.state import TrainState


class CountingSource:
    """Sixteen images, image i of colour i; `on_fetch` is called with the number fetched so far."""

    name = "counting"

    def __init__(self, on_fetch=lambda num_fetched: None):
        self.num_fetched = 0
        self._on_fetch = on_fetch

    def __len__(self):
        return 16

    def __getitem__(self, index):
        self.num_fetched += 1
        self._on_fetch(self.num_fetched)
        return np.full((32, 32, 3), index, np.uint8)


def make_config(**overrides):
    small = dict(
        images=64,
        batch=4,
        log_interval_images=8,
        sheet_interval_images=24,
        checkpoint_interval_images=16,
    )
    return config_lib.preset("demo", **{**small, **overrides})


def init_state(parts, seed):
    params = {"w": jnp.full(3, float(seed))}
    ballast = jax.random.normal(jax.random.key(0), (parts.ballast,))
    return TrainState(jnp.int32(0), params, ballast, params, (), ())


def parallel_step(parts, devices, pool):
    """Folds everything that must survive an interruption into three numbers.

    The loss is NaN after `parts.poison` images, with the keys that `parts.poisonous` says.
    """

    @jax.jit
    def step(state, images, key, penalise, poison):
        images = images.reshape(-1, *images.shape[2:]).astype(jnp.float32)[:, 0, 0, 0]
        noise = jax.random.normal(jax.random.fold_in(key, state.images_seen), (3,))
        w = jnp.where(penalise, 0.8, 0.9) * state.generator_params["w"] + noise
        w = w + images @ jnp.arange(len(images)) / 100
        images_seen = state.images_seen + parts.config.batch
        loss = jnp.where(images_seen == poison, jnp.nan, w.sum())
        state = state.replace(
            images_seen=images_seen, generator_params={"w": w}, ema_params={"w": w}
        )
        return state, {"loss_g": loss, "loss_d": loss, "coverage": loss}

    def poisoned(state, images, key, penalise):
        return step(state, images, key, penalise, parts.poison if parts.poisonous(key) else -1)

    return poisoned


def install(monkeypatch):
    """Replaces networks, step, dashboard and sheets; returns the parts, to poison them."""
    parts = types.SimpleNamespace(stage=None, ballast=3, poison=-1, poisonous=lambda key: True)

    def assemble(config):
        parts.config = config
        return parts

    monkeypatch.setattr(loop, "assemble", assemble)
    monkeypatch.setattr(loop, "parallel_step", parallel_step)
    log = lambda writer, images, w: writer.write(images, {"dashboard/w": w.sum()})  # noqa: E731
    replacements = dict(
        init_state=init_state,
        first_state=lambda parts: (init_state(parts, parts.config.seed), ""),
        sample_scenes=lambda parts, params, key, num: params["w"],
        draw_views=lambda parts, params, key, num: None,
        dashboard_reader=lambda parts: lambda params: params["w"],
        log_reading=log,
        sample_sheet=lambda scenes, views, stage: np.zeros((8, 8, 3), np.uint8),
    )
    for name, replacement in replacements.items():
        monkeypatch.setattr(record, name, replacement)
    logging.set_verbosity(logging.WARNING)
    return parts


def sheets(run_dir):
    return sorted(int(path.stem) for path in (run_dir / "sheets").glob("*.png"))


def checkpoints(run_dir):
    with Checkpoints(run_dir / "checkpoints", read_only=True) as checkpoints:
        return checkpoints.all_images()


def logged(run_dir, name="loss_g"):
    rows = read_metrics(run_dir / "metrics.jsonl")
    return [(row["images"], row[name]) for row in rows if name in row]


def dashboards(run_dir):
    return logged(run_dir, "dashboard/w")
