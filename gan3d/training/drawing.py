"""The generated images of a step: which latents, and what is drawn from them.

Shape letters: b images of one share of the batch, R resolution.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gan3d.models import Randomness
from gan3d.priors import (
    crease_term,
    fold_term,
    laplacian_term,
    size_term,
    smoothness_fraction,
    tangential_term,
)
from gan3d.scene import draw_quantiles, render_scene, scene_vertices
from gan3d.training.assemble import Parts, generate, latent_size, place_views

# Folded into a step's key for style mixing and noise.
_RANDOMNESS_STREAM = 2**32 - 2


class Latents(NamedTuple):
    """What a batch of generated images is drawn from."""

    z: Any
    view_quantiles: Any
    random: Randomness | None


class Drawn(NamedTuple):
    """Generated images, and the weighted sum of the priors on their shapes."""

    images: Any
    prior: Any


def draw_latents(parts: Parts, key, batch: int, num_shares, index) -> Latents:
    """One share of the global batch's latents, so that the number of shares changes nothing.

    Args:
      parts: from `assemble`.
      key: of the step; consumed.
      batch: images of a share.
      num_shares: of the global batch: devices times microbatches.
      index: which share.
    """
    z_key, view_key = jax.random.split(key)
    total = batch * num_shares
    z = jax.random.normal(z_key, (total, latent_size(parts)))
    quantiles = draw_quantiles(view_key, (total,)).T
    random = _draw_randomness(parts, jax.random.fold_in(key, _RANDOMNESS_STREAM), total)
    share = lambda a: jax.lax.dynamic_slice_in_dim(a, index * batch, batch)  # noqa: E731
    return Latents(*jax.tree.map(share, (z, quantiles, random)))


def _draw_randomness(parts: Parts, key, num: int) -> Randomness | None:
    """Second latents, crossovers and noise of `num` images; None if the run has none of these."""
    if not parts.config.noise and not parts.config.style_mixing:
        return None
    z_key, mix_key, level_key, noise_key = jax.random.split(key, 4)
    levels = parts.generator.num_levels
    mixed = jax.random.uniform(mix_key, (num,)) < parts.config.style_mixing
    crossover = jnp.where(mixed, jax.random.randint(level_key, (num,), 1, levels), levels)
    z = jax.random.normal(z_key, (num, latent_size(parts)))
    return Randomness(z, crossover, jax.random.split(noise_key, num))


def draw_images(parts: Parts, params, latents: Latents, age):
    """x = R(G(z), v) for a batch -> (Drawn, metrics); the priors' weights follow the networks' age.

    See `transfer.network_age`.
    """
    stage = parts.stage
    scenes = jax.vmap(lambda z, random: generate(parts, params, z, random))(
        latents.z, latents.random
    )
    views = place_views(parts, params, latents.view_quantiles.T)
    pictures = jax.vmap(lambda scene, view: render_scene(scene, view, stage))(scenes, views)
    values = _prior_values(parts, pictures.vertices)
    weights = _prior_weights(parts, age)
    prior = sum(weights[name] * value for name, value in values.items())
    radius = jnp.linalg.norm(jax.lax.stop_gradient(pictures.vertices), axis=-1).mean()
    metrics = {**values, "coverage": pictures.alpha.mean(), "radius": radius}
    return Drawn(pictures.image, prior), metrics


def _prior_values(parts: Parts, vertices) -> dict[str, Any]:
    """Mean of every prior's term over the shapes of a batch."""
    config, topology = parts.config, parts.stage.topology
    start = scene_vertices(jnp.asarray(parts.start_surface), parts.stage)
    terms = {
        "size": jax.vmap(lambda v: size_term(v, config.size_min, config.size_max)),
        "laplacian": jax.vmap(lambda v: laplacian_term(v - start, topology)),
        "crease": jax.vmap(lambda v: crease_term(v, topology)),
    }
    if config.tangential_weight:
        terms["tangential"] = jax.vmap(lambda v: tangential_term(v, start))
    if config.fold_weight:
        terms["fold"] = jax.vmap(lambda v: fold_term(v, topology))
    return {name: term(vertices).mean() for name, term in terms.items()}


def _prior_weights(parts: Parts, age) -> dict[str, Any]:
    config = parts.config
    smoothness = smoothness_fraction(
        age,
        config.smoothness_hold_images,
        config.smoothness_halflife_images,
        config.smoothness_floor,
    )
    return {
        "size": config.size_weight,
        "laplacian": smoothness * config.laplacian_weight,
        "crease": smoothness * config.crease_weight,
        "tangential": smoothness * config.tangential_weight,
        "fold": config.fold_weight,
    }
