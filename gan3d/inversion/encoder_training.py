"""Training of an encoder: on the generator's own samples, then as an autoencoder of true pictures.

Samples come with their styles, background and viewpoint: exact labels, for free and without end.
What they cannot teach is what true pictures have and samples have not. So then true pictures are
encoded, generated and rendered again, and E learns from how far they come back, through the
renderer and the generator, which stays as it is; samples go on beside them, so that E forgets
nothing.

Shape letters: N pictures of a step, R their side.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan3d.data.pipeline import batches
from gan3d.inversion.encoder import Encoder, EncoderNetwork, fingerprint
from gan3d.inversion.encoder_steps import EncoderState, Programs, make_programs
from gan3d.inversion.style_space import style_space
from gan3d.trained import TrainedGenerator
from gan3d.training.checkpoint import Checkpoints
from gan3d.training.interruption import Interrupted, StopSignals

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from gan3d.data.sources import ImageSource

Report = Callable[[str], None]
_SAVES = 10  # in a training
_LINES = 40  # of progress


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """How to train an encoder.

    Attributes:
      steps: of Adam on samples alone.
      real_steps: after them, on true pictures and samples.
      batch: samples per step, and true pictures.
      learning_rate: Adam's first step size, of either part; it falls to zero along a cosine.
      real_weight: of the distance of true pictures from what comes back.
      width: channels of the network, see `EncoderNetwork`.
      stem: its channels at full size.
      mirror: whether half of the true pictures are mirrored.
      seed: of everything random.
    """

    steps: int = 6000
    real_steps: int = 1500
    batch: int = 32
    learning_rate: float = 5e-3
    real_weight: float = 10.0
    width: int = 128
    stem: int = 32
    mirror: bool = False
    seed: int = 0


def train_encoder(
    generator: TrainedGenerator,
    source: ImageSource | None = None,
    config: EncoderConfig | None = None,
    directory: str | os.PathLike[str] | None = None,
    report: Report | None = None,
) -> Encoder:
    """Trains an encoder of a generator.

    Args:
      generator: what it will answer for; it is not changed.
      source: true pictures of the generator's resolution. None: samples alone teach it, and
        `real_steps` are not taken.
      config: how to train; None = the defaults.
      directory: where the state is saved now and then, and taken up again; None = nowhere.
      report: called with a line of progress now and then.

    Raises:
      ValueError: a number of the configuration is out of its range.
      Interrupted: SIGINT or SIGTERM; with a directory, the same call goes on from there.

    >>> config = EncoderConfig(steps=2, batch=2, width=4, stem=4)
    >>> encoder: Encoder = train_encoder(generator, config=config)
    >>> styles, views = encoder.encode(jnp.zeros((3, 8, 8, 3)))
    >>> print(styles.levels.shape, views.yaw.shape)
    (3, 3, 4) (3,)
    """
    config = EncoderConfig() if config is None else config
    _validate(config)
    report = report or (lambda line: None)
    network, space = _network(generator, config), style_space(generator)
    programs = make_programs(generator, network, config.batch)
    report("compiling")
    total = config.steps + (config.real_steps if source is not None else 0)
    with contextlib.ExitStack() as stack:
        saved = _Saved(stack.enter_context(Checkpoints(directory)) if directory else None)
        start = functools.partial(programs.init, jax.random.key(config.seed))
        state, first = saved.restore(start)
        stop = stack.enter_context(StopSignals())
        progress = _Progress(report, total)
        steps = _steps(programs, source, config, state, first, total)
        for state, done, metrics in steps:
            progress.step(done, metrics)
            if done == total or done % max(total // _SAVES, 1) == 0 or stop.received:
                saved.save(done, state)
            if stop.received and done < total:
                raise Interrupted(f"stopped after step {done} of {total}", stop.received)
    resolution = generator.parts.stage.resolution
    return Encoder(network, state.params, space, resolution, fingerprint(generator))


def _network(generator: TrainedGenerator, config: EncoderConfig) -> EncoderNetwork:
    style_size = style_space(generator).basis.shape[1]
    background_size = generator.parts.config.background_latent_size
    return EncoderNetwork(
        generator.num_levels, style_size, background_size, config.width, config.stem
    )


def _steps(
    programs: Programs,
    source: ImageSource | None,
    config: EncoderConfig,
    state: EncoderState,
    done: int,
    total: int,
) -> Iterator[tuple[EncoderState, int, dict[str, Array]]]:
    """The steps that are left; each is a pure function of its number and of the state."""
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    while done < config.steps:
        rate = _rate(config, done / config.steps)
        state, metrics = programs.learn(state, rate, jax.random.fold_in(key, done))
        done += 1
        yield state, done, metrics
    if done == total:
        return
    seen = (done - config.steps) * config.batch
    with batches(source, config.batch, config.seed, seen, config.mirror) as stream:
        for images in stream:
            rate = _rate(config, (done - config.steps) / config.real_steps)
            step_key = jax.random.fold_in(key, done)
            state, metrics = programs.autoencode(
                state, rate, step_key, jnp.float32(config.real_weight), images
            )
            done += 1
            yield state, done, metrics
            if done == total:
                return


def _rate(config: EncoderConfig, progress: float) -> Float[Array, ""]:
    return jnp.float32(config.learning_rate * (1 + math.cos(math.pi * progress)) / 2)


class _Saved(NamedTuple):
    """Where the state is kept, if anywhere."""

    checkpoints: Checkpoints | None

    def restore(self, init: Callable[[], EncoderState]) -> tuple[EncoderState, int]:
        found = None
        if self.checkpoints is not None:
            found = self.checkpoints.restore_latest(jax.eval_shape(init))
        return (init(), 0) if found is None else found

    def save(self, done: int, state: EncoderState) -> None:
        if self.checkpoints is not None:
            self.checkpoints.save(done, state)


class _Progress:
    """A line now and then, with means of what was measured since the last one."""

    def __init__(self, report: Report, total: int):
        self._report, self._total, self._recent = report, total, []

    def step(self, done: int, metrics: dict[str, Array]) -> None:
        if self._recent and self._recent[-1].keys() != metrics.keys():
            self._recent = []
        self._recent.append(metrics)
        if done * _LINES // self._total > (done - 1) * _LINES // self._total:
            recent = jax.device_get(self._recent)
            means = {name: np.mean([m[name] for m in recent]) for name in metrics}
            text = " | ".join(f"{name} {value:.3f}" for name, value in means.items())
            self._report(f"encoder, step {done}/{self._total} | {text}")
            self._recent = []


def _validate(config: EncoderConfig) -> None:
    for name in ("steps", "batch", "width", "stem"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")
    if config.real_steps < 0:
        raise ValueError(f"real_steps must be at least 0, got {config.real_steps}")
    for name in ("learning_rate", "real_weight"):
        value = getattr(config, name)
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}")
