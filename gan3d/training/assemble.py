"""From a configuration to the parts of a training run."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan3d.config import Config
from gan3d.models import Discriminator, Generator, Randomness, ViewQuantiles
from gan3d.models.symmetry import symmetric_displacement, symmetric_texture
from gan3d.render import octahedral_direction
from gan3d.scene import Scene, Stage, View, ViewPrior, draw_quantiles, make_stage
from gan3d.training.state import TrainState

if TYPE_CHECKING:
    from jaxtyping import Array, Float


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
    """What a run is made of; nothing here changes while it trains.

    Attributes:
      config: the configuration.
      generator: network from z to maps; use `generate` for scenes.
      discriminator: network from an image to a score.
      stage: how scenes become pictures.
      prior: the viewpoint prior p_v, before anything is learned about it; see `draw_views`.
      view_quantiles: network that learns p_v, or None.
      start_surface: points of the convex start shape.
      generator_optimizer: of the generator.
      discriminator_optimizer: of the discriminator.
    """

    config: Config
    generator: Generator
    discriminator: Discriminator
    stage: Stage
    prior: ViewPrior
    view_quantiles: ViewQuantiles | None
    start_surface: np.ndarray
    generator_optimizer: optax.GradientTransformation
    discriminator_optimizer: optax.GradientTransformation


# Cached: parts are compared by identity, and what was compiled for a configuration serves whoever
# assembles it again. Bounded, because every entry keeps a mesh alive.
@functools.lru_cache(maxsize=16)
def assemble(config: Config) -> Parts:
    """Builds networks, stage, prior and optimizers; the same object for the same configuration."""
    learned = config.view_prior == "learned"
    dtype = None if config.precision == "float32" else jnp.dtype(config.precision)
    prior = ViewPrior(
        math.radians(config.yaw_degrees),
        math.radians(config.pitch_degrees),
        "uniform" if learned else config.view_prior,
    )
    stage = make_stage(
        config.surface_size,
        config.resolution,
        math.radians(config.fov_degrees),
        config.margin_pixels,
        config.chart,
        prior,
        config.background_scale,
    )
    generator = Generator(
        surface_size=config.surface_size,
        texture_size=config.texture_size,
        background_size=config.background_size,
        latent_size=config.latent_size,
        shape_latent_size=config.shape_latent_size,
        background_latent_size=config.background_latent_size,
        mapping_layers=config.mapping_layers,
        width=config.generator_width,
        displacement_gain=config.displacement_gain,
        pyramid_decay=config.pyramid_decay,
        pyramid=config.pyramid,
        noise=config.noise,
        padding="octahedral" if config.chart == "octahedral" else "edge",
        dtype=dtype,
    )
    return Parts(
        config=config,
        generator=generator,
        discriminator=Discriminator(
            config.discriminator_width, dtype, compares=config.mbstd_group_size > 1
        ),
        stage=stage,
        prior=prior,
        view_quantiles=ViewQuantiles() if learned else None,
        start_surface=_start_surface(config),
        generator_optimizer=_adam(config, config.generator_learning_rate),
        discriminator_optimizer=_adam(config, config.discriminator_learning_rate),
    )


def _adam(config: Config, rate: float) -> optax.GradientTransformation:
    if config.learning_rate_floor < 1:
        steps = math.ceil(config.learning_rate_decay_images / config.batch)
        rate = optax.cosine_decay_schedule(rate, steps, config.learning_rate_floor)
    return optax.adam(rate, b1=0.0, b2=config.adam_beta2, eps=1e-8)


def _start_surface(config: Config) -> np.ndarray:
    """A sphere in the middle of the permitted sizes, sampled at the map's pixel centres."""
    centre = (np.arange(config.surface_size) + 0.5) / config.surface_size
    uv = np.stack(np.meshgrid(centre, centre, indexing="xy"), axis=-1)
    direction = octahedral_direction(uv) if config.chart == "octahedral" else _disc_direction(uv)
    return (config.start_radius * direction).astype(np.float32)


def _disc_direction(uv: np.ndarray) -> np.ndarray:
    """Direction of a point of the azimuthal chart; beyond the rim it stays at the back pole."""
    offset = 2 * uv - 1
    radius = np.linalg.norm(offset, axis=-1, keepdims=True)
    polar = np.pi * np.minimum(radius, 1)
    around = offset / np.maximum(radius, 1e-9)
    return np.concatenate([np.sin(polar) * around, -np.cos(polar)], axis=-1)


def latent_size(parts: Parts) -> int:
    """Length of z: the object's entries and the background's."""
    return parts.config.latent_size + parts.config.background_latent_size


def generate(
    parts: Parts,
    params: Any,
    z: Float[Array, "Z"],
    random: Randomness | None = None,
    styles: Float[Array, "L W"] | None = None,
) -> Scene:
    """m = G(z) for one latent; `random` only in training, `styles` as in `Generator`."""
    maps = parts.generator.apply({"params": params}, z, random, styles)
    displacement, texture = maps.displacement, maps.texture
    if parts.config.mirror_shape:
        displacement = symmetric_displacement(displacement)
    if parts.config.mirror_texture:
        texture = symmetric_texture(texture, parts.generator.padding)
    return Scene(parts.start_surface + displacement, texture, maps.background)


def sample_scenes(parts: Parts, params: Any, key: Array, num: int) -> Scene:
    """`num` scenes of latents z ~ N(0, I), stacked; consumes the key."""
    z = jax.random.normal(key, (num, latent_size(parts)))
    return jax.vmap(lambda one: generate(parts, params, one))(z)


def draw_views(parts: Parts, params: Any, key: Array, num: int) -> View:
    """`num` viewpoints from p_v, as far as it has been learned; consumes the key."""
    return place_views(parts, params, draw_quantiles(key, (num,)))


def place_views(parts: Parts, params: Any, quantiles: Float[Array, "2 N"]) -> View:
    """Views at quantiles of p_v, see `ViewPrior.place`; differentiable in the parameters."""
    if parts.view_quantiles is not None:
        learned = lambda pair: parts.view_quantiles.apply({"params": params["views"]}, pair)  # noqa: E731
        quantiles = jax.vmap(learned, in_axes=1, out_axes=1)(quantiles)
    return parts.prior.place(quantiles)


def init_state(parts: Parts, seed: int) -> TrainState:
    """The state before the first step, a pure function of the seed."""
    key = jax.random.key(seed, impl="rbg")
    # Under jax.eval_shape nothing is compiled, and options of the compiler are refused.
    options = None if isinstance(key, jax.core.Tracer) else {"xla_backend_optimization_level": 0}
    generator_params, discriminator_params = _init_params(parts, options)(key)
    return TrainState(
        images_seen=jnp.zeros((), jnp.int32),
        generator_params=generator_params,
        discriminator_params=discriminator_params,
        ema_params=jax.tree.map(jnp.copy, generator_params),
        generator_opt=parts.generator_optimizer.init(generator_params),
        discriminator_opt=parts.discriminator_optimizer.init(discriminator_params),
        augment_probability=jnp.zeros(()) if parts.config.augment_target else None,
    )


def _init_params(parts: Parts, compiler_options: dict[str, Any] | None):
    """key -> parameters of both networks, compiled for a fast compilation.

    Run once, an initialiser costs only its compilation: six times less with the rbg generator and
    without optimisation than with the defaults, and far less than run op by op.
    """
    size = parts.config.resolution

    def init(key):
        generator_key, discriminator_key = jax.random.split(key)
        z, image = jnp.zeros(latent_size(parts)), jnp.zeros((size, size, 3))
        generator_params = parts.generator.init(generator_key, z)["params"]
        if parts.view_quantiles is not None:
            # Beside the modules of the generator, whose optimizer and average serve them too.
            views = parts.view_quantiles.init(generator_key, jnp.zeros(2))["params"]
            generator_params = {**generator_params, "views": views}
        return generator_params, parts.discriminator.init(discriminator_key, image)["params"]

    return jax.jit(init, compiler_options=compiler_options)
