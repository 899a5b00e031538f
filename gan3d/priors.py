"""Priors on the shape, against what images alone leave open.

The paper names a size constraint and a pyramid but not their formulas: what stands here is ours.
All terms are for one mesh and are zero, or near it, for a round head-sized shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from gan3d.render import face_normals
from gan3d.render.smoothness import normal_consistency_term, uniform_laplacian

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

    from gan3d.render import Topology

__all__ = [
    "crease_term",
    "fold_term",
    "laplacian_term",
    "size_term",
    "smoothness_fraction",
    "tangential_term",
]

_LEAST_COSINE = 0.1  # of a face that is not about to turn away
_LAPLACIAN_VERTICES = 33 * 33  # on this mesh, the demo's, the term is a plain sum over 4 pi


def size_term(vertices: Float[Array, "V 3"], low: float, high: float) -> Float[Array, ""]:
    """Hinges on the mean radius, and on the distance of the centre from the origin.

    max(0, low - r)^2 + max(0, r - high)^2 + max(0, |c| - 0.1)^2: nothing pulls inside the range,
    for a pinned radius keeps the object too small.

    Args:
      vertices: world coordinates.
      low: least mean radius without penalty, world units.
      high: greatest mean radius without penalty.

    >>> from gan3d.render import icosphere
    >>> vertices, _ = icosphere(0)
    >>> for radius in (0.4, 0.6, 0.9):
    ...     print(f"{size_term(radius * vertices, low=0.5, high=0.8):.4f}")
    0.0100
    0.0000
    0.0100
    """
    radius = jnp.sqrt((vertices**2).sum(-1) + 1e-12).mean()
    offset = jnp.sqrt((vertices.mean(0) ** 2).sum() + 1e-12)
    hinge = lambda excess: jnp.maximum(excess, 0) ** 2  # noqa: E731
    return hinge(low - radius) + hinge(radius - high) + hinge(offset - 0.1)


def smoothness_fraction(
    images_seen: Int[Array, ""], hold_images: int, halflife_images: int, floor: float
) -> Float[Array, ""]:
    """What is left of the smoothness weights: 1, then halving, down to the floor.

    A stiff surface finds the coarse form; if it yields too early, wrinkles take the place of eyes
    for good, and if it never does, there is no nose. The clock is images seen, so that a longer
    training begins like a shorter one.

    Args:
      images_seen: so far.
      hold_images: the fraction is 1 until then.
      halflife_images: it halves every so many images from then on.
      floor: least fraction, in [0, 1].

    >>> for images_seen in (1000, 1500, 2000, 9000):
    ...     print(f"{smoothness_fraction(jnp.array(images_seen), 1000, 500, floor=0.05):.2f}")
    1.00
    0.50
    0.25
    0.05
    """
    halvings = jnp.maximum(images_seen - hold_images, 0) / halflife_images
    return jnp.maximum(floor, 0.5**halvings)


def laplacian_term(displacements: Float[Array, "V 3"], topology: Topology) -> Float[Array, ""]:
    """Mean squared uniform Laplacian of the displacements, per squared area around a vertex.

    V sum_i |d_i - mean over neighbours of d_j|^2, up to a constant: a finer mesh has differences
    smaller by 1 / V, so that one weight serves every mesh.

    Args:
      displacements: of the vertices from the start shape.
      topology: its welded edges are the neighbourhoods.

    >>> from gan3d.render import icosphere
    >>> vertices, topology = icosphere(0)
    >>> moved = jnp.ones((12, 3))  # every vertex alike
    >>> bumpy = vertices * (jnp.arange(12) % 2)[:, None]  # every second one outwards
    >>> print(f"{laplacian_term(moved, topology):.3f} {laplacian_term(bumpy, topology):.3f}")
    0.000 0.004
    """
    laplacian = uniform_laplacian(displacements, topology)
    num_vertices = topology.num_vertices
    return (laplacian**2).sum() / (4 * np.pi) * (num_vertices / _LAPLACIAN_VERTICES)


def tangential_term(vertices: Float[Array, "V 3"], start: Float[Array, "V 3"]) -> Float[Array, ""]:
    """Mean squared displacement along the start shape, at right angles to the way from the origin.

    A surface that moves outwards and inwards only cannot gather: its texture stays spread as on the
    start shape. Free to slide, it gathers early into a crease, which stays. Nothing pulls at radial
    displacements, which are enough for star-shaped objects. The paper has no such term.

    Args:
      vertices: world coordinates.
      start: of the start shape, none of them at the origin.

    >>> from gan3d.render import icosphere
    >>> start, _ = icosphere(1)
    >>> turned = start @ jnp.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])  # by 90 degrees about z
    >>> print(f"{tangential_term(2 * start, start):.2f} {tangential_term(turned, start):.2f}")
    0.00 0.80
    """
    direction = start / jnp.linalg.norm(start, axis=-1, keepdims=True)
    moved = vertices - start
    radial = (moved * direction).sum(-1, keepdims=True) * direction
    return ((moved - radial) ** 2).sum(-1).mean()


def crease_term(vertices: Float[Array, "V 3"], topology: Topology) -> Float[Array, ""]:
    """Mean of (1 - cos)^2 of the angle between neighbouring faces' normals.

    Gentle on a curved surface, steep at a fold; edges of a degenerate face count as flat.

    >>> from gan3d.render import cube, icosphere
    >>> print(f"{crease_term(*cube()):.3f} {crease_term(*icosphere(1)):.3f}")
    0.667 0.004
    """
    return normal_consistency_term(vertices, topology, power=2)


def fold_term(vertices: Float[Array, "V 3"], topology: Topology) -> Float[Array, ""]:
    """Hinge on faces that turn away from the outside, as seen from the origin.

    Mean over the faces of max(0, 0.1 - cos)^2, cos that of the angle between a face's outward
    normal and the direction of its centre. Zero for whatever is star-shaped about the origin with a
    little to spare, as heads are, and their noses; a fold, a mask's hollow back and a curled rim
    are not. Nothing pulls at the others, so it costs no relief.

    >>> from gan3d.render import icosphere
    >>> vertices, topology = icosphere(1)
    >>> inside_out = -vertices
    >>> print(f"{fold_term(vertices, topology):.2f} {fold_term(inside_out, topology):.2f}")
    0.00 1.21
    """
    direction = lambda x: x * jax.lax.rsqrt(jnp.maximum((x**2).sum(-1, keepdims=True), 1e-16))  # noqa: E731
    outward = direction(face_normals(vertices, topology))
    centres = direction(vertices[topology.faces].mean(1))
    return (jnp.maximum(_LEAST_COSINE - (outward * centres).sum(-1), 0) ** 2).mean()
