"""The colours of the procedural heads: texture and background.

Colours are in [0, 1] while they are mixed and in [-1, 1] when they are returned.

Shape letters: S side of the texture in texels, B side of the background.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from gan3d.data.heads_shape import (
    EYE_HEIGHT,
    EYE_OFFSET,
    MOUTH_HEIGHT,
    FaceCoordinates,
    HeadShape,
    bump,
    smoothstep,
)

if TYPE_CHECKING:
    from jaxtyping import Array, Float, PRNGKeyArray

    Palette = tuple[tuple[float, float, float], ...]

SKIN_TONES = (
    (0.96, 0.82, 0.73),
    (0.90, 0.72, 0.58),
    (0.80, 0.60, 0.45),
    (0.62, 0.43, 0.31),
    (0.42, 0.28, 0.20),
)
HAIR_COLORS = (
    (0.07, 0.06, 0.06),
    (0.20, 0.13, 0.09),
    (0.38, 0.24, 0.14),
    (0.78, 0.62, 0.36),
    (0.58, 0.27, 0.12),
    (0.66, 0.65, 0.64),
)
LIP_COLOR = (0.68, 0.18, 0.20)
IRIS_COLORS = ((0.25, 0.15, 0.08), (0.22, 0.36, 0.52), (0.26, 0.38, 0.22))
EYE_WHITE = (0.95, 0.95, 0.93)
PUPIL = (0.02, 0.02, 0.02)
LIGHT_DIRECTION = (0.0, -0.707, -0.707)
SHADING = 0.4
"""Share of a texel's brightness that depends on its normal; the rest is ambient."""


class HeadPaint(NamedTuple):
    """What one head's colours are drawn from: colours [3] in [0, 1], scalars in half head sizes."""

    skin: Float[Array, " 3"]
    hair: Float[Array, " 3"]
    lips: Float[Array, " 3"]
    iris: Float[Array, " 3"]
    eye_size: Float[Array, ""]
    gaze: Float[Array, ""]
    brow_thickness: Float[Array, ""]
    mouth_width: Float[Array, ""]


def draw_paint(key: PRNGKeyArray) -> HeadPaint:
    """Draws one head's colours."""
    draws = jax.random.uniform(key, (12,), jnp.float32)
    skin = _between_palette_colors(SKIN_TONES, draws[0])
    skin = jnp.clip(skin + 0.1 * (draws[1:4] - 0.5), 0.0, 1.0)
    hair = _palette_color(HAIR_COLORS, draws[4])
    return HeadPaint(
        skin=skin,
        hair=jnp.clip(hair * (0.75 + 0.5 * draws[5]), 0.0, 1.0),
        lips=skin + (0.25 + 0.5 * draws[6]) * (jnp.array(LIP_COLOR, jnp.float32) - skin),
        iris=_palette_color(IRIS_COLORS, draws[7]),
        eye_size=0.11 + 0.04 * draws[8],
        gaze=0.06 * (draws[9] - 0.5),
        brow_thickness=0.025 + 0.03 * draws[10],
        mouth_width=0.24 + 0.14 * draws[11],
    )


def head_texture(
    shape: HeadShape, paint: HeadPaint, surface: Float[Array, "S S 3"], face: FaceCoordinates
) -> Array:
    """Paints a head and bakes a mild fixed light into it.

    Args:
      shape: proportions of the head.
      paint: its colours.
      surface: its surface map, for the light, [S, S, 3].
      face: where its texels lie on the face.

    Returns:
      Texture in [-1, 1], [S, S, 3].
    """
    side = jnp.abs(face.across)
    canvas = jnp.broadcast_to(paint.skin[None, None, :], surface.shape)
    blush = 0.35 * bump(side, 0.5, 0.2) * bump(face.down, 0.25, 0.13) * face.front
    canvas = _layer(canvas, paint.lips, blush)
    canvas = _paint_eyes(canvas, paint, face)
    arch = EYE_HEIGHT - 0.17 + 0.25 * (side - EYE_OFFSET) ** 2
    brow = smoothstep(2.0, 0.6, jnp.abs(face.down - arch) / paint.brow_thickness) * smoothstep(
        0.26, 0.16, jnp.abs(side - EYE_OFFSET)
    )
    canvas = _layer(canvas, 0.8 * paint.hair, 0.9 * brow * face.front)
    nostril = bump(side, 0.55 * shape.nose_width, 0.05) * bump(
        face.down, shape.nose_tip + 0.09, 0.03
    )
    canvas = _layer(canvas, 0.35 * paint.skin, 0.7 * nostril * face.front)
    canvas = _paint_mouth(canvas, paint, face)
    canvas = _layer(canvas, paint.hair, face.hair)
    return 2.0 * jnp.clip(canvas * _brightness(surface), 0.0, 1.0) - 1.0


def random_background(key: PRNGKeyArray, size: int) -> Float[Array, "B B 3"]:
    """Smooth random colours in [-1, 1]: a coarse random grid about a random mean, upsampled."""
    draws = 2.0 * jax.random.uniform(key, (4 + 4 * 4 * 3,), jnp.float32) - 1.0
    mean, contrast, grid = 0.6 * draws[:3], 0.35 + 0.2 * draws[3], draws[4:].reshape(4, 4, 3)
    grid = mean[None, None, :] + contrast * grid
    return jnp.clip(jax.image.resize(grid, (size, size, 3), "cubic"), -1.0, 1.0)


def _paint_eyes(canvas: Array, paint: HeadPaint, face: FaceCoordinates) -> Array:
    """White, iris and pupil of both eyes; `gaze` turns both the same way."""
    side = jnp.abs(face.across) - EYE_OFFSET
    down = face.down - EYE_HEIGHT
    # The gaze is measured along +x on both sides of the face, the almond is mirrored.
    turned = side - jnp.sign(face.across) * paint.gaze
    almond = jnp.sqrt((side / 1.6) ** 2 + (1.35 * down) ** 2) / paint.eye_size
    iris = jnp.sqrt(turned**2 + (1.4 * down) ** 2) / paint.eye_size
    visible = smoothstep(1.15, 0.85, almond) * face.front
    canvas = _layer(canvas, 0.45 * paint.skin, 0.6 * smoothstep(1.5, 1.0, almond) * face.front)
    canvas = _layer(canvas, jnp.array(EYE_WHITE, jnp.float32), visible)
    canvas = _layer(canvas, paint.iris, visible * smoothstep(0.85, 0.6, iris))
    return _layer(canvas, jnp.array(PUPIL, jnp.float32), visible * smoothstep(0.5, 0.25, iris))


def _paint_mouth(canvas: Array, paint: HeadPaint, face: FaceCoordinates) -> Array:
    """Lips, thinner at the corners, and the dark line between them."""
    thinning = jnp.clip(1.0 - (face.across / paint.mouth_width) ** 2, 0.0, 1.0)
    half_thickness = 0.03 + 0.055 * thinning
    down = face.down - MOUTH_HEIGHT + 0.02 * (1.0 - thinning)
    lips = smoothstep(1.2, 0.7, jnp.abs(down) / half_thickness)
    inside = smoothstep(1.1, 0.85, jnp.abs(face.across) / paint.mouth_width) * face.front
    canvas = _layer(canvas, paint.lips, lips * inside)
    return _layer(canvas, 0.3 * paint.lips, 0.7 * bump(down, 0.0, 0.025) * inside)


def _brightness(surface: Float[Array, "S S 3"]) -> Float[Array, "S S 1"]:
    """Ambient plus Lambertian light of the surface, fixed to the head."""
    # In the octahedral chart a border continues into itself, reversed: pad by that, so that the
    # seam gets no crease.
    padded = jnp.concatenate([surface[:1, ::-1], surface, surface[-1:, ::-1]], axis=0)
    along_v = padded[2:] - padded[:-2]
    padded = jnp.concatenate([surface[::-1, :1], surface, surface[::-1, -1:]], axis=1)
    along_u = padded[:, 2:] - padded[:, :-2]
    normal = jnp.cross(along_u, along_v)
    normal = normal / (jnp.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9)
    normal = normal * jnp.sign(jnp.sum(normal * surface, axis=-1, keepdims=True))
    light = jnp.sum(
        normal * jnp.array(LIGHT_DIRECTION, jnp.float32)[None, None, :], axis=-1, keepdims=True
    )
    return 1.0 - SHADING + SHADING * light


def _layer(canvas: Array, color: Float[Array, " 3"], coverage: Float[Array, "S S"]) -> Array:
    """Covers `canvas` with `color` where `coverage` is 1."""
    return canvas + coverage[..., None] * (color[None, None, :] - canvas)


def _between_palette_colors(palette: Palette, fraction: Float[Array, ""]) -> Float[Array, " 3"]:
    """The colour at a fraction in [0, 1) of the path through a palette."""
    colors = jnp.array(palette, jnp.float32)
    position = fraction * (len(palette) - 1.0)
    below = jnp.minimum(jnp.floor(position), len(palette) - 2.0)
    index = below.astype(jnp.int32)
    return colors[index] + (position - below) * (colors[index + 1] - colors[index])


def _palette_color(palette: Palette, fraction: Float[Array, ""]) -> Float[Array, " 3"]:
    """One of the palette's colours, all equally likely where `fraction` is uniform in [0, 1)."""
    return jnp.array(palette, jnp.float32)[(fraction * len(palette)).astype(jnp.int32)]
