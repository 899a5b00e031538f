"""The procedural heads: ground-truth scenes m = [s, t, b], and a source of their pictures.

Everything is a pure function of (seed, index): nothing is downloaded, and the scene and the
viewpoint behind every picture are known.
"""

from __future__ import annotations

import functools
import math
import threading
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from gan3d.data.heads_paint import draw_paint, head_texture, random_background
from gan3d.data.heads_shape import draw_shape, head_surface
from gan3d.scene import Scene, Stage, View, ViewPrior, make_stage, render_scene

if TYPE_CHECKING:
    from jaxtyping import Array, Int, PRNGKeyArray, UInt8

MAP_SIZE = 64
BACKGROUND_SIZE = 32
MARGIN_PIXELS = 1.0
_BLOCK = 16


@jax.jit
def head_scene(seed: int | Int[Array, ""], index: int | Int[Array, ""]) -> Scene:
    """Head number `index` of the family `seed`.

    Args:
      seed: which family, 0 <= seed < 2^31.
      index: which head of it, 0 <= index < 2^31; may be traced, as may be `seed`.

    Returns:
      Scene with surface [64, 64, 3] and texture [64, 64, 3] in the octahedral chart and
      background [32, 32, 3].

    >>> scene = head_scene(seed=0, index=7)
    >>> print(scene.surface.shape, scene.texture.shape, scene.background.shape)
    (64, 64, 3) (64, 64, 3) (32, 32, 3)
    """
    key_shape, key_paint, key_background = _head_keys(seed, index)[:3]
    shape = draw_shape(key_shape)
    surface, face = head_surface(shape, MAP_SIZE)
    texture = head_texture(shape, draw_paint(key_paint), surface, face)
    return Scene(surface, texture, random_background(key_background, BACKGROUND_SIZE))


@jax.jit
def head_scenes(seed: int | Int[Array, ""], indices: Int[Array, " N"]) -> Scene:
    """`head_scene` for many indices; every field of the result has a leading axis N.

    >>> print(head_scenes(0, jnp.arange(2)).surface.shape)
    (2, 64, 64, 3)
    """
    return jax.vmap(head_scene, in_axes=(None, 0))(seed, indices)


@functools.partial(jax.jit, static_argnames="prior")
def head_view(seed: int | Int[Array, ""], index: int | Int[Array, ""], prior: ViewPrior) -> View:
    """Viewpoint from which head number `index` of the family `seed` is seen, drawn from `prior`.

    >>> from gan3d.scene import ViewPrior
    >>> view = head_view(0, 7, ViewPrior(yaw_range=0.5, pitch_range=0.0))
    >>> print(bool(abs(view.yaw) < 0.5), bool(view.pitch == 0))
    True True
    """
    return prior.sample(_head_keys(seed, index)[3])


def _head_keys(seed: int | Array, index: int | Array) -> PRNGKeyArray:
    """Independent keys, [4], of a head's shape, paint, background and viewpoint."""
    # The generator is named: a head must not change with the process's default one.
    family = jax.random.key(seed, impl="threefry2x32")
    return jax.random.split(jax.random.fold_in(family, index), 4)


class HeadsSource:
    """Pictures of the heads, rendered when first asked for and then kept.

    Attributes:
      name: "heads".
      stage: how the scenes are shown; the soft renderer, whatever the model under training uses,
        because a real camera has no jagged boundaries.
      prior: distribution of the viewpoints.

    >>> from gan3d.scene import ViewPrior
    >>> source = HeadsSource(32, num_heads=100, prior=ViewPrior(math.radians(90), 0.0))
    >>> print(len(source), source.stage.resolution, source.scene(7).surface.shape)
    100 32 (64, 64, 3)
    >>> print(bool(abs(source.view(7).yaw) <= math.radians(90)))
    True
    >>> source.batch(np.array([7, 100]))
    Traceback (most recent call last):
    IndexError: indices must be in [0, 100), got [  7 100]
    """

    name = "heads"

    def __init__(
        self,
        resolution: int,
        *,
        seed: int = 0,
        num_heads: int = 16384,
        prior: ViewPrior,
        fov_degrees: float = 20.0,
    ):
        """Opens the source; nothing is rendered yet.

        Args:
          resolution: height and width of the pictures, in pixels.
          seed: which family of heads.
          num_heads: number of heads, one picture each.
          prior: distribution of the viewpoints.
          fov_degrees: vertical field of view, in degrees.

        Raises:
          ValueError: `num_heads` is not positive.
        """
        if num_heads < 1:
            raise ValueError(f"num_heads must be at least 1, got {num_heads}")
        self.prior = prior
        self.stage = make_stage(
            surface_size=MAP_SIZE,
            resolution=resolution,
            fov=math.radians(fov_degrees),
            margin_pixels=MARGIN_PIXELS,
            chart="octahedral",
            prior=prior,
        )
        self._seed = seed
        self._num_heads = num_heads
        num_blocks = -(-num_heads // _BLOCK)
        self._images = np.zeros((num_blocks * _BLOCK, resolution, resolution, 3), np.uint8)
        self._rendered = np.zeros(num_blocks, bool)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._num_heads

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "R R 3"]:
        return self.batch(np.array([index]))[0]

    def batch(self, indices: Int[np.ndarray, " N"]) -> UInt8[np.ndarray, "N R R 3"]:
        """Pictures of many heads.

        Heads are rendered in fixed blocks of neighbouring indices: a picture is then the same to
        the last bit, whatever was asked for before it or together with it.
        """
        indices = np.asarray(indices)
        if np.any((indices < 0) | (indices >= self._num_heads)):
            raise IndexError(f"indices must be in [0, {self._num_heads}), got {indices}")
        with self._lock:
            blocks = np.unique(indices // _BLOCK)
            for block in blocks[~self._rendered[blocks]]:
                heads = np.arange(_BLOCK, dtype=np.int32) + np.int32(block * _BLOCK)
                drawn = _render_heads(self._seed, heads, stage=self.stage, prior=self.prior)
                self._images[heads] = np.asarray(drawn)
                self._rendered[block] = True
        return self._images[indices]

    def scene(self, index: int) -> Scene:
        """The true scene behind picture `index`."""
        return head_scene(self._seed, index)

    def view(self, index: int) -> View:
        """The true viewpoint of picture `index`."""
        return head_view(self._seed, index, self.prior)


# Sources of one stage, which differ in seed and size, share the program.
@functools.partial(jax.jit, static_argnames=("stage", "prior"))
def _render_heads(
    seed: Int[Array, ""], indices: Int[Array, " N"], *, stage: Stage, prior: ViewPrior
) -> UInt8[Array, "N R R 3"]:
    """Photographs heads, each from its own viewpoint, in 8 bits."""

    def photograph(index: Int[Array, ""]) -> UInt8[Array, "R R 3"]:
        image = render_scene(head_scene(seed, index), head_view(seed, index, prior), stage).image
        return jnp.round(127.5 * (jnp.clip(image, -1.0, 1.0) + 1.0)).astype(jnp.uint8)

    return jax.vmap(photograph)(indices)
