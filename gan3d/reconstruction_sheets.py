"""Sheets of what was reconstructed from pictures, and of what can be done with it.

found = invert(generator, images)
save_png("sheet.png", picture_of(reconstruction_sheet(generator, images, found)))
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gan3d.editing import relight, swap_shape, swap_texture, turn_head
from gan3d.pictures import Shot, pictures
from gan3d.render import DirectionalLights
from gan3d.scene import Scene, View
from gan3d.sheets import RESOLUTION, Group, Sheet, degrees
from gan3d.trained import TrainedGenerator

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from gan3d.inversion import Inversion

__all__ = ["editing_sheet", "reconstruction_sheet"]

NOVEL_YAW_DEGREES = (-60.0, -30.0, 0.0, 30.0, 60.0)
TURN_DEGREES = 40.0
AMBIENT = 0.35
# From the upper left, before the object: y points down.
LIGHT = DirectionalLights(np.float32([[-1.0, -0.6, -0.8]]), np.full((1, 3), 0.9, np.float32))


def reconstruction_sheet(
    generator: TrainedGenerator,
    images: UInt8[np.ndarray, "N R R 3"],
    found: Inversion,
    resolution: int = RESOLUTION,
) -> Sheet:
    """A row per picture: input, reconstruction, normals, and the reconstruction from elsewhere.

    Args:
      generator: G.
      images: what was inverted.
      found: what `gan3d.inversion.invert` made of them.
      resolution: of the rendered pictures, pixels.

    >>> from gan3d.inversion import InversionConfig, invert
    >>> images = np.zeros((1, 8, 8, 3), np.uint8)
    >>> config = InversionConfig(viewpoints=1, search_steps=0, style_steps=1, detail_steps=0)
    >>> sheet = reconstruction_sheet(generator, images, invert(generator, images, config=config))
    >>> print(sheet.column_titles[:4])
    ('input', 'reconstruction', 'normals', '-60°')
    """
    scenes, views = _singles(found.scene), _singles(found.view)
    novel = [View(math.radians(yaw), 0.0) for yaw in NOVEL_YAW_DEGREES]
    shots = [
        Shot(scene, view)
        for scene, own in zip(scenes, views, strict=True)
        for view in (own, *novel)
    ]
    drawn = list(pictures(generator, shots, resolution, normals=True))
    cells, step = [], 1 + len(novel)
    for i, image in enumerate(np.asarray(images)):
        own, *others = drawn[i * step : (i + 1) * step]
        cells.append([image, own.image, own.normals, *(other.image for other in others)])
    titles = ("input", "reconstruction", "normals", *degrees(NOVEL_YAW_DEGREES))
    groups = (Group(3, 2 + len(novel), "from elsewhere, by yaw"),)
    about = "Shape, texture, background and viewpoint were found from the input alone"
    return Sheet(cells, titles, column_groups=groups, about=about)


def editing_sheet(
    generator: TrainedGenerator, scenes: Scene, views: View, resolution: int = RESOLUTION
) -> Sheet:
    """A row per pair of neighbours A, B: both, then A with B's paint, B's shape, in light, turned.

    Args:
      generator: G.
      scenes: at least two, batched; the last one's B is the first.
      views: from which they are seen, radians.
      resolution: of the pictures, pixels.

    Raises:
      ValueError: there are fewer than two scenes.

    >>> scenes = generator.scene(generator.sample(jax.random.key(0), 2))
    >>> views = generator.views(jax.random.key(1), 2)
    >>> sheet = editing_sheet(generator, scenes, views, resolution=8)
    >>> print(len(sheet.cells), sheet.column_titles[2:4])
    2 ("A, B's paint", "A, B's shape")
    """
    first, where = _singles(scenes), _singles(views)
    if len(first) < 2:
        raise ValueError(f"scenes must be at least 2, got {len(first)}")
    shots = []
    for i, (a, view) in enumerate(zip(first, where, strict=True)):
        b = first[(i + 1) % len(first)]
        lit = relight(a, generator.parts.stage, AMBIENT, LIGHT)
        turned = turn_head(a, math.radians(TURN_DEGREES) * (1 if view.yaw < 0 else -1))
        edits = (a, b, swap_texture(a, b), swap_shape(a, b), lit, turned)
        shots += [Shot(scene, view) for scene in edits]
    drawn = [picture.image for picture in pictures(generator, shots, resolution, normals=True)]
    width = len(shots) // len(first)
    titles = ("A", "B", "A, B's paint", "A, B's shape", "A in light", "A turned")
    cells = [drawn[i : i + width] for i in range(0, len(drawn), width)]
    return Sheet(cells, titles, about="Every edit is a scene; all are seen from A's viewpoint")


def _singles(batch):
    """The elements of a batched tuple of arrays, in main memory."""
    return [type(batch)(*one) for one in zip(*map(np.asarray, batch), strict=True)]
