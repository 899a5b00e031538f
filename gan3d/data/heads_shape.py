"""The geometry of the procedural heads: a direction on the sphere -> a point on the head.

A head is a superellipsoid, narrowed towards the jaw, deepened at the back, with the facial features
added as displacements of the front towards the viewer. Axes are those of the renderer: x right, y
down, z forward; the face looks at -z. Lengths are in world units, where the unit ball just fits the
picture.

Shape letters: S side of the map in texels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from gan3d.render import octahedral_direction

if TYPE_CHECKING:
    from jaxtyping import Array, Float, PRNGKeyArray


class HeadShape(NamedTuple):
    """What one head's geometry is drawn from; every field is a scalar.

    Lengths are in world units; `nose_tip`, `hairline` and `hair_back` are heights in half head
    heights (y down, 0 in the middle); `jaw` and `nape` are fractions taken off width and depth at
    the chin.
    """

    width: Float[Array, ""]
    height: Float[Array, ""]
    depth: Float[Array, ""]
    squareness: Float[Array, ""]
    jaw: Float[Array, ""]
    nape: Float[Array, ""]
    occiput: Float[Array, ""]
    chin_forward: Float[Array, ""]
    nose: Float[Array, ""]
    nose_tip: Float[Array, ""]
    nose_width: Float[Array, ""]
    brow: Float[Array, ""]
    socket: Float[Array, ""]
    cheek: Float[Array, ""]
    lips: Float[Array, ""]
    chin: Float[Array, ""]
    ear: Float[Array, ""]
    hair: Float[Array, ""]
    hairline: Float[Array, ""]
    hair_back: Float[Array, ""]


SHAPE_RANGES = HeadShape(
    width=(0.48, 0.60),
    height=(0.69, 0.79),
    depth=(0.58, 0.70),
    squareness=(2.1, 2.6),
    jaw=(0.22, 0.48),
    nape=(0.25, 0.50),
    occiput=(0.02, 0.16),
    chin_forward=(0.10, 0.20),
    nose=(0.12, 0.19),
    nose_tip=(0.19, 0.31),
    nose_width=(0.11, 0.18),
    brow=(0.01, 0.05),
    socket=(0.03, 0.07),
    cheek=(0.00, 0.05),
    lips=(0.015, 0.045),
    chin=(0.03, 0.08),
    ear=(0.07, 0.14),
    hair=(0.01, 0.07),
    hairline=(-0.70, -0.46),
    hair_back=(0.05, 0.75),
)
"""Least and greatest value of every proportion; `ear` is that of heads that have ears."""

EAR_PROBABILITY = 0.5
EYE_HEIGHT = -0.08
EYE_OFFSET = 0.38
MOUTH_HEIGHT = 0.52


class FaceCoordinates(NamedTuple):
    """Where each texel lies on the head without its features; places features and paint.

    Attributes:
      across: x over the half width, [S, S].
      down: y over the half height, [S, S].
      along: z over the half depth, [S, S]; -1 is the face.
      front: 1 on the face, 0 behind the middle of the head, smooth between, [S, S].
      hair: 1 where hair grows, smooth at its border, [S, S].
    """

    across: Float[Array, "S S"]
    down: Float[Array, "S S"]
    along: Float[Array, "S S"]
    front: Float[Array, "S S"]
    hair: Float[Array, "S S"]


def texel_directions(size: int) -> Float[Array, "S S 3"]:
    """Unit directions of the texel centres of a `size` x `size` map in the octahedral chart."""
    centres = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size
    u, v = jnp.meshgrid(centres, centres, indexing="xy")
    return jnp.asarray(octahedral_direction(jnp.stack([u, v], axis=-1)), jnp.float32)


def smoothstep(low: float | Array, high: float | Array, x: Array) -> Array:
    """Cubic ramp from 0 at `low` to 1 at `high`; `low` > `high` makes it fall."""
    t = jnp.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def bump(x: Array, centre: float | Array, width: float | Array) -> Array:
    """Gaussian of height 1 and standard deviation `width`."""
    return jnp.exp(-0.5 * ((x - centre) / width) ** 2)


def draw_shape(key: PRNGKeyArray) -> HeadShape:
    """Draws one head's proportions, each the mean of two uniforms over its range."""
    draws = jax.random.uniform(key, (2, len(SHAPE_RANGES) + 1), jnp.float32)
    fractions, has_ears = jnp.mean(draws, axis=0), draws[0, -1] < EAR_PROBABILITY
    values = [low + (high - low) * fractions[k] for k, (low, high) in enumerate(SHAPE_RANGES)]
    shape = HeadShape(*values)
    return shape._replace(ear=jnp.where(has_ears, shape.ear, 0.0))


def head_surface(shape: HeadShape, size: int) -> tuple[Float[Array, "S S 3"], FaceCoordinates]:
    """Surface map of a head.

    Args:
      shape: proportions of one head.
      size: side of the map in texels.

    Returns:
      Points of the surface at the texel centres, [S, S, 3], world units, and the coordinates that
      paint is placed by.
    """
    skull, face = _skull(shape, texel_directions(size))
    x, y, z = skull
    z = z - _facial_relief(shape, face)
    ear = shape.ear * _ear_mask(face)
    x = x + jnp.sign(x) * ear
    z = z + 0.4 * ear
    radial = 1.0 + face.hair * shape.hair / jnp.sqrt(x * x + y * y + z * z)
    return jnp.stack([x * radial, y * radial, z * radial], axis=-1), face


def _skull(
    shape: HeadShape, directions: Float[Array, "S S 3"]
) -> tuple[tuple[Array, Array, Array], FaceCoordinates]:
    """The head without features: x, y, z of its points and the face coordinates on it."""
    p = shape.squareness
    norm = jnp.sum(jnp.abs(directions) ** p, axis=-1) ** (1.0 / p)
    across, down, along = (directions[..., k] / norm for k in range(3))
    back = smoothstep(-0.1, 0.6, along)
    narrowing = shape.jaw * smoothstep(0.0, 1.0, down) + 0.06 * smoothstep(-0.4, -1.0, down)
    deepening = shape.occiput * bump(down, -0.2, 0.35) - shape.nape * smoothstep(-0.1, 0.9, down)
    across = across * (1.0 - narrowing)
    x = shape.width * across
    y = shape.height * down
    z = shape.depth * along * (1.0 + back * deepening) - shape.chin_forward * smoothstep(
        0.2, 1.0, down
    )
    front = smoothstep(-0.05, -0.45, along)
    return (x, y, z), FaceCoordinates(
        across, down, along, front, _hair_mask(shape, down, along, directions)
    )


def _hair_mask(
    shape: HeadShape, down: Array, along: Array, directions: Float[Array, "S S 3"]
) -> Array:
    """1 above a hairline that runs from the forehead over the temples down to the neck."""
    facing = directions[..., 2] / jnp.sqrt(directions[..., 0] ** 2 + directions[..., 2] ** 2 + 1e-6)
    temple = shape.hairline + 0.55 * smoothstep(-0.75, 0.0, facing)
    border = temple + (shape.hair_back - shape.hairline - 0.55) * smoothstep(0.0, 0.6, facing)
    return smoothstep(0.05, -0.05, down - border)


def _facial_relief(shape: HeadShape, face: FaceCoordinates) -> Float[Array, "S S"]:
    """How far the features stand out of the face, towards -z."""
    across, down = face.across, face.down
    side = jnp.abs(across)
    nose_root = EYE_HEIGHT - 0.08
    ramp = jnp.clip((down - nose_root) / (shape.nose_tip - nose_root), 0.0, 1.0)
    underside = smoothstep(shape.nose_tip + 0.11, shape.nose_tip + 0.01, down)
    nose = ramp * underside * bump(across, 0.0, shape.nose_width * (0.6 + 0.4 * ramp))
    brow = bump(down, EYE_HEIGHT - 0.16, 0.06) * smoothstep(0.75, 0.45, side)
    socket = bump(side, EYE_OFFSET, 0.16) * bump(down, EYE_HEIGHT, 0.08)
    cheek = bump(side, 0.5, 0.2) * bump(down, 0.2, 0.14)
    lips = bump(side, 0.0, 0.2) * bump(down, MOUTH_HEIGHT, 0.05)
    chin = bump(side, 0.0, 0.2) * bump(down, 0.86, 0.1)
    relief = (
        shape.nose * nose
        + shape.brow * brow
        - shape.socket * socket
        + shape.cheek * cheek
        + shape.lips * lips
        + shape.chin * chin
    )
    return relief * face.front


def _ear_mask(face: FaceCoordinates) -> Float[Array, "S S"]:
    """1 at the middle of either ear."""
    return (
        smoothstep(0.6, 0.85, jnp.abs(face.across))
        * bump(face.down, 0.08, 0.13)
        * bump(face.along, 0.08, 0.12)
    )
