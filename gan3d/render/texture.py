"""Texture look-up: bilinear, or trilinear over mipmaps, with a hand-written gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan3d.render.batching import materialized, scene_by_scene

if TYPE_CHECKING:
    from jaxtyping import Array, Float

WRAPS = ("clamp", "repeat", "mirror")
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
    wraps = _wrap_pair(wrap)
    texture, uv = jnp.asarray(texture), jnp.asarray(uv)
    if derivatives is None:
        height, width, channels = texture.shape
        return _bilinear(texture.reshape(-1, channels), uv, (width, height), 0, wraps)
    levels = make_mipmaps(texture) if mipmaps is None else mipmaps
    levels = tuple(levels)[: None if max_level is None else max_level + 1]
    return _trilinear(levels, uv, jnp.asarray(derivatives), wraps)


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
    _validate_texels("texture", texture)
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
    _validate_texels("texture", texture)
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
        _validate_texels(f"mipmaps[{k}]", level)
    if mipmaps is not None and (
        len(mipmaps) == 0
        or mipmaps[0].shape != texture.shape
        or any(level.shape[2] != texture.shape[2] for level in mipmaps)
    ):
        raise ValueError(
            f"mipmaps must start with the texture's shape {list(texture.shape)}, all with its "
            f"channels, got {[list(level.shape) for level in mipmaps]}"
        )


def _validate_texels(name, texels):
    if texels.ndim != 3:
        raise ValueError(f"{name} must have shape [Th, Tw, C], got {list(texels.shape)}")
    if min(texels.shape[:2]) < 1:
        raise ValueError(f"{name} must have at least one texel, got {list(texels.shape)}")


def _wrap_pair(wrap):
    pair = (wrap, wrap) if isinstance(wrap, str) else tuple(wrap)
    if len(pair) != 2 or any(mode not in WRAPS for mode in pair):
        raise ValueError(f"wrap must be one of {', '.join(WRAPS)}, or a pair of them, got {wrap!r}")
    return pair


def _trilinear(levels, uv, derivatives, wraps):
    sizes = np.array([level.shape[1::-1] for level in levels], np.int32)
    offsets = np.cumsum([0, *sizes.prod(axis=1)])[:-1].astype(np.int32)
    texels = jnp.concatenate([level.reshape(-1, level.shape[2]) for level in levels])
    level = jnp.minimum(_level_of_detail(derivatives, sizes[0]), len(levels) - 1)
    fine = lax.stop_gradient(jnp.floor(level)).astype(jnp.int32)

    def sample(index):
        size = jnp.asarray(sizes[:, 0])[index], jnp.asarray(sizes[:, 1])[index]
        return _bilinear(texels, uv, size, jnp.asarray(offsets)[index], wraps)

    share = (level - fine)[..., None].astype(uv.dtype)
    return sample(fine) * (1 - share) + sample(jnp.minimum(fine + 1, len(levels) - 1)) * share


def _level_of_detail(derivatives, size):
    """log2 of the footprint's longer axis in texels of the finest level; 0 if below one texel."""
    wide = derivatives.astype(jnp.promote_types(derivatives.dtype, jnp.float32))
    along = [wide[..., i, :] * int(size[i]) for i in range(2)]
    # A face seen edge-on has no bound; its square has to stay finite, and its gradient too.
    u, v = (jnp.clip(a, -_LARGEST, _LARGEST) for a in along)
    square = u * u + v * v
    return 0.5 * jnp.log2(jnp.maximum(jnp.maximum(square[..., 0], square[..., 1]), 1))


def _bilinear(texels, uv, size, offset, wraps):
    """Look-up in images that lie row by row in texels [N, C], each pixel's from its offset on."""
    width, height = size
    left, right, x = _neighbours(uv[..., 0], width, wraps[0])
    top, bottom, y = _neighbours(uv[..., 1], height, wraps[1])
    rows = offset + top * width, offset + bottom * width
    texels = texels.astype(jnp.result_type(texels, x))
    return _blend(texels, tuple(row + column for row in rows for column in (left, right)), x, y)


def _neighbours(coordinate, size, wrap):
    """Indices of the two nearest texels and the fraction between them."""
    if wrap == "clamp":
        position = jnp.clip(coordinate * size - 0.5, 0, size - 1)
        low = jnp.clip(jnp.floor(position), 0, jnp.maximum(size - 2, 0)).astype(jnp.int32)
        return low, jnp.minimum(low + 1, size - 1), position - low
    period = 1 if wrap == "repeat" else 2
    # Reduced first: a far coordinate would overflow the integer.
    position = (coordinate - period * jnp.floor(coordinate / period)) * size - 0.5
    low = jnp.floor(position).astype(jnp.int32)
    pair = [jnp.mod(index, period * size) for index in (low, low + 1)]
    if wrap == "mirror":
        pair = [jnp.minimum(index, 2 * size - 1 - index) for index in pair]
    return *pair, position - low


@jax.custom_vjp
def _blend(texels, corners, x, y):
    """(1 - y) ((1 - x) t0 + x t1) + y ((1 - x) t2 + x t3) with t_k = texels[corners[k]]."""
    return _blend_fwd(texels, corners, x, y)[0]


def _blend_fwd(texels, corners, x, y):
    # Computed once per pixel: fused into the blend they would be once per channel.
    corners, x, y = materialized((corners, x, y))
    residuals = texels, corners, x, y
    texel = [texels.at[index].get(mode="clip") for index in corners]
    x, y = x[..., None], y[..., None]
    upper = texel[0] * (1 - x) + texel[1] * x
    lower = texel[2] * (1 - x) + texel[3] * x
    return upper * (1 - y) + lower * y, residuals


def _blend_bwd(residuals, cotangent):
    """The blend is linear in the texels and in x and y each; with g its cotangent per channel,

    dL/dt_k += g w_k,  w = ((1 - x)(1 - y), x (1 - y), (1 - x) y, x y),
    dL/dx = sum over channels of g ((t1 - t0)(1 - y) + (t3 - t2) y),
    dL/dy = sum over channels of g ((t2 - t0)(1 - x) + (t3 - t1) x).
    """
    texels, corners, x, y = residuals
    g_texels, g_x, g_y = _pullback(texels, corners, x, y, jnp.array(cotangent))
    return g_texels, None, g_x, g_y


_blend.defvjp(_blend_fwd, _blend_bwd)


@jax.custom_jvp
def _pullback(texels, corners, x, y, cotangent):
    def of_image(texels, x, y, cotangent, *corners):
        return _pull_back(texels, corners, x, y, cotangent, skip_zeros=True)

    return scene_by_scene(of_image)(texels, x, y, cotangent, *corners)


@_pullback.defjvp
def _pullback_jvp(primals, tangents):
    # Where a cotangent is zero its own derivative is not: no pixel may be skipped here.
    texels, corners, *rest = primals
    smooth = lambda texels, *rest: _pull_back(texels, corners, *rest)  # noqa: E731
    return jax.jvp(smooth, (texels, *rest), (tangents[0], *tangents[2:]))


def _pull_back(texels, corners, x, y, cotangent, skip_zeros=False):
    """See `_blend_bwd`. One flat array per channel: scalar gathers and scatter-adds are fast."""
    num_texels, channels = texels.shape
    shape, dtype = x.shape, x.dtype
    corners = [index.reshape(-1) for index in corners]
    x, y, cotangent = x.reshape(-1), y.reshape(-1), cotangent.reshape(-1, channels)
    weights = ((1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y)
    targets = corners
    if skip_zeros:
        # Empty pixels share one uv: adding their zeros to one texel would be slow for nothing.
        zero = (cotangent == 0).all(axis=-1)
        targets = [jnp.where(zero, num_texels, index) for index in corners]
    planes, g_x, g_y = [], 0, 0
    for c in range(channels):
        g, plane = cotangent[:, c], texels[:, c]
        t = [plane.at[index].get(mode="clip") for index in corners]
        g_x = g_x + g * ((t[1] - t[0]) * (1 - y) + (t[3] - t[2]) * y)
        g_y = g_y + g * ((t[2] - t[0]) * (1 - x) + (t[3] - t[1]) * x)
        total = jnp.zeros(num_texels, texels.dtype)
        for index, weight in zip(targets, weights, strict=True):
            total = total.at[index].add(g * weight, mode="drop")
        planes.append(total)
    fraction = lambda g: jnp.asarray(g, dtype).reshape(shape)  # noqa: E731
    return jnp.stack(planes, axis=-1), fraction(g_x), fraction(g_y)
