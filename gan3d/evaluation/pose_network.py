"""A network that learns to read the camera's viewpoint off pictures, and viewpoints as directions.

It is trained on drawn pictures alone, whose viewpoints are known exactly, and can use whatever
gives a viewpoint away, the background included.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan3d.models.layers import Conv, Dense, activate, downsample
from gan3d.scene import View

if TYPE_CHECKING:
    from jaxtyping import Array, Float, UInt8

STEPS = 1500
BATCH = 32
LEARNING_RATE = 1e-2
_LINES = 5  # of progress
_ESTIMATE_BATCH = 256

Report = Callable[[str], None]


class PoseNetwork(nn.Module):
    """Plain convolutions from a picture down to 4 x 4, then two dense layers.

    The result is a direction and not a pair of angles: it has no jump where yaw wraps around, and
    its length is free, so that `direction_view` reads the angles off it as it is.

    Attributes:
      width: the largest number of feature channels, reached by doubling.
      stem: feature channels at full size.
    """

    width: int = 128
    stem: int = 16

    @nn.compact
    def __call__(self, image: Float[Array, "H H 3"]) -> Float[Array, "3"]:
        size, features = image.shape[0], self.stem
        x = activate(Conv(features)(image))
        while size > 4:
            size, features = size // 2, min(2 * features, self.width)
            x = activate(Conv(features)(downsample(x)))
        x = activate(Dense(self.width)(x.reshape(-1)))
        return Dense(3)(x)


def view_direction(view: View) -> Float[Array, "*N 3"]:
    """Unit vectors from the orbit's centre to the camera, world coordinates.

    >>> print(view_direction(View(jnp.pi / 6, 0.0)).round(2) + 0)
    [ 0.5   0.   -0.87]
    """
    yaw, pitch = jnp.asarray(view.yaw), jnp.asarray(view.pitch)
    level = jnp.cos(pitch)
    return jnp.stack([jnp.sin(yaw) * level, -jnp.sin(pitch), -jnp.cos(yaw) * level], axis=-1)


def direction_view(direction: Float[Array, "*N 3"]) -> View:
    """The viewpoint in a direction of any positive length; yaw in [-pi, pi], radians."""
    x, y, z = jnp.moveaxis(direction, -1, 0)
    return View(jnp.arctan2(x, -z), jnp.arctan2(-y, jnp.hypot(x, z)))


def angle_between(a: Float[Array, "*N 3"], b: Float[Array, "*N 3"]) -> Float[Array, "*N"]:
    """Angle between vectors of any positive lengths, radians; exact for small angles as well."""
    return jnp.arctan2(jnp.linalg.norm(jnp.cross(a, b), axis=-1), (a * b).sum(axis=-1))


class PoseRegressor(NamedTuple):
    """A trained network.

    Attributes:
      network: what to apply.
      params: to it.
      size: height and width of the pictures it was trained on, pixels.
    """

    network: PoseNetwork
    params: Any
    size: int

    def estimate(self, images: UInt8[np.ndarray, "N H H 3"]) -> View:
        """The viewpoint of every picture, radians, yaw in [-pi, pi]; numpy arrays [N].

        Raises:
          ValueError: images are not 8-bit pictures of the size trained on.
        """
        images = np.asarray(images)
        shape = (self.size, self.size, 3)
        if images.dtype != np.uint8 or images.shape[1:] != shape or not len(images):
            rule = f"images must be uint8 [N, {self.size}, {self.size}, 3] with N >= 1"
            raise ValueError(f"{rule}, got {images.dtype} {list(images.shape)}")
        chunks = [
            jax.device_get(_estimate(self.network, self.params, images[i : i + _ESTIMATE_BATCH]))
            for i in range(0, len(images), _ESTIMATE_BATCH)
        ]
        return View(*map(np.concatenate, zip(*chunks, strict=True)))


@functools.partial(jax.jit, static_argnames="network")
def _estimate(network, params, images):
    return direction_view(_directions(network, params, images))


def _directions(network, params, images):
    pictures = images.astype(jnp.float32) / 127.5 - 1
    return jax.vmap(lambda picture: network.apply({"params": params}, picture))(pictures)


def train_pose_regressor(
    images: UInt8[np.ndarray, "N H H 3"],
    views: View,
    key: Array,
    *,
    steps: int = STEPS,
    batch: int = BATCH,
    learning_rate: float = LEARNING_RATE,
    network: PoseNetwork | None = None,
    report: Report | None = None,
) -> PoseRegressor:
    """Trains a regressor from picture to viewpoint.

    The pictures are not mirrored at random: that would centre the answers and so hide a constant
    offset of a generator's yaw.

    Args:
      images: pictures, some thousands; their side a power of two, at least 8 pixels.
      views: from which they were taken [N], radians.
      key: consumed; equal keys give equal regressors.
      steps: of Adam; its step sizes fall to zero along a cosine.
      batch: pictures per step, chosen with replacement.
      learning_rate: Adam's first step size.
      network: what to train; None = the default `PoseNetwork`.
      report: called with a line of progress now and then.

    Raises:
      ValueError: a number is out of its range, or a shape is wrong.

    >>> from gan3d.scene import View
    >>> images, angles = np.zeros((4, 8, 8, 3), np.uint8), np.zeros(4)
    >>> network = PoseNetwork(width=4, stem=4)
    >>> regressor: PoseRegressor = train_pose_regressor(
    ...     images, View(angles, angles), jax.random.key(0), steps=1, batch=2, network=network
    ... )
    >>> print(regressor.estimate(images).yaw.shape)
    (4,)
    >>> print(pose_errors(regressor, images, View(angles, angles))["yaw_mae_degrees"] <= 180)
    True
    """
    for name, value in (("steps", steps), ("batch", batch)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not learning_rate > 0:
        raise ValueError(f"learning_rate must be positive, got {learning_rate}")
    size = _picture_size(images, views)
    network = PoseNetwork() if network is None else network
    init_key, batch_key = jax.random.split(key)
    init, step = _programs(network, learning_rate, steps, batch)
    images, directions = jnp.asarray(images), view_direction(views)
    state, recent = init(init_key, jnp.zeros((size, size, 3))), []
    for done in range(1, steps + 1):
        state, metrics = step(state, images, directions, jax.random.fold_in(batch_key, done))
        recent.append(metrics)
        if report is not None and done * _LINES // steps > (done - 1) * _LINES // steps:
            loss, degrees = np.mean(jax.device_get(recent), axis=0)
            report(f"pose, step {done}/{steps}: loss {loss:.3f}, {degrees:.1f} degrees")
            recent = []
    return PoseRegressor(network, state[0], size)


def _picture_size(images, views: View) -> int:
    shape = images.shape
    num, size = shape[0], shape[1] if len(shape) == 4 else 0
    square = shape == (num, size, size, 3) and num > 0
    if not square or size < 8 or size & (size - 1) or images.dtype != np.uint8:
        rule = "images must be uint8 [N, H, H, 3] with N >= 1 and H a power of two, at least 8"
        raise ValueError(f"{rule}, got {images.dtype} {list(shape)}")
    if not np.shape(views.yaw) == np.shape(views.pitch) == (num,):
        got = f"{list(np.shape(views.yaw))} and {list(np.shape(views.pitch))}"
        raise ValueError(f"views must hold yaw and pitch [{num}] like the images, got {got}")
    return size


# Cached: regressors that are compared with one another share their programs.
@functools.lru_cache(maxsize=2)
def _programs(network: PoseNetwork, learning_rate: float, steps: int, batch: int):
    """Start and step of Adam, jitted: not a scan over steps, in which XLA's convolutions are about
    ten times slower on CPU."""
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    @jax.jit
    def init(key, image):
        params = network.init(key, image)["params"]
        return params, optimizer.init(params)

    def loss(params, images, directions):
        estimated = _directions(network, params, images)
        # The distance, not its square: about a tenth fewer degrees, as few pictures are far off.
        squared = ((estimated - directions) ** 2).sum(axis=-1)
        return jnp.sqrt(squared + 1e-6).mean(), angle_between(estimated, directions).mean()

    @jax.jit
    def step(state, images, directions, key):
        params, opt_state = state
        chosen = jax.random.randint(key, (batch,), 0, len(images))
        (value, angle), gradient = jax.value_and_grad(loss, has_aux=True)(
            params, images[chosen], directions[chosen]
        )
        updates, opt_state = optimizer.update(gradient, opt_state)
        state = optax.apply_updates(params, updates), opt_state
        return state, jnp.stack([value, jnp.degrees(angle)])

    return init, step
