"""What one scene shows, given the faces and silhouette edges that its pixels see.

Shape letters: N pixels, V vertices, F faces, T texels of all levels, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from gan3d.render import edges, layers, margins, texture
from gan3d.render.batching import Keep, materialized
from gan3d.render.derivatives import uv_changes
from gan3d.render.edges import EdgePoint, edge_barycentric, edge_corners
from gan3d.render.indexing import take, take_pairs
from gan3d.render.layers import Layer, pixel_centres
from gan3d.render.margins import Source
from gan3d.render.screen import Settings, face_and_corner
from gan3d.render.visibility import Visible

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


class Rules(NamedTuple):
    """The steps of shading: fast ones with hand-written gradients, or plain ones."""

    surface: Callable[..., Layer]
    margin: Callable[..., EdgePoint]
    add: Callable[..., Array]
    blend: Callable[..., Array]


FAST = Rules(layers.surface_layer, edges.margin_layer, margins.add_at_margins, texture.blend_rows)
SMOOTH = Rules(layers.surface_values, edges.margin_values, margins.add_everywhere, texture.blend)


class Look(NamedTuple):
    """How a texture is looked up: static."""

    sizes: tuple[tuple[int, int], ...]  # of its levels, (width, height)
    wraps: tuple[str, str]
    mipmaps: bool
    opacity: float | None  # of the material, unless it has a gradient


class Scene(NamedTuple):
    """What a picture has gradients in.

    Attributes:
      points: screen points.
      texels: of all levels, joined.
      background: picture behind the object, or None.
      corner_uvs: texture coordinates of every face's corners, or None where they are constants:
        XLA does not drop a gradient that nobody asks for if it is summed in a loop.
      opacity: of the material, or None, likewise.
    """

    points: Float[Array, "V 3"]
    texels: Float[Array, "T C"]
    background: Float[Array, "N C"] | None
    corner_uvs: Float[Array, "F 3 2"] | None
    opacity: Float[Array, ""] | None


class Fixed(NamedTuple):
    """What it has no gradients in."""

    faces: Int[Array, "F 3"]
    visible: Visible
    corner_uvs: Float[Array, "F 3 2"] | None


def shade_layers(
    settings: Settings,
    rules: Rules,
    points: Float[Array, "V 3"],
    constants: tuple[Int[Array, "F 3"], Visible],
    keep: Keep,
) -> Layer:
    """Values of all layers, front to back; stacked along a leading axis. Nothing is kept."""
    faces, visible = constants
    shown = []
    for face, half_edges in zip(*_flat(visible), strict=True):
        for half_edge in half_edges:
            shown.append(_margin_table(settings, rules, points, faces, half_edge))
        pixel = jnp.arange(face.shape[0], dtype=jnp.int32)
        shown.append(rules.surface(settings, points, faces, face, pixel))
    image = lambda values: jnp.stack(values).reshape(-1, *settings.image_size)  # noqa: E731
    barycentric = [image([layer.barycentric[k] for layer in shown]) for k in range(3)]
    return Layer(
        jnp.stack(barycentric, axis=-1),
        image([layer.depth for layer in shown]),
        image([layer.alpha for layer in shown]),
    )


def shade_picture(
    settings: Settings,
    look: Look,
    rules: Rules,
    scene: Scene,
    fixed: Fixed,
    keep: Keep,
) -> tuple[Float[Array, "H W C"], Float[Array, "H W"]]:
    """Colour and opacity: the layers are matted over the background, back to front.

    A row per pixel and per texel: the channels, and opacity as one more that is 1 in the texture.
    Texture coordinates are kept for the gradient: the colours of a surface, and what lies behind a
    margin, then do not wait for its geometry. Where that is not enough to compute a colour again
    (mipmaps, two margins), what lies behind the margin is kept instead.
    """
    faces, visible, _ = fixed
    points, texels, background = scene[:3]
    num_channels, num_pixels = texels.shape[1], visible.face[0].size
    table = texture.texel_rows(texels, jnp.ones_like(texels[:, 0]))
    state = _background_rows(background, num_pixels, table)
    variables = scene._replace(texels=table, background=None)
    pixel = jnp.arange(num_pixels, dtype=jnp.int32)
    over = partial(_margin_over, settings, look, rules)
    for face, half_edges in reversed(list(zip(*_flat(visible), strict=True))):
        layer = rules.surface(settings, points, faces, face, pixel)
        uv = _weighted(layer.barycentric, _corner_uvs(variables, fixed, face))
        # Stored, for a look-up uses them several times.
        uv = materialized(uv, face)
        uv = uv if look.mipmaps else keep(uv)
        change = _uv_changes(settings, look, variables, fixed, face, pixel, layer.barycentric)
        parts = lax.stop_gradient(layer.alpha), uv, change, state
        surface_over = partial(_surface_over, look, rules)
        state = surface_over(variables, parts)
        source = None if look.mipmaps else Source(surface_over, parts)
        for half_edge in reversed(half_edges):
            if settings.margin > 0:
                state = state if source else keep(state)
                state = rules.add(over, _room(settings), variables, fixed, state, half_edge, source)
                source = None
    return _unpack(settings, state, num_channels, background is None)


def _background_rows(background, num_pixels, table):
    """What lies behind all layers, in rows like the table's."""
    if background is None:
        return jnp.zeros((num_pixels, table.shape[1]), table.dtype)
    background = background.reshape(num_pixels, -1).astype(table.dtype)
    return texture.texel_rows(background, jnp.zeros_like(background[:, 0]))


def _unpack(settings, state, num_channels, own_color):
    color, alpha = state[:, :num_channels], state[:, num_channels]
    if own_color:
        # Not premultiplied; one division per pixel, not per channel.
        drawn = alpha > 0
        over = jnp.where(drawn, 1 / jnp.where(drawn, alpha, 1), 0)
        color = color * over[:, None]
    size = settings.image_size
    return color.reshape(*size, num_channels), alpha.reshape(size)


def _surface_over(look, rules, variables, parts):
    """A surface's rows over what lies behind it."""
    alpha, uv, change, state = parts
    color = _colors(look, rules, variables, uv, change)
    share = _share(look, variables, alpha, color, has_gradient=False)
    return share * color + (1 - share) * state


def _margin_over(settings, look, rules, variables, fixed, state, half_edge, pixel):
    """What a margin adds to the rows of its pixels: share (its colour - what is there)."""
    point = rules.margin(settings, variables.points, fixed.faces, half_edge, pixel)
    face = jnp.where(half_edge >= 0, face_and_corner(half_edge)[0], -1)
    ends = take(_all_corner_uvs(variables, fixed).reshape(-1, 2), edge_corners(half_edge))
    uv = [(1 - point.share) * ends[0, :, i] + point.share * ends[1, :, i] for i in range(2)]
    weights = edge_barycentric(half_edge, point.share)
    change = _uv_changes(settings, look, variables, fixed, face, pixel, weights)
    color = _colors(look, rules, variables, materialized(uv, face), change)
    # Stored, or each channel would look the texture up, and measure the distance, for itself.
    color, alpha = materialized((color, point.alpha), pixel)
    return _share(look, variables, alpha, color) * (color - state)


def _share(look, variables, alpha, rows, has_gradient=True):
    """Opacity of a layer, for every channel of its rows."""
    if variables.opacity is None and not has_gradient:
        # Part of the loops that use it, where stacked copies are one of their own.
        return jnp.broadcast_to(look.opacity * alpha[:, None], rows.shape)
    opacity = look.opacity if variables.opacity is None else variables.opacity
    # Stacked copies: their transpose is a short sum, that of a broadcast a reduction, slow on CPU.
    return jnp.stack([opacity * alpha] * rows.shape[1], axis=-1)


def _all_corner_uvs(variables, fixed) -> Float[Array, "F 3 2"]:
    return fixed.corner_uvs if variables.corner_uvs is None else variables.corner_uvs


def _corner_uvs(variables, fixed, face) -> list[list[Float[Array, "N"]]]:
    """u and v of the three corners of some faces."""
    corner_uvs, index = _all_corner_uvs(variables, fixed), jnp.maximum(face, 0)
    columns = [[corner_uvs[:, k, i] for k in range(3)] for i in range(2)]
    if variables.corner_uvs is None:
        return take_pairs(columns, index, constant=True)[0]
    return [[take(column, index) for column in axis] for axis in columns]


def _weighted(weights, corners):
    return [sum(w * c for w, c in zip(weights, corner, strict=True)) for corner in corners]


def _uv_changes(settings, look, variables, fixed, face, pixel, barycentric):
    """Changes of the texture coordinates, where they are needed."""
    if not look.mipmaps:
        return None
    points, corners = variables.points, _corner_uvs(variables, fixed, face)
    centres = pixel_centres(pixel, settings, points.dtype)
    return uv_changes(
        points, fixed.faces, corners, face, barycentric, centres, settings.orthographic
    )


def _colors(look, rules, variables, uv, change):
    """The texture's rows at some pixels of a layer."""
    return texture.look_up(variables.texels, look.sizes, uv, change, look.wraps, rules.blend)


def _margin_table(settings, rules, points, faces, half_edge) -> Layer:
    """A margin's values at all pixels."""
    table = jnp.zeros((half_edge.shape[0], 8), points.dtype)
    if settings.margin > 0:
        values = partial(_margin_rows, settings, rules)
        table = rules.add(values, _room(settings), points, faces, table, half_edge)
    b0, b1, b2, depth, alpha, *_ = (table[:, k] for k in range(8))
    return Layer((b0, b1, b2), depth, alpha)


def _margin_rows(settings, rules, points, faces, _, half_edge, pixel):
    share, depth, alpha = rules.margin(settings, points, faces, half_edge, pixel)
    none = jnp.zeros_like(depth)
    weights = edge_barycentric(half_edge, share)
    return jnp.stack([*weights, depth, alpha, none, none, none], axis=-1)


def _flat(visible: Visible) -> tuple[Any, Any]:
    """Faces [K, N] and half-edges [K, M, N]."""
    face, half_edge = visible
    return face.reshape(face.shape[0], -1), half_edge.reshape(*half_edge.shape[:2], -1)


def _room(settings: Settings) -> int:
    """Pixels of a window of margin pixels: a round outline has at most 1.6 (H + W)."""
    height, width = settings.image_size
    return min(2 * (height + width), height * width)
