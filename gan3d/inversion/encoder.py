"""The encoder E: from a picture to styles, background and viewpoint, in one pass of a network."""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gan3d.evaluation.pose_network import direction_view
from gan3d.inversion.pictures import as_pictures
from gan3d.inversion.style_space import StyleSpace
from gan3d.inversion.unknowns import Model, Unknowns, start
from gan3d.models.layers import Conv, Dense, activate, downsample
from gan3d.scene import View
from gan3d.trained import Styles, TrainedGenerator
from gan3d.training.run import flat_parameters

if TYPE_CHECKING:
    from jaxtyping import Array, Float


_BATCH = 16


class Answer(NamedTuple):
    """What the network says of a picture.

    Attributes:
      style: coordinates of w, see `StyleSpace`.
      levels: what w+ adds to them at every level.
      background: entries of the background's latent.
      direction: from the object to the camera, of any length.
    """

    style: Float[Array, "K"]
    levels: Float[Array, "L K"]
    background: Float[Array, "B"]
    direction: Float[Array, "3"]


class EncoderNetwork(nn.Module):
    """Convolutions from a picture down to 4 x 4, a dense layer, and a head for each answer.

    Attributes:
      num_levels: L.
      style_size: K.
      background_size: B.
      width: the largest number of feature channels, reached by doubling.
      stem: feature channels at full size.
    """

    num_levels: int
    style_size: int
    background_size: int
    width: int = 128
    stem: int = 32

    @nn.compact
    def __call__(self, image: Float[Array, "R R 3"]) -> Answer:
        size, features = image.shape[0], self.stem
        x = activate(Conv(features)(image))
        while size > 4:
            size, features = size // 2, min(2 * features, self.width)
            x = activate(Conv(features)(downsample(x)))
        x = activate(Dense(2 * self.width)(x.reshape(-1)))
        levels = self.num_levels * self.style_size
        zeros = nn.Dense(levels, kernel_init=nn.initializers.zeros, name="levels")  # at first w
        return Answer(
            Dense(self.style_size, name="style")(x),
            zeros(x).reshape(self.num_levels, self.style_size),
            Dense(self.background_size, name="background")(x),
            Dense(3, name="direction")(x),
        )


class Encoder(NamedTuple):
    """A trained network, and the generator's coordinates that it answers in.

    Attributes:
      network: what to apply.
      params: to it.
      space: of the generator's styles.
      size: side of the pictures it was trained on, pixels.
      generator: fingerprint of the generator that it belongs to, see `fingerprint`.
    """

    network: EncoderNetwork
    params: Any
    space: StyleSpace
    size: int
    generator: str

    def encode(self, images) -> tuple[Styles, View]:
        """Styles and viewpoints of pictures of any size; one or a batch.

        Raises:
          ValueError: images are no square pictures in 8 bits or within [-1, 1].
        """
        pictures, is_single = as_pictures(images)
        answer = _answers(self, pictures)
        styles = Styles(self.space.decode(answer.style[:, None] + answer.levels), answer.background)
        found = styles, direction_view(answer.direction)
        return jax.tree.map(lambda a: a[0], found) if is_single else found

    def check(self, generator: TrainedGenerator) -> None:
        """Raises ValueError if this is another generator's encoder."""
        own = fingerprint(generator)
        if own != self.generator:
            raise ValueError(
                f"encoder must be that of {generator!r}, whose fingerprint is {own}, "
                f"got one of a generator with fingerprint {self.generator}"
            )


def first_unknowns(
    encoder: Encoder, generator: TrainedGenerator, pictures: Float[Array, "N R R 3"]
) -> Unknowns:
    """What `Encoder.encode` says of N pictures, as the start of a descent."""
    answer = _answers(encoder, pictures)
    model = Model(generator.parts, encoder.space)
    return jax.vmap(lambda one: unknowns_of(model, one))(answer)


def unknowns_of(model: Model, answer: Answer) -> Unknowns:
    """One answer as the unknowns of one picture, without paint."""
    return start(model, direction_view(answer.direction))._replace(
        style=answer.style, levels=answer.levels, background=answer.background
    )


def fingerprint(generator: TrainedGenerator) -> str:
    """Sixteen hexadecimal digits that tell a generator's parameters from others."""
    digest = hashlib.sha256()
    for name, leaf in sorted(flat_parameters(generator.params).items()):
        digest.update(name.encode())
        digest.update(np.asarray(leaf, "<f4").tobytes())
    return digest.hexdigest()[:16]


def _answers(encoder: Encoder, pictures: Float[Array, "N R R 3"]) -> Answer:
    """In batches of one size, the last one filled up: one program serves any number."""
    num, parts = len(pictures), []
    size = min(_BATCH, num)
    for first in range(0, num, size):
        some = np.minimum(np.arange(first, first + size), num - 1)
        parts.append(_apply(encoder.network, encoder.size, encoder.params, pictures[some]))
    return jax.tree.map(lambda *a: jnp.concatenate(a)[:num], *parts)


@functools.partial(jax.jit, static_argnames=("network", "size"))
def _apply(network, size, params, pictures):
    if pictures.shape[1] != size:
        shape = (len(pictures), size, size, 3)
        pictures = jax.image.resize(pictures, shape, "linear", antialias=True)
    return jax.vmap(lambda picture: network.apply({"params": params}, picture))(pictures)
