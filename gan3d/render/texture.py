"""Texture look-up: bilinear, or trilinear over mipmaps, with a hand-written gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan3d.render.batching import differentiable_scene_by_scene, materialized, traced_once
from gan3d.render.indexing import DROP, take

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

WRAPS = ("clamp", "repeat", "mirror")
_FEW = 2048  # look-ups of which all four texels' rows fit a cache
_LARGEST = 1e15  # texels per pixel; its square still fits a float32.


def sample_texture(
    texture: Float[Array, "Th Tw C"],
    uv: Float[Array, "... 2"],
    *,
    wrap: str | tuple[str, str] = "clamp",
    derivatives: Float[Array, "... 2 2"] | None = None,
    mipmaps: Sequence[Float[Array, "..."]] | None = None,
    max_level: int | None = None,
) -> Float[Array, "... C"]:
    """Bilinear look-up, or trilinear over mipmaps where the footprint of a pixel is given.

    With `derivatives` the level of detail is that of OpenGL (specification 4.6, section 8.14.1),
        level = log2 max(|(du/dx Tw, dv/dx Th)|, |(du/dy Tw, dv/dy Th)|),
    the longer axis of the pixel's footprint in texels, limited to [0, coarsest level]; the two
    nearest levels are sampled bilinearly and blended. Source: Williams 1983, "Pyramidal
    parametrics".

    Args:
      texture: texels; texel (row i, column j) has its centre at ((j + 0.5) / Tw, (i + 0.5) / Th).
      uv: coordinates, u to the right, v down; [0, 1] spans the texture.
      wrap: what lies beyond: "clamp" (the outer texel centres' values), "repeat" or "mirror"
        (repeat, every other copy reflected); one for both axes, or a pair for (u, v).
      derivatives: d uv[i] / d xy[j] per pixel at [..., i, j], as from `uv_derivatives`.
        None: bilinear in `texture`.
      mipmaps: from `make_mipmaps(texture)`, to build them once for several look-ups.
        None: built here if derivatives are given.
      max_level: coarsest level to use, at least 0. None: the coarsest there is.

    Returns:
      Values at uv, of the dtype that texture and uv promote to.

      Differentiable in texture (only in mipmaps if those are given), derivatives and, between
      texel centres, in uv. Second derivatives work: `jax.hessian`, and `jax.grad` or `jax.jvp`
      of `jax.grad`. First-order forward mode (`jax.jvp` of the look-up itself) raises jax's
      TypeError for custom_vjp functions.

    Raises:
      ValueError: on a wrong shape, wrap mode or level.

    >>> texture = jnp.array([[[0.0], [1.0]]])
    >>> print(sample_texture(texture, jnp.array([0.5, 0.5])))
    [0.5]
    >>> print(sample_texture(texture, jnp.array([1.25, 0.5]), wrap="repeat"))
    [0.]
    >>> footprint = jnp.array([[1.0, 0.0], [0.0, 1.0]])  # the pixel spans the whole texture
    >>> print(sample_texture(texture, jnp.array([0.25, 0.5]), derivatives=footprint))
    [0.5]
    """
    _validate(texture, uv, derivatives, mipmaps, max_level)
    wraps = wrap_pair(wrap)
    texture, uv = jnp.asarray(texture), jnp.asarray(uv)
    texture = texture.astype(jnp.result_type(texture, uv))
    levels = (texture,)
    if derivatives is not None:
        levels = make_mipmaps(texture) if mipmaps is None else mipmaps
        levels = tuple(levels)[: None if max_level is None else max_level + 1]
    texels, sizes = join_levels(levels)
    variables = texels, uv, () if derivatives is None else jnp.asarray(derivatives)

    return _sampler(sizes, wraps)(variables, ())


@traced_once
def _sampler(sizes: tuple[tuple[int, int], ...], wraps: tuple[str, str]):
    def sample(blend, variables, _, keep):  # nothing is worth keeping
        texels, uv, derivatives = variables
        flat = [uv[..., i].reshape(-1) for i in range(2)]
        change = None
        if len(derivatives):
            change = [[derivatives[..., i, j].reshape(-1) for j in range(2)] for i in range(2)]
        rows = look_up(texel_rows(texels), sizes, flat, change, wraps, blend)
        return rows[:, : texels.shape[1]].reshape(*uv.shape[:-1], texels.shape[1])

    return differentiable_scene_by_scene(partial(sample, blend_rows), partial(sample, blend))


def make_mipmaps(texture: Float[Array, "Th Tw C"]) -> tuple[Float[Array, "..."], ...]:
    """The texture at full size, then each level half as large as the last, down to 1 x 1.

    An axis of n texels shrinks to max(1, n // 2). Each new texel is the mean over the area that
    it covers: the 2 x 2 box where both sizes are even, along an odd axis a box 2 + 1 / (n // 2)
    texels wide, so that every level has the texture's mean. Source: Williams 1983, "Pyramidal
    parametrics"; odd sizes as in Guthe & Heckbert 2005, "Non-power-of-two mipmapping".

    Args:
      texture: texels, any size; integers become float32.

    Returns:
      The levels, finest first; linear in the texture.

    Raises:
      ValueError: if the texture is not [Th, Tw, C] or has no texels.

    >>> print([level.shape for level in make_mipmaps(jnp.ones((4, 5, 3)))])
    [(4, 5, 3), (2, 2, 3), (1, 1, 3)]
    """
    validate_texels("texture", texture)
    texture = jnp.asarray(texture)
    if not jnp.issubdtype(texture.dtype, jnp.floating):
        texture = texture.astype(jnp.float32)
    levels = [texture]
    while max(levels[-1].shape[:2]) > 1:
        levels.append(_halve(_halve(levels[-1], 0), 1))
    return tuple(levels)


def _halve(texture, axis):
    """Means over boxes of n / (n // 2) texels along one axis."""
    size = texture.shape[axis]
    half = size // 2
    if half == 0:
        return texture
    # Half precision would round the shares.
    wide = texture.astype(jnp.promote_types(texture.dtype, jnp.float32))
    taps = [lax.slice_in_dim(wide, k, k + 2 * half - 1, 2, axis) for k in range(2 + size % 2)]
    shares = [0.5, 0.5]
    if size % 2:
        # New texel i covers [i n / m, (i + 1) n / m] with n = 2 m + 1: parts of three old texels.
        place = np.arange(half).reshape([-1 if k == axis else 1 for k in range(3)])
        shares = [(half - place) / size, half / size, (place + 1) / size]
    pairs = zip(taps, shares, strict=True)
    return sum(tap * np.asarray(share, wide.dtype) for tap, share in pairs).astype(texture.dtype)


def _validate(texture, uv, derivatives, mipmaps, max_level):
    validate_texels("texture", texture)
    if uv.ndim == 0 or uv.shape[-1] != 2:
        raise ValueError(f"uv must have shape [..., 2], got {list(uv.shape)}")
    for name, value in (("mipmaps", mipmaps), ("max_level", max_level)):
        if derivatives is None and value is not None:
            raise ValueError(f"{name} must be None without derivatives, which select the level")
    if derivatives is not None and derivatives.shape != (*uv.shape, 2):
        got = list(derivatives.shape)
        raise ValueError(f"derivatives must have shape {[*uv.shape, 2]} as of uv, got {got}")
    if max_level is not None and max_level < 0:
        raise ValueError(f"max_level must be at least 0, got {max_level}")
    for k, level in enumerate(mipmaps or ()):
        validate_texels(f"mipmaps[{k}]", level)
    if mipmaps is not None and (
        len(mipmaps) == 0
        or mipmaps[0].shape != texture.shape
        or any(level.shape[2] != texture.shape[2] for level in mipmaps)
    ):
        raise ValueError(
            f"mipmaps must start with the texture's shape {list(texture.shape)}, all with its "
            f"channels, got {[list(level.shape) for level in mipmaps]}"
        )


def validate_texels(name, texels):
    """Raises ValueError unless texels are a texture."""
    if texels.ndim != 3:
        raise ValueError(f"{name} must have shape [Th, Tw, C], got {list(texels.shape)}")
    if min(texels.shape[:2]) < 1:
        raise ValueError(f"{name} must have at least one texel, got {list(texels.shape)}")


def wrap_pair(wrap):
    pair = (wrap, wrap) if isinstance(wrap, str) else tuple(wrap)
    if len(pair) != 2 or any(mode not in WRAPS for mode in pair):
        raise ValueError(f"wrap must be one of {', '.join(WRAPS)}, or a pair of them, got {wrap!r}")
    return pair


def join_levels(
    levels: Sequence[Float[Array, "..."]],
) -> tuple[Float[Array, "N C"], tuple[tuple[int, int], ...]]:
    """The texels of all levels, row by row, and the (width, height) of each level."""
    texels = jnp.concatenate([level.reshape(-1, level.shape[2]) for level in levels])
    return texels, tuple(level.shape[1::-1] for level in levels)


def texel_rows(texels: Float[Array, "N C"], *more: Float[Array, "N"]) -> Float[Array, "N R"]:
    """Texels, further channels, and zeros to a multiple of four: on CPU rows of four channels are
    gathered and added several times faster than single ones, or rows of three."""
    columns = [texels, *(channel[:, None] for channel in more)]
    missing = -sum(column.shape[1] for column in columns) % 4
    columns.append(jnp.zeros((texels.shape[0], missing), texels.dtype))
    return jnp.concatenate(columns, axis=1)


def look_up(
    texels: Float[Array, "N R"],
    sizes: tuple[tuple[int, int], ...],
    uv: Sequence[Float[Array, "P"]],
    change: Sequence[Sequence[Float[Array, "P"]]] | None,
    wraps: tuple[str, str],
    blend: Callable[..., Float[Array, "P R"]],
) -> Float[Array, "P R"]:
    """`sample_texture` of a list of pixels in joined levels.

    Args:
      texels: of all levels, in rows.
      sizes: (width, height) of each level.
      uv: u and v.
      change: d uv[i] / d xy[j] at [i][j], or None: the first level only.
      wraps: of u and v.
      blend: `blend_rows`, fast and with a gradient, or `blend`, which can be differentiated twice.
    """
    if change is None:
        return _bilinear(texels, uv, sizes[0], 0, wraps, blend)
    table = np.array(sizes, np.int32)
    offsets = np.cumsum([0, *table.prod(axis=1)])[:-1].astype(np.int32)
    level = jnp.minimum(_level_of_detail(change, sizes[0]), len(sizes) - 1)
    fine = lax.stop_gradient(jnp.floor(level)).astype(jnp.int32)

    def sample(index):
        size = take(jnp.asarray(table[:, 0]), index), take(jnp.asarray(table[:, 1]), index)
        return _bilinear(texels, uv, size, take(jnp.asarray(offsets), index), wraps, blend)

    share = materialized((level - fine).astype(uv[0].dtype), fine)
    # Stacked copies: their transpose is a short sum, that of a broadcast a reduction, slow on CPU.
    share = jnp.stack([share] * texels.shape[1], axis=-1)
    return sample(fine) * (1 - share) + sample(jnp.minimum(fine + 1, len(sizes) - 1)) * share


def _level_of_detail(change, size):
    """log2 of the footprint's longer axis in texels of the finest level; 0 if below one texel."""
    dtype = jnp.promote_types(change[0][0].dtype, jnp.float32)
    # A face seen edge-on has no bound; its square has to stay finite, and its gradient too.
    along = [
        [jnp.clip(c.astype(dtype) * size[i], -_LARGEST, _LARGEST) for c in change[i]]
        for i in range(2)
    ]
    square = [along[0][j] * along[0][j] + along[1][j] * along[1][j] for j in range(2)]
    return 0.5 * jnp.log2(jnp.maximum(jnp.maximum(square[0], square[1]), 1))


def _bilinear(texels, uv, size, offset, wraps, blend):
    """Look-up in images that lie row by row in texels, each pixel's from its offset on."""
    left, to_right, x = _neighbours(uv[0], size[0], wraps[0])
    top, to_bottom, y = _neighbours(uv[1], size[1], wraps[1])
    # Computed once per pixel: fused into the blend they would be once per texel and channel.
    first, to_right, to_bottom, x, y = materialized(
        (offset + top * size[0] + left, to_right, to_bottom * size[0], x, y)
    )
    corners = first, first + to_right, first + to_bottom, first + to_bottom + to_right
    if first.size <= _FEW:
        corners = jnp.stack(corners)  # one gather, and one scatter, for all four
    return blend(texels.astype(jnp.result_type(texels, x)), corners, x, y)


def _neighbours(coordinate, size, wrap):
    """Index of the nearest texel before, the step to that after, and the fraction between them."""
    if wrap == "clamp":
        position = jnp.clip(coordinate * size - 0.5, 0, size - 1)
        low = jnp.clip(jnp.floor(position), 0, jnp.maximum(size - 2, 0)).astype(jnp.int32)
        step = min(1, size - 1) if isinstance(size, int) else jnp.minimum(1, size - 1)
        return low, step, position - low
    period = 1 if wrap == "repeat" else 2
    # Reduced first: a far coordinate would overflow the integer.
    position = (coordinate - period * jnp.floor(coordinate / period)) * size - 0.5
    low = jnp.floor(position).astype(jnp.int32)
    pair = [jnp.mod(index, period * size) for index in (low, low + 1)]
    if wrap == "mirror":
        pair = [jnp.minimum(index, 2 * size - 1 - index) for index in pair]
    return pair[0], pair[1] - pair[0], position - low


def blend(
    texels: Float[Array, "N R"],
    corners: Sequence[Int[Array, "P"]] | Int[Array, "4 P"],
    x: Float[Array, "P"],
    y: Float[Array, "P"],
) -> Float[Array, "P R"]:
    """(1 - y) ((1 - x) t0 + x t1) + y ((1 - x) t2 + x t3) with t_k = texels[corners[k]]."""
    texel = _texels_at(texels, corners)
    x, y = x[:, None], y[:, None]
    upper = texel[0] * (1 - x) + texel[1] * x
    lower = texel[2] * (1 - x) + texel[3] * x
    return upper * (1 - y) + lower * y


@jax.custom_vjp
def blend_rows(texels, corners, x, y):
    """`blend` with a hand-written gradient."""
    return _blend_fwd(texels, corners, x, y)[0]


def _blend_fwd(texels, corners, x, y):
    return blend(texels, corners, x, y), (texels, corners, x, y)


def _blend_bwd(residuals, cotangent):
    """The blend is linear in the texels and in x and y each; with g its cotangent per channel,

    dL/dt_k += g w_k,  w = ((1 - x)(1 - y), x (1 - y), (1 - x) y, x y),
    dL/dx = sum over channels of g ((t1 - t0)(1 - y) + (t3 - t2) y),
    dL/dy = sum over channels of g ((t2 - t0)(1 - x) + (t3 - t1) x).
    """
    texels, corners, x, y = residuals
    t = _texels_at(texels, corners)
    x, y = x[:, None], y[:, None]
    g_x = _row_sums(cotangent * ((t[1] - t[0]) * (1 - y) + (t[3] - t[2]) * y))
    g_y = _row_sums(cotangent * ((t[2] - t[0]) * (1 - x) + (t[3] - t[1]) * x))
    # Stored, or the weight of every corner would sum them up for itself.
    _, (g_x, g_y) = materialized((corners[0], (g_x, g_y)))
    g_texels = jnp.zeros_like(texels)
    weights = (1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y
    if isinstance(corners, jax.Array):
        to_right, below = jnp.array([[0, 1, 0, 1], [0, 0, 1, 1]], bool)[:, :, None, None]
        weight = jnp.where(to_right, x[None], 1 - x[None]) * jnp.where(below, y[None], 1 - y[None])
        corners, weights, cotangent = [corners], [weight], cotangent[None]
    else:
        # Empty pixels share one uv: adding their zeros to one texel would be slow for nothing.
        wanted = _row_sums(jnp.abs(cotangent)) != 0
        corners = [jnp.where(wanted, index, texels.shape[0]) for index in corners]
    for index, weight in zip(corners, weights, strict=True):
        g_texels = g_texels.at[index].add(cotangent * weight, **DROP)
    return g_texels, None, g_x.astype(residuals[2].dtype), g_y.astype(residuals[3].dtype)


blend_rows.defvjp(_blend_fwd, _blend_bwd)


def _texels_at(texels, corners):
    """Of each corner, [P R]."""
    if isinstance(corners, jax.Array):
        # Stored, or the gather would be repeated number by number.
        return list(materialized(take(texels, corners), corners))
    return [take(texels, index) for index in corners]


def _row_sums(values):
    """Reductions over a short axis are slow on CPU."""
    return sum(values[:, c] for c in range(values.shape[1]))
