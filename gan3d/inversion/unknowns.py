"""What a picture leaves unknown: styles, background, viewpoint, paint; and what each may cost.

Everything is written for one picture.

Shape letters: L levels of the synthesis, K coordinates of a style, B entries of the background's
latent, T side of the texture, Bh side of the background.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp

from gan3d.inversion.style_space import StyleSpace
from gan3d.scene import Scene, View
from gan3d.trained import Styles, scene_of
from gan3d.training.assemble import Parts

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Unknowns(NamedTuple):
    """What is looked for, of one picture.

    Attributes:
      style: coordinates of w, see `StyleSpace`.
      levels: what is added to them at every level: the difference between w and w+.
      background: entries of the background's latent.
      view: the camera's place on its orbit, radians.
      texture: what is added to the texture, colours.
      behind: what is added to the background, colours.
    """

    style: Float[Array, "K"]
    levels: Float[Array, "L K"]
    background: Float[Array, "B"]
    view: View
    texture: Float[Array, "T T 3"]
    behind: Float[Array, "Bh Bh 3"]


class Priors(NamedTuple):
    """Weights, numbers, of what keeps the unknowns where the generator knows its way.

    Attributes:
      style: of the mean square of the coordinates, 1 for a random latent's.
      levels: of the mean square of the levels' deviations.
      background: of the mean square of the background's latent, 1 for a random one's.
      view: of the squared excess over the viewpoint prior's range, radians.
      paint: of the mean squares of what is added to texture and background.
    """

    style: float
    levels: float
    background: float
    view: float
    paint: float


class Model(NamedTuple):
    """From unknowns to a scene: a generator without its parameters, which are arguments of the
    programs, and the coordinates of its styles.
    """

    parts: Parts
    space: StyleSpace


def start(model: Model, view: View) -> Unknowns:
    """The mean object from a viewpoint."""
    width, config = model.space.basis.shape[1], model.parts.config
    return Unknowns(
        style=jnp.zeros(width),
        levels=jnp.zeros((model.parts.generator.num_levels, width)),
        background=jnp.zeros(config.background_latent_size),
        view=View(jnp.asarray(view.yaw, jnp.float32), jnp.asarray(view.pitch, jnp.float32)),
        texture=jnp.zeros((config.texture_size, config.texture_size, 3)),
        behind=jnp.zeros((config.background_size, config.background_size, 3)),
    )


def styles_at(model: Model, unknowns: Unknowns) -> Styles:
    """The point of W+."""
    return Styles(model.space.decode(unknowns.style[None] + unknowns.levels), unknowns.background)


def scene_at(model: Model, params: Any, unknowns: Unknowns) -> Scene:
    """The generator's scene with what was painted over it."""
    scene = scene_of(model.parts, params, styles_at(model, unknowns))
    return scene._replace(
        texture=jnp.clip(scene.texture + unknowns.texture, -1, 1),
        background=jnp.clip(scene.background + unknowns.behind, -1, 1),
    )


def prior_term(model: Model, priors: Priors, unknowns: Unknowns) -> Float[Array, ""]:
    """What the unknowns cost by themselves."""
    prior = model.parts.prior
    mean_square = lambda x: jnp.mean(x**2)  # noqa: E731
    excess = lambda angle, limit: jnp.maximum(jnp.abs(angle) - limit, 0) ** 2  # noqa: E731
    beyond = excess(unknowns.view.yaw, prior.yaw_range)
    beyond += excess(unknowns.view.pitch, prior.pitch_range)
    return (
        priors.style * mean_square(unknowns.style)
        + priors.levels * mean_square(unknowns.levels)
        + priors.background * mean_square(unknowns.background)
        + priors.view * beyond
        + priors.paint * (mean_square(unknowns.texture) + mean_square(unknowns.behind))
    )
