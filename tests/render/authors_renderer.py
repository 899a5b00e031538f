"""What a pixel shows in the renderer that the paper's first author published.

Per drawn triangle and pixel: q is the triangle's point closest to the pixel centre, d their
distance in pixels, depth = z(q) (1 + d / (2 margin)), z linear on the screen, and
alpha = clip(1 - d / margin, 0, 1). The crisp layer is the nearest triangle with alpha 1, the margin
layer the nearest with 0 < alpha < 1, provided it is nearer than the crisp layer.

Three differences to `gan3d.render`: (1) where the margin lies over a surface, theirs ends where the
pushed depth passes the surface's; (2) among several margins theirs takes the one of least pushed
depth, ours the one of least distance; (3) theirs shows one margin, ours one of each of two
components. Everywhere else the pictures must be equal; `Choice` says
where that is. Given the choice, how a fragment looks and how it is differentiated is the same, so
`shade` borrows that from the reference rasterizer.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan3d.render import Fragments
from gan3d.render.reference import shade_margin, shade_surface
from gan3d.render.screen import Settings

MIN_DOUBLE_AREA = 1e-3


class Choice(NamedTuple):
    """Per pixel: the crisp face, the margin's half-edge, and two distances in pixels."""

    face: np.ndarray
    half_edge: np.ndarray
    distance: np.ndarray  # to the chosen margin, inf without one
    closest: np.ndarray  # to any drawn triangle

    @property
    def differs(self) -> np.ndarray:
        """Pixels off the surface that take another margin than the closest."""
        chosen = np.where(np.isfinite(self.distance), self.distance, self.closest)
        return (self.face < 0) & (chosen > self.closest + 1e-6)


def choose(
    points: np.ndarray, faces: np.ndarray, image_size: tuple[int, int], margin: float
) -> Choice:
    height, width = image_size
    choice = Choice(
        face=np.full(image_size, -1),
        half_edge=np.full(image_size, -1),
        distance=np.full(image_size, np.inf),
        closest=np.full(image_size, np.inf),
    )
    crisp_depth, margin_depth = np.full(image_size, np.inf), np.full(image_size, np.inf)
    for face, corners in enumerate(points[faces]):
        xy, z = corners[:, :2], corners[:, 2]
        if _cross(xy[1] - xy[0], xy[2] - xy[0]) > -MIN_DOUBLE_AREA or z.min() < 1e-3:
            continue
        low = np.clip(np.floor(xy.min(0) - margin - 1), 0, [width, height]).astype(int)
        high = np.clip(np.ceil(xy.max(0) + margin + 1), 0, [width, height]).astype(int)
        box = np.s_[low[1] : high[1], low[0] : high[0]]
        pixels = np.stack(
            np.meshgrid(*(np.arange(*b) + 0.5 for b in zip(low, high, strict=True))), -1
        )
        inside, edge, distance, weights = _closest_point(pixels, xy)
        depth = (weights * z).sum(-1) * (1 + distance / (2 * margin) if margin > 0 else 1)
        nearer = inside & (depth < crisp_depth[box])
        crisp_depth[box][nearer] = depth[nearer]
        choice.face[box][nearer] = face
        nearer = ~inside & (distance < margin) & (depth < margin_depth[box])
        margin_depth[box][nearer] = depth[nearer]
        choice.half_edge[box][nearer] = 3 * face + edge[nearer]
        choice.distance[box][nearer] = distance[nearer]
        choice.closest[box] = np.minimum(choice.closest[box], distance)
    hidden = margin_depth >= crisp_depth
    choice.half_edge[hidden] = -1
    choice.distance[hidden] = np.inf
    return choice


def shade(points, choice: Choice, topology, margin_pixels: float) -> Fragments:
    """Fragments of the chosen faces and edges, differentiable in the points."""
    height, width = choice.face.shape
    x, y = jnp.arange(width) + 0.5, jnp.arange(height) + 0.5
    pixels = jnp.stack(jnp.meshgrid(x, y), axis=-1).astype(points.dtype)

    settings = Settings(choice.face.shape, margin_pixels)

    def fragments_at(pixel, face, half_edge):
        surface = shade_surface(pixel, face, points, topology)
        margin = shade_margin(pixel, half_edge, points, topology, settings)
        return jax.tree.map(lambda *layers: jnp.stack(layers), margin, surface)

    fragments = jax.vmap(jax.vmap(fragments_at))(
        pixels, jnp.asarray(choice.face), jnp.asarray(choice.half_edge)
    )
    return jax.tree.map(lambda a: jnp.moveaxis(a, 2, 0), fragments)


def _closest_point(pixels, corners):
    """Whether a pixel lies inside; else which edge is closest, how far, and q's weights."""
    areas = np.stack(
        [_cross(corners[k - 2] - corners[k], pixels - corners[k]) for k in range(3)], -1
    )
    inside = (areas <= 0).all(-1)
    weights = np.roll(areas, -1, axis=-1) / areas.sum(-1, keepdims=True)
    distance = np.where(inside, 0, np.inf)
    closest = np.zeros(inside.shape, int)
    for k in range(3):
        start, edge = corners[k], corners[k - 2] - corners[k]
        along = np.clip(((pixels - start) @ edge) / (edge @ edge), 0, 1)
        to_edge = np.linalg.norm(pixels - start - along[..., None] * edge, axis=-1)
        nearer = to_edge < distance
        on_edge = np.zeros((*inside.shape, 3))
        on_edge[..., k], on_edge[..., k - 2] = 1 - along, along
        weights = np.where(nearer[..., None], on_edge, weights)
        distance = np.where(nearer, to_edge, distance)
        closest = np.where(nearer, k, closest)
    return inside, closest, distance, weights


def _cross(a, b):
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
