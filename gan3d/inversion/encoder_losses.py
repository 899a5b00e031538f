"""What an encoder learns from: labels of samples, and true pictures that come back.

Shape letters: R side of the pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from gan3d.evaluation.pose_network import angle_between, view_direction
from gan3d.inversion.encoder import Answer, unknowns_of
from gan3d.inversion.losses import pyramid_distance
from gan3d.inversion.unknowns import Model, Priors, prior_term, scene_at
from gan3d.scene import render_scene
from gan3d.trained import map_latent
from gan3d.training.assemble import draw_views, generate, latent_size

if TYPE_CHECKING:
    from jaxtyping import Array, Float

PRIORS = Priors(style=1e-3, levels=1e-2, background=1e-3, view=1.0, paint=0.0)


class Samples(NamedTuple):
    """Pictures of the generator and what they show.

    Attributes:
      images: colours in [-1, 1].
      style: coordinates of w.
      background: entries of the background's latent.
      direction: unit vectors from the object to the camera.
    """

    images: Float[Array, "N R R 3"]
    style: Float[Array, "N K"]
    background: Float[Array, "N B"]
    direction: Float[Array, "N 3"]


def draw_samples(model: Model, params: Any, key: Array, num: int) -> Samples:
    """Samples as in training, at the generator's resolution; consumes the key."""
    parts = model.parts
    scene_key, view_key = jax.random.split(key)
    z = jax.random.normal(scene_key, (num, latent_size(parts)))
    views = draw_views(parts, params, view_key, num)

    def photograph(z, view):
        image = render_scene(generate(parts, params, z), view, parts.stage).image
        style = model.space.encode(map_latent(parts, params, z))
        return Samples(image, style, z[parts.config.latent_size :], view_direction(view))

    return jax.vmap(photograph)(z, views)


def label_loss(answer: Answer, sample: Samples) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Errors of the answer to one sample: the loss, and the angle of the viewpoint in degrees.

    Styles and backgrounds in standard deviations, squared. The viewpoint by the distance of the
    directions and not its square, which a few wrong ones would rule.
    """
    mean_square = lambda x: jnp.mean(x**2)  # noqa: E731
    apart = jnp.sqrt(((answer.direction - sample.direction) ** 2).sum() + 1e-6)
    loss = mean_square(answer.style - sample.style) + mean_square(answer.levels)
    loss += mean_square(answer.background - sample.background) + apart
    return loss, jnp.degrees(angle_between(answer.direction, sample.direction))


def return_loss(
    model: Model, params: Any, answer: Answer, image: Float[Array, "R R 3"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """How far one picture is from what comes back, with the priors of inversion, and without."""
    unknowns = unknowns_of(model, answer)
    scene = scene_at(model, params, unknowns)
    back = render_scene(scene, unknowns.view, model.parts.stage).image
    distance = pyramid_distance(back, image)
    return distance + prior_term(model, PRIORS, unknowns), distance
