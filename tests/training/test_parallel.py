"""Two virtual devices take the same step as one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.config import Config
from gan3d.training.assemble import assemble, init_state
from gan3d.training.parallel import AXIS, parallel_step, replicate, shard_batch
from gan3d.training.step import make_step

BATCH, RESOLUTION = 4, 32
CONFIG = Config(
    batch=BATCH,
    resolution=RESOLUTION,
    surface_size=8,
    texture_size=16,
    background_size=8,
    latent_size=8,
    background_latent_size=4,
    generator_width=8,
    discriminator_width=8,
    penalty_interval=1,
)


@pytest.fixture(scope="module")
def parts():
    return assemble(CONFIG)


@pytest.fixture(scope="module")
def state(parts):
    """A state in the middle of a training, on the host.

    Adam's very first steps have the size of the learning rate however small a gradient is: they
    would turn rounding where a gradient vanishes into whole steps. Later on they do not.
    """
    state = init_state(parts, 0)
    warm = {"count": jnp.full((), 1000, jnp.int32)}

    def warmed(optimizer):
        adam, *rest = optimizer
        second = jax.tree.map(lambda x: jnp.full_like(x, 1e-3), adam.nu)
        return (adam._replace(**warm, nu=second), *rest)

    state = state.replace(
        generator_opt=warmed(state.generator_opt),
        discriminator_opt=warmed(state.discriminator_opt),
    )
    return jax.tree.map(np.asarray, state)


@pytest.fixture(scope="module")
def batches():
    shape = (2, BATCH, RESOLUTION, RESOLUTION, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.fixture(scope="module")
def on_one(parts, state, batches):
    """[(state, metrics)] after each of two steps."""
    step, history = jax.jit(make_step(parts)), []
    for images in batches:
        state, metrics = step(state, images, jax.random.key(1))
        history.append(jax.tree.map(np.asarray, (state, metrics)))
    return history


@pytest.fixture(scope="module")
def on_two(parts, state, batches):
    devices = jax.devices()[:2]
    step = parallel_step(make_step(parts, AXIS), devices)
    state, history = replicate(state, devices), []
    for images in batches:
        state, metrics = step(state, shard_batch(images, 2), jax.random.key(1))
        history.append(jax.tree.map(np.asarray, (state, metrics)))
    return history


@pytest.mark.parametrize("step", [0, 1])
def test_two_devices_take_the_same_step_as_one(on_one, on_two, step):
    worst = {}
    (one, m1), (two, m2) = on_one[step], on_two[step]
    for name in m1:
        worst["m", name]=abs(m1[name]-m2[name])/max(abs(m1[name]),1e-9)
    for (path, a), b in zip(jax.tree.leaves_with_path(one), jax.tree.leaves(two)):
        worst[jax.tree_util.keystr(path)]=(np.abs(a-b).max(), np.abs(a).max(), np.abs(a-b).max()/np.abs(a).max())
    for k in worst: print(step,k,worst[k])
