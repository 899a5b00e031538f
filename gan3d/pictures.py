"""Many pictures from a trained generator, a few at a time.

    scenes = scenes_of(generator, generator.styles(z))
    for picture in pictures(generator, (Shot(scene, View(0.5, 0.0)) for scene in scenes), 256): ...

Lazy: nothing is drawn before it is asked for, memory holds a handful of pictures however many there
are, and all of one resolution come from one compiled program.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from gan3d.scene import Scene, Stage, View, render_normals, render_scene
from gan3d.trained import Styles, TrainedGenerator

if TYPE_CHECKING:
    from jaxtyping import UInt8

BATCH = 4  # pictures drawn at once: on a CPU more are no faster
PAPER = 1.0  # colour of a plain background, and behind normals: white

_T = TypeVar("_T")


class Shot(NamedTuple):
    """One picture to be taken: what of, and from where."""

    scene: Scene
    view: View


class Picture(NamedTuple):
    """One picture, and the normals seen in it as colours over white."""

    image: UInt8[np.ndarray, "R R 3"]
    normals: UInt8[np.ndarray, "R R 3"] | None


def pictures(
    generator: TrainedGenerator, shots: Iterable[Shot], resolution: int, normals: bool = False
) -> Iterator[Picture]:
    """Takes the shots, in order.

    Args:
      generator: whose scenes they are.
      shots: unbatched scenes and views, as many as you like.
      resolution: side of the pictures, pixels.
      normals: whether to draw normals as well.

    Yields:
      One picture per shot.
    """
    draw = _painter(generator.parts.stage.at_resolution(resolution), normals)
    for scene, view, count in _batches(shots):
        image, normal = jax.device_get(draw(scene, view))
        for i in range(count):
            yield Picture(image[i], normal[i] if normals else None)


def scenes_of(generator: TrainedGenerator, styles: Styles) -> Iterator[Scene]:
    """The scenes of a batch of styles, one after the other, in main memory."""
    singles = (Styles(*one) for one in zip(*map(np.asarray, styles), strict=True))
    for levels, background, count in _batches(singles):
        batch = jax.device_get(generator.scene(Styles(levels, background)))
        for i in range(count):
            yield jax.tree.map(lambda a, i=i: a[i], batch)


def plain(scene: Scene) -> Scene:
    """The scene before a white background."""
    return scene._replace(background=np.full_like(scene.background, PAPER))


def _batches(items: Iterable[_T]) -> Iterator[tuple]:
    """The fields of `BATCH` items stacked, the last batch filled up; and how many are meant."""
    items = iter(items)
    while batch := list(itertools.islice(items, BATCH)):
        filled = batch + [batch[-1]] * (BATCH - len(batch))
        yield (*jax.tree.map(lambda *a: np.stack(a), *filled), len(batch))


# Bounded, because every entry keeps its stage and compiled programs alive.
@functools.lru_cache(maxsize=8)
def _painter(stage: Stage, normals: bool) -> Callable:
    to_bytes = lambda colors: jnp.round(127.5 * (jnp.clip(colors, -1, 1) + 1)).astype(jnp.uint8)  # noqa: E731

    def draw(scene: Scene, view: View):
        picture = render_scene(scene, view, stage)
        if not normals:
            return to_bytes(picture.image), None
        behind = PAPER * (1 - picture.alpha[..., None])
        colors = render_normals(scene, stage.camera(view), stage) + behind
        return to_bytes(picture.image), to_bytes(colors)

    return jax.jit(jax.vmap(draw))
