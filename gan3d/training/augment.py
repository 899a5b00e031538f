"""Adaptive augmentation of what the discriminator sees (Karras et al. 2020, "Training Generative
Adversarial Networks with Limited Data").

On a small set D learns the images by heart. It is shown transformed images instead, real ones and
generated ones, each transformation used with probability p, and p follows how far D tells the two
apart. G must not learn to draw transformed images: the augmentation must not *leak*. It does not
where the map from the distribution of images to that of the augmented ones can be inverted, for
then the augmented distributions agree only if those of the images do. A map
    (1 - p) identity + p E[transformation]
that acts on distributions has, on a family of transformations that can be composed, eigenvalues
(1 - p) + p phi. phi is positive where what is drawn is Gaussian: a shift, an angle, the logarithm
of a factor. A flip has phi = +-1, and with probability p only p = 1/2 would already lose which of
the two was the original; so images are mirrored with probability p / 2, the smallest eigenvalue is
1 - p again, and every map can be inverted up to p = 1. Near 1 it takes ever more images to see the
difference, and the paper finds that nothing leaks up to 0.8: p stops at `MAX_PROBABILITY`.

The continuation beyond the border and the resampling keep this from being exact; both act on real
and generated images alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from gan3d.render import sample_texture

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

    from gan3d.config import Config

MAX_PROBABILITY = 0.8

# Standard deviations. Those of the place are smaller than the paper's (0.125 of the size, 0.2
# octaves, all angles): objects stay in the picture, and upright. Those of the colours are its own.
TRANSLATION = 0.0625  # of the image's size
SCALE = 0.15  # octaves
ROTATION = 0.15  # radians, 9 degrees
BRIGHTNESS = 0.2
CONTRAST = 0.5  # octaves
SATURATION = 1.0  # octaves

# Folded into a step's key; `drawing` splits that key and folds 2**32 - 2 into it.
_STREAM = 2**32 - 3


class Transformation(NamedTuple):
    """What is done to one image, in this order; of a batch, with a leading axis.

    Attributes:
      mirrored: whether left and right are exchanged.
      scale: factor about the centre; greater than 1 enlarges.
      angle: about the centre, from the x axis (right) to the y axis (down), radians.
      translation: to the right and down, as parts of the image's size.
      brightness: added to all values.
      contrast: factor of the values' distance from 0, the middle grey.
      saturation: factor of the colours' distance from their mean over the channels.
    """

    mirrored: Bool[Array, ""]
    scale: Float[Array, ""]
    angle: Float[Array, ""]
    translation: Float[Array, "2"]
    brightness: Float[Array, ""]
    contrast: Float[Array, ""]
    saturation: Float[Array, ""]


def augment(
    key: Array, image: Float[Array, "R R 3"], probability: Float[Array, ""]
) -> Float[Array, "R R 3"]:
    """The image after transformations drawn at random; differentiable in the image.

    Args:
      key: consumed.
      image: in [-1, 1].
      probability: of each transformation, mirroring excepted, which has half of it; in [0, 1]. 0 =
        exactly the image.

    Returns:
      The augmented image; not clipped, which would lose colours for good.
    """
    return transform(image, draw_transformation(key, probability))


def draw_transformation(key: Array, probability: Float[Array, ""]) -> Transformation:
    """Each transformation independently, with its probability, else the identity."""
    use_key, size_key = jax.random.split(key)
    chance = jax.random.uniform(use_key, (7,))
    size = jax.random.normal(size_key, (8,))
    # A draw may be 0, but never less than it: probability 0 uses nothing.
    used = lambda number: chance[number] < probability  # noqa: E731
    gaussian = lambda number, deviation: jnp.where(used(number), deviation * size[number], 0.0)  # noqa: E731
    return Transformation(
        mirrored=chance[0] < probability / 2,
        scale=jnp.exp2(gaussian(1, SCALE)),
        angle=gaussian(2, ROTATION),
        brightness=gaussian(3, BRIGHTNESS),
        contrast=jnp.exp2(gaussian(4, CONTRAST)),
        saturation=jnp.exp2(gaussian(5, SATURATION)),
        translation=jnp.where(used(6), TRANSLATION * size[6:], 0.0),
    )


def transform(image: Float[Array, "R R 3"], by: Transformation) -> Float[Array, "R R 3"]:
    """The image transformed, resampled once: bilinearly, and reflected at its borders.

    The identity gives the image bit by bit where R is a power of two, as the resolutions are.

    Raises:
      ValueError: the image has another shape.
    """
    if image.ndim != 3 or image.shape[0] != image.shape[1] or image.shape[2] != 3:
        raise ValueError(f"image must have shape [R, R, 3], got {list(image.shape)}")
    image = sample_texture(image, _sources(image.shape[0], by), wrap="mirror")
    image = by.contrast * (image + by.brightness)
    # Not mean + saturation * (image - mean): at saturation 1 that would round.
    mean = image.mean(-1, keepdims=True)
    return by.saturation * image + (1 - by.saturation) * mean


def _sources(size: int, by: Transformation) -> Float[Array, "R R 2"]:
    """Where each pixel of the result comes from: the inverse, in coordinates from 0 to 1."""
    centre = (jnp.arange(size) + 0.5) / size - 0.5
    x, y = (centre - by.translation[0])[None, :], (centre - by.translation[1])[:, None]
    cos, sin = jnp.cos(by.angle) / by.scale, jnp.sin(by.angle) / by.scale
    sign = jnp.where(by.mirrored, -1.0, 1.0)
    return jnp.stack([sign * (cos * x + sin * y), cos * y - sin * x], axis=-1) + 0.5


def share_augmentations(
    step_key: Array, probability: Float[Array, ""], first: Int[Array, ""]
) -> tuple[Callable[..., Float[Array, "b R R 3"]], Callable[..., Float[Array, "b R R 3"]]]:
    """`augment` for one share of a batch of real images, and for one of generated ones.

    Every image has a draw of its own, which depends on its place in the whole batch alone, so that
    the number of shares changes nothing.

    Args:
      step_key: the run's key with images seen folded into it.
      probability: see `augment`.
      first: place of the share's first image in the whole batch.
    """

    def of_stream(key):
        def augmented(images):
            places = first + jnp.arange(len(images))
            keys = jax.vmap(lambda place: jax.random.fold_in(key, place))(places)
            return jax.vmap(augment, in_axes=(0, 0, None))(keys, images, probability)

        return augmented

    real_key, fake_key = jax.random.split(jax.random.fold_in(step_key, _STREAM))
    return of_stream(real_key), of_stream(fake_key)


def overfitting(real_scores: Float[Array, "b"], fake_scores: Float[Array, "b"]) -> Float[Array, ""]:
    """r = E sign(D(x_r) - D(x_f)): 0 where D tells nothing apart, 1 where it tells all.

    Over the pairs of a batch. The paper has E sign(D(x_r)); but a relativistic loss leaves free
    what D adds to all scores, and the difference serves any loss. It is the larger of the two: for
    scores that are Gaussian, alike and placed symmetrically, the paper's r = 0.6 is 0.77 here.
    """
    return jnp.sign(real_scores - fake_scores).mean()


def adapted(
    config: Config, probability: Float[Array, ""], overfitting: Float[Array, ""]
) -> Float[Array, ""]:
    """The probability after a step: a little more if `overfitting` is above its target, else less.

    p + sign(r - target) batch / augment_images, within [0, MAX_PROBABILITY]. The paper moves p
    every fourth batch, by four times as much, after the mean r of the four; after every batch, p
    rests where half of the batches are above the target.
    """
    change = jnp.sign(overfitting - config.augment_target) * (config.batch / config.augment_images)
    return jnp.clip(probability + change, 0, MAX_PROBABILITY)
