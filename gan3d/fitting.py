"""Shape and texture from posed pictures, by gradient descent through the renderer.

The mesh starts as a sphere. Its vertices v are not optimised themselves but

    u = (I + lambda L) v

with L the mesh's graph Laplacian. Source: Nicolet, Jacobson & Jakob 2021, "Large steps in inverse
rendering of geometry". A step in u moves v by (I + lambda L)^-1 times it: smooth motions come
first, the sparse gradients of silhouettes spread over the surface, and nothing tangles; once it has
converged, no smoothness term pulls the surface away from what the pictures show.

Colours are in [-1, 1]. Shape letters: N views, H W their size, V vertices, U welded vertices, T
texture side.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan3d.render import Camera, Topology, render

if TYPE_CHECKING:
    from jaxtyping import Array, Float

__all__ = [
    "Fit",
    "FitConfig",
    "PosedViews",
    "Preconditioner",
    "fit_views",
    "make_preconditioner",
    "photograph",
    "psnr",
]

PHOTOGRAPH_SAMPLES = 4  # along a pixel's side


class PosedViews(NamedTuple):
    """Pictures of one object and where they were taken from.

    Attributes:
      images: over the plain background.
      alphas: opacity of the object, or None if unknown.
      cameras: one camera with a leading axis N on each of its arrays.
      background: the plain colour behind the object.

    >>> from gan3d.render import orbit_camera
    >>> cameras = jax.vmap(orbit_camera)(jnp.array([0.0, 1.0, 2.0]))
    >>> views = PosedViews(jnp.zeros((3, 8, 8, 3)), None, cameras, background=jnp.ones(3))
    >>> print(views.image_size, views.select(np.array([0, 2])).images.shape)
    (8, 8) (2, 8, 8, 3)
    """

    images: Float[Array, "N H W 3"]
    alphas: Float[Array, "N H W"] | None
    cameras: Camera
    background: Float[Array, "3"]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.images.shape[1], self.images.shape[2]

    def select(self, indices: Any) -> PosedViews:
        """Some of the views; the background stays."""
        chosen = jax.tree.map(lambda a: a[indices], self._replace(background=None))
        return chosen._replace(background=self.background)


class Fit(NamedTuple):
    """What was reconstructed: world coordinates, and colours in [-1, 1]."""

    vertices: Float[Array, "V 3"]
    texture: Float[Array, "T T 3"]


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """How to descend.

    Attributes:
      steps: steps of Adam, whose sizes fall to a tenth along a cosine.
      batch: views per step, drawn without replacement.
      margin_pixels: width of the renderer's soft margin, in samples; 0 is the crisp renderer.
      supersampling: samples along a pixel's side. The margin lies outside the mesh, so that an
        object looks larger by half a margin than to a camera, whose pixels average over their area:
        the fit would be too small by as much. Two samples halve that.
      stiffness: lambda; motions of wavelength below about 6 sqrt(lambda) edges are slowed down.
      vertex_rate: Adam's step size for u, world units.
      texture_rate: Adam's step size for the texture.
      texture_size: T, side of the texture in texels.
      alpha_weight: weight of the squared error of the opacity, where it is known.
      seed: of the choice of views.
    """

    steps: int = 500
    batch: int = 4
    margin_pixels: float = 1.0
    supersampling: int = 2
    stiffness: float = 8.0
    vertex_rate: float = 0.01
    texture_rate: float = 0.03
    texture_size: int = 64
    alpha_weight: float = 1.0
    seed: int = 0


class Preconditioner(NamedTuple):
    """The change of variables v = (I + lambda L)^-1 u over welded vertices.

    Dense, hence for meshes of up to some thousand vertices.

    Attributes:
      matrix: I + lambda L.
      inverse: of it.
      kept: a vertex of each welded one.
      index: the welded vertex of each vertex.
    """

    matrix: Float[np.ndarray, "U U"]
    inverse: Float[np.ndarray, "U U"]
    kept: np.ndarray
    index: np.ndarray

    def encode(self, vertices: Float[Array, "V 3"]) -> Float[Array, "U 3"]:
        """u of v; copies of a welded vertex must lie at the same place."""
        return jnp.asarray(self.matrix @ np.asarray(vertices)[self.kept], vertices.dtype)

    def decode(self, u: Float[Array, "U 3"]) -> Float[Array, "V 3"]:
        """v of u."""
        inverse = jnp.asarray(self.inverse, u.dtype)
        # Full precision: a GPU would otherwise round the products to TF32.
        return jnp.matmul(inverse, u, precision=jax.lax.Precision.HIGHEST)[self.index]


def make_preconditioner(topology: Topology, stiffness: float) -> Preconditioner:
    """I + stiffness * L and its inverse, in float64; L has degrees on its diagonal, else -1.

    >>> from gan3d.render import sphere_mesh
    >>> vertices, topology = sphere_mesh(5)
    >>> change: Preconditioner = make_preconditioner(topology, 10.0)
    >>> print(np.allclose(change.decode(change.encode(vertices)), vertices, atol=1e-5))
    True
    """
    if stiffness < 0:
        raise ValueError(f"stiffness must not be negative, got {stiffness}")
    kept, index = np.unique(np.asarray(topology.weld), return_inverse=True)
    a, b = index[np.asarray(topology.edges)].T
    matrix = np.eye(len(kept))
    for i, j in ((a, b), (b, a)):
        np.add.at(matrix, (i, i), stiffness)
        np.add.at(matrix, (i, j), -stiffness)
    return Preconditioner(matrix, np.linalg.inv(matrix), kept, index)


def fit_views(
    views: PosedViews,
    start: Float[np.ndarray, "V 3"],
    topology: Topology,
    config: FitConfig,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> Fit:
    """Finds the textured mesh whose pictures agree with the given ones.

    Args:
      views: what to agree with.
      start: vertices to start from; the texture starts grey.
      topology: of the mesh, with texture coordinates.
      config: how to descend.
      report: called with the number of steps done and the last loss, twenty times in all.

    Raises:
      ValueError: if fewer views are given than a step draws.

    >>> from gan3d.render import orbit_camera, sphere_mesh
    >>> vertices, topology = sphere_mesh(5)
    >>> cameras = jax.vmap(orbit_camera)(jnp.array([0.0, 1.0]))
    >>> views = PosedViews(jnp.zeros((2, 8, 8, 3)), None, cameras, background=jnp.ones(3))
    >>> config = FitConfig(steps=2, batch=2, texture_size=4, supersampling=1, margin_pixels=0.0)
    >>> fit: Fit = fit_views(views, 0.5 * vertices, topology, config)
    >>> print(fit.vertices.shape, fit.texture.shape)
    (25, 3) (4, 4, 3)
    """
    if not 1 <= config.batch <= len(views.images):
        rule = f"batch must be from 1 to the {len(views.images)} views"
        raise ValueError(f"{rule}, got {config.batch}")
    change = make_preconditioner(topology, config.stiffness)
    side = config.texture_size
    params = {"u": change.encode(jnp.asarray(start)), "texture": jnp.zeros((side, side, 3))}
    optimizer = _optimizer(config)
    step = _make_step(views, change, topology, optimizer, config)
    state = optimizer.init(params)
    every = max(config.steps // 20, 1)
    for done in range(1, config.steps + 1):
        params, state, loss = step(params, state, done)
        if done % every == 0 or done == config.steps:
            report(done, float(loss))
    return Fit(change.decode(params["u"]), jnp.clip(params["texture"], -1, 1))


def _optimizer(config):
    def adam(rate):
        return optax.adam(optax.cosine_decay_schedule(rate, config.steps, alpha=0.1))

    rates = {"u": adam(config.vertex_rate), "texture": adam(config.texture_rate)}
    return optax.partition(rates, {"u": "u", "texture": "texture"})


def _make_step(views, change, topology, optimizer, config):
    """(params, state, number of the step) -> (params, state, loss), jitted."""

    def squared_error(fit, view):
        color, alpha = _draw(
            fit, topology, view.cameras, views.image_size, views.background,
            config.margin_pixels, config.supersampling,
        )  # fmt: skip
        error = ((color - view.images) ** 2).mean()
        if view.alphas is not None:
            error += config.alpha_weight * ((alpha - view.alphas) ** 2).mean()
        return error

    axes = PosedViews(0, None if views.alphas is None else 0, 0, None)

    def loss(params, chosen):
        fit = Fit(change.decode(params["u"]), params["texture"])
        return jax.vmap(squared_error, (None, axes))(fit, chosen).mean()

    @jax.jit
    def step(params, state, number):
        key = jax.random.fold_in(jax.random.key(config.seed), number)
        chosen = jax.random.choice(key, len(views.images), (config.batch,), replace=False)
        value, gradient = jax.value_and_grad(loss)(params, views.select(chosen))
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    return step


def photograph(
    fit: Fit,
    topology: Topology,
    cameras: Camera,
    image_size: tuple[int, int],
    background: Float[Array, "3"],
) -> tuple[Float[Array, "N H W 3"], Float[Array, "N H W"]]:
    """Pictures and opacities as means of 4 x 4 crisp samples: they favour no margin of a fit.

    >>> from gan3d.render import orbit_camera, sphere_mesh
    >>> vertices, topology = sphere_mesh(5)
    >>> ball = Fit(0.5 * jnp.asarray(vertices), jnp.zeros((4, 4, 3)))
    >>> cameras = jax.vmap(orbit_camera)(jnp.array([0.0, 1.0]))
    >>> images, alphas = photograph(ball, topology, cameras, (8, 8), background=jnp.ones(3))
    >>> print(images.shape, alphas[0, 4, 4], images[0, 4, 4], images[0, 0, 0])
    (2, 8, 8, 3) 1.0 [0. 0. 0.] [1. 1. 1.]
    """
    leaves, structure = jax.tree.flatten(cameras)
    each = [structure.unflatten(rows) for rows in zip(*leaves, strict=True)]
    pictures = [_photograph(fit, topology, c, jnp.asarray(background), image_size) for c in each]
    return tuple(map(jnp.stack, zip(*pictures, strict=True)))


# One camera at a time, and the topology an argument: compiled once per size of mesh and picture.
@functools.partial(jax.jit, static_argnames="image_size")
def _photograph(fit, topology, camera, background, image_size):
    return _draw(fit, topology, camera, image_size, background, 0.0, PHOTOGRAPH_SAMPLES)


def _draw(fit, topology, camera, image_size, background, margin_pixels, samples):
    """One picture [H, W, 3] and its opacity [H, W]: means over samples x samples per pixel."""
    height, width = image_size
    fine = (height * samples, width * samples)
    behind = jnp.broadcast_to(background, (*fine, 3))
    shown = render(fit.vertices, topology, fit.texture, camera, fine, behind, margin_pixels)
    layers = jnp.concatenate([shown.color, shown.alpha[..., None]], axis=-1)
    pixels = layers.reshape(height, samples, width, samples, 4).mean(axis=(1, 3))
    return pixels[..., :3], pixels[..., 3]


def psnr(images: Float[Array, "N H W 3"], targets: Float[Array, "N H W 3"]) -> float:
    """Peak signal-to-noise ratio in dB of colours in [-1, 1], over all pixels of all images.

    >>> print(round(psnr(jnp.full((1, 2, 2, 3), 0.2), jnp.zeros((1, 2, 2, 3))), 3))
    20.0
    """
    error = np.mean((np.asarray(images, np.float64) - np.asarray(targets, np.float64)) ** 2)
    return float(10 * np.log10(4 / max(error, 1e-12)))
