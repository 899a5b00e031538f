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
from gan3d.scene import Scene, Stage, View, ViewPrior, render_scene

if TYPE_CHECKING:
    from jaxtyping import Array, Float, UInt8

STEPS = 1500
BATCH = 32
POOL_IMAGES = 4096
LEARNING_RATE = 1e-2
_LINES = 5  # of progress, for each of the two parts of the work
_ESTIMATE_BATCH = 256

# key -> pictures [B, H, H, 3] in [-1, 1] and the views [B] they were taken from.
Draw = Callable[[Any], tuple[Any, View]]
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


def photographs_of(
    sample: Callable[[Any], Scene], stage: Stage, prior: ViewPrior, num: int = BATCH
) -> Draw:
    """A draw for `train_pose_regressor`: scenes, each seen from its own random viewpoint.

    Args:
      sample: key -> `num` scenes, stacked; generated or true ones.
      stage: how they are shown.
      prior: distribution of the viewpoints.
      num: pictures per draw.
    """

    def draw(key: Array) -> tuple[Float[Array, "B H H 3"], View]:
        scene_key, view_key = jax.random.split(key)
        views = prior.sample(view_key, (num,))
        shown = jax.vmap(lambda scene, view: render_scene(scene, view, stage).image)
        return shown(sample(scene_key), views), views

    return draw


def train_pose_regressor(
    draw: Draw,
    key: Array,
    *,
    steps: int = STEPS,
    batch: int = BATCH,
    num_images: int = POOL_IMAGES,
    learning_rate: float = LEARNING_RATE,
    network: PoseNetwork | None = None,
    report: Report | None = None,
) -> PoseRegressor:
    """Trains a regressor from picture to viewpoint on drawn pictures alone.

    The pictures are drawn once and kept, in 8 bits like the photographs the regressor will see:
    drawing one costs several times a step's share of it. They are not mirrored at random: that
    would centre the answers and so hide a constant offset of the generator's yaw.

    Args:
      draw: see `Draw`; jittable. Their side a power of two, at least 8 pixels.
      key: consumed; equal keys give equal regressors.
      steps: of Adam; its step sizes fall to zero along a cosine.
      batch: pictures per step, drawn with replacement.
      num_images: different pictures.
      learning_rate: Adam's first step size.
      network: what to train; None = the default `PoseNetwork`.
      report: called with a line of progress now and then.

    Raises:
      ValueError: a number is out of its range, or the draw's shapes are wrong.
    """
    for name, value in (("steps", steps), ("batch", batch), ("num_images", num_images)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not learning_rate > 0:
        raise ValueError(f"learning_rate must be positive, got {learning_rate}")
    network = PoseNetwork() if network is None else network
    report = (lambda line: None) if report is None else report
    draw_key, init_key, batch_key = jax.random.split(key, 3)
    size = _picture_size(draw, draw_key)
    images, directions = _draw_pool(draw, draw_key, num_images, report)
    params = jax.jit(network.init)(init_key, jnp.zeros((size, size, 3)))["params"]
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    step = _make_step(network, optimizer, batch)
    state, recent = (params, optimizer.init(params)), []
    for done in range(1, steps + 1):
        state, metrics = step(state, images, directions, jax.random.fold_in(batch_key, done))
        recent.append(metrics)
        if done * _LINES // steps > (done - 1) * _LINES // steps:
            loss, degrees = np.mean(jax.device_get(recent), axis=0)
            report(f"pose, step {done}/{steps}: loss {loss:.3f}, {degrees:.1f} degrees")
            recent = []
    return PoseRegressor(network, state[0], size)


def _picture_size(draw: Draw, key: Array) -> int:
    images, views = jax.eval_shape(draw, key)
    shape = images.shape
    num, size = shape[0], shape[1] if len(shape) == 4 else 0
    if shape != (num, size, size, 3) or size < 8 or size & (size - 1) or not num:
        rule = "draw must give images [B, H, H, 3] with H a power of two, at least 8"
        raise ValueError(f"{rule}, got {list(shape)}")
    if not views.yaw.shape == views.pitch.shape == (num,):
        got = f"{list(views.yaw.shape)} and {list(views.pitch.shape)}"
        raise ValueError(f"draw must give yaw and pitch [{num}] as images, got {got}")
    return size


def _draw_pool(draw, key, num_images, report):
    """So many pictures, uint8, and the directions they were taken from."""

    @jax.jit
    def photograph(key):
        images, views = draw(key)
        rounded = jnp.round(127.5 * (jnp.clip(images, -1, 1) + 1)).astype(jnp.uint8)
        return rounded, view_direction(views)

    report(f"pose, pictures 0/{num_images}")
    drawn, total = [], 0
    while total < num_images:
        drawn.append(photograph(jax.random.fold_in(key, len(drawn))))
        before, total = total, min(total + len(drawn[-1][0]), num_images)
        if total * _LINES // num_images > before * _LINES // num_images:
            jax.block_until_ready(drawn)
            report(f"pose, pictures {total}/{num_images}")
    images, directions = map(jnp.concatenate, zip(*drawn, strict=True))
    return images[:num_images], directions[:num_images]


def _make_step(network, optimizer, batch):
    """One step of Adam, jitted: not a scan over steps, in which XLA's convolutions are about ten
    times slower on CPU."""

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

    return step
