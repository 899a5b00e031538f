"""`invert`: from pictures to scenes and viewpoints of a trained generator.

In three stages, each a descent from the last one's result:

1. *search*: w, background and viewpoint, from several viewpoints or from an encoder's answer; those
   that agree best with the picture go on;
2. *style*: the same, to the end, where the best one is chosen;
3. *detail*: w+ (a style of its own for every level) and what is painted over texture and
   background, while the rest moves little. The shape never leaves the generator's range.

Source of inversion by descent in w+: Abdal, Qin & Wonka 2019, "Image2StyleGAN"; of the refinement
after it the same authors' "Image2StyleGAN++", 2020. Stages, weights and rates are ours.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan3d.inversion.descent import Problem, descend
from gan3d.inversion.encoder import Encoder, first_unknowns
from gan3d.inversion.losses import psnr
from gan3d.inversion.pictures import as_pictures
from gan3d.inversion.style_space import style_space
from gan3d.inversion.unknowns import Model, Priors, Unknowns, scene_at, start, styles_at
from gan3d.scene import Scene, View, render_scene
from gan3d.trained import Styles, TrainedGenerator
from gan3d.training.assemble import Parts

if TYPE_CHECKING:
    from jaxtyping import Array, Float, UInt8

Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class InversionConfig:
    """How to descend.

    Attributes:
      viewpoints: yaws to start from, spread evenly over p_v; unused with an encoder.
      search_steps: of Adam, from every one of them.
      kept: starts that go on, of every picture.
      style_steps: at most, until w and the viewpoint are found.
      detail_steps: at most, until w+ and the paint are found; 0 = neither.
      style_rate: step size for coordinates of w, standard deviations, and the background's latent.
      view_rate: the same for yaw and pitch, radians.
      level_rate: the same for what w+ adds.
      paint_rate: the same for colours.
      style_weight: of the distance from the latents' mean, see `Priors`; all weights stand beside
        the logarithm of the distance between the pictures.
      level_weight: of the distance of w+ from w.
      background_weight: of the background's latent.
      view_weight: of viewpoints beyond p_v.
      paint_weight: of what is painted.
      tolerance: the rates are halved, and in the end the descent stopped, when 20 steps make the
        distance less by no more than this part.
      batch: pictures, or starts, that descend together.

    >>> config = InversionConfig(detail_steps=0)  # stay in w
    """

    viewpoints: int = 6
    search_steps: int = 40
    kept: int = 2
    style_steps: int = 100
    detail_steps: int = 100
    style_rate: float = 0.1
    view_rate: float = 0.02
    level_rate: float = 0.03
    paint_rate: float = 0.01
    style_weight: float = 0.3
    level_weight: float = 1.0
    background_weight: float = 0.05
    view_weight: float = 20.0
    paint_weight: float = 5.0
    tolerance: float = 0.01
    batch: int = 16


class Inversion(NamedTuple):
    """What was found for N pictures, or without the leading axis for one.

    Attributes:
      styles: points of W+ and background latents; without the paint.
      view: viewpoints, radians.
      scene: surface, texture and background, paint included: `generator.render` draws it.
      image: the picture of the scene from the viewpoint, colours in [-1, 1].
      psnr: of that picture against the given one, dB.
    """

    styles: Styles
    view: View
    scene: Scene
    image: Float[Array, "*N R R 3"]
    psnr: Float[Array, "*N"]


def invert(
    generator: TrainedGenerator,
    images: Float[Array, "*N R R 3"] | UInt8[np.ndarray, "*N R R 3"],
    encoder: Encoder | None = None,
    config: InversionConfig | None = None,
    report: Report | None = None,
) -> Inversion:
    """Finds scenes and viewpoints whose pictures are the given ones.

    Args:
      generator: whose scenes they will be.
      images: one picture or a batch, square, of any side from 8 pixels on: it is drawn at that
        size. 8 bits, or colours in [-1, 1].
      encoder: of the same generator; its answers are where the descent starts.
      config: how to descend; None = the defaults.
      report: called with a line of progress now and then.

    Raises:
      ValueError: images are not such pictures, the encoder is another generator's, or a number of
        the configuration is out of its range.

    >>> scene = generator.scene(generator.sample(jax.random.key(0), 1)[0])
    >>> picture = generator.render(scene, generator.camera(yaw=0.2), resolution=8).image
    >>> config = InversionConfig(viewpoints=2, search_steps=1, style_steps=1, detail_steps=1)
    >>> found: Inversion = invert(generator, picture, config=config)
    >>> print(found.scene.texture.shape, found.image.shape, found.view.yaw.shape)
    (16, 16, 3) (8, 8, 3) ()
    """
    config = InversionConfig() if config is None else config
    _validate(config)
    pictures, is_single = as_pictures(images)
    if encoder is not None:
        encoder.check(generator)
    space = style_space(generator) if encoder is None else encoder.space
    # One size for all stages: a single program has to be compiled.
    size = min(config.batch, len(pictures) * (config.kept if encoder is None else 1))
    model, report = Model(generator.parts, space), report or (lambda line: None)
    task = _Task(model, generator.params, pictures, config, size, report)
    if encoder is None:
        starts = task.search()
    else:
        starts = first_unknowns(encoder, generator, pictures), np.arange(len(pictures))
    found = task.result(task.detail(task.style(*starts)))
    return jax.tree.map(lambda a: a[0], found) if is_single else found


class _Task(NamedTuple):
    """What does not change from stage to stage."""

    model: Model
    params: Any
    pictures: Float[Array, "N R R 3"]
    config: InversionConfig
    batch: int
    report: Report

    def search(self) -> tuple[Unknowns, np.ndarray]:
        """The starts that are worth going on from, and whose picture each is of."""
        config, num = self.config, len(self.pictures)
        yaws = (2 * np.arange(config.viewpoints) + 1) / config.viewpoints - 1
        yaws *= self.model.parts.prior.yaw_range
        starts = jax.vmap(lambda yaw: start(self.model, View(yaw, 0.0)))(jnp.asarray(yaws))
        unknowns = jax.tree.map(lambda a: jnp.concatenate([a] * num), starts)
        owners = np.repeat(np.arange(num), config.viewpoints)
        unknowns, distances = self._descend(
            "search", unknowns, owners, _style_rates(config), config.search_steps
        )
        ranks = np.argsort(distances.reshape(num, -1), axis=1)[:, : config.kept]
        chosen = (np.arange(num)[:, None] * config.viewpoints + ranks).ravel()
        return _take(unknowns, chosen), owners[chosen]

    def style(self, unknowns: Unknowns, owners: np.ndarray) -> Unknowns:
        """w, background and viewpoint of every picture: of its starts the one that ends nearest."""
        unknowns, distances = self._descend(
            "style", unknowns, owners, _style_rates(self.config), self.config.style_steps
        )
        num = len(self.pictures)
        best = distances.reshape(num, -1).argmin(axis=1)
        return _take(unknowns, best + np.arange(num) * (len(owners) // num))

    def detail(self, unknowns: Unknowns) -> Unknowns:
        """The same with w+ and paint."""
        config, owners = self.config, np.arange(len(self.pictures))
        rates = _detail_rates(config)
        return self._descend("detail", unknowns, owners, rates, config.detail_steps)[0]

    def result(self, unknowns: Unknowns) -> Inversion:
        """What the unknowns mean."""
        (parts, space), pictures = self.model, self.pictures
        show = _shower(parts, pictures.shape[1])
        shown = [
            show(self.params, space, _take(unknowns, some), pictures[some])
            for some in _batches(len(self.pictures), self.batch)
        ]
        found = jax.tree.map(lambda *a: jnp.concatenate(a), *shown)
        return jax.tree.map(lambda a: a[: len(self.pictures)], found)

    def _descend(self, stage, unknowns, owners, rates, steps):
        """`descend`, a batch at a time; a short last batch is filled up with its last start."""
        if not steps and len(owners) == len(self.pictures):  # nothing to do, nothing to choose
            return unknowns, np.zeros(len(owners))
        priors, parts = _priors(self.config), []
        for some in _batches(len(owners), self.batch):
            problem = Problem(self.model, self.params, priors, self.pictures[owners[some]])
            parts.append(
                descend(problem, _take(unknowns, some), rates, steps, self.config.tolerance)
            )
            done, distance = min(some[-1] + 1, len(owners)), np.mean(parts[-1][1])
            self.report(f"{stage}: {done}/{len(owners)}, distance {distance:.4f}")
        unknowns = jax.tree.map(
            lambda *a: jnp.concatenate(a)[: len(owners)], *(p[0] for p in parts)
        )
        return unknowns, np.concatenate([part[1] for part in parts])[: len(owners)]


# Bounded, because every entry keeps its compiled program alive.
@functools.lru_cache(maxsize=8)
def _shower(parts: Parts, resolution: int) -> Callable[..., Inversion]:
    """(parameters, space, unknowns [N], pictures) -> what they mean."""
    stage = parts.stage.at_resolution(resolution)

    def show(params, space, unknowns, picture):
        model, view = Model(parts, space), unknowns.view
        scene = scene_at(model, params, unknowns)
        image = render_scene(scene, view, stage).image
        return Inversion(styles_at(model, unknowns), view, scene, image, psnr(image, picture))

    return jax.jit(jax.vmap(show, (None, None, 0, 0)))


def _batches(num: int, size: int) -> list[np.ndarray]:
    """Indices in batches of one size; the last one is filled up with the last index."""
    return [np.minimum(np.arange(i, i + size), num - 1) for i in range(0, num, size)]


def _take(tree, indices):
    return jax.tree.map(lambda a: a[indices], tree)


def _style_rates(config: InversionConfig) -> Unknowns:
    view = View(config.view_rate, config.view_rate)
    return Unknowns(config.style_rate, 0.0, config.style_rate, view, 0.0, 0.0)


def _detail_rates(config: InversionConfig) -> Unknowns:
    """What has been found before goes on at the pace of the levels."""
    slower = config.level_rate / max(config.style_rate, 1e-12)
    found = jax.tree.map(lambda rate: rate * slower, _style_rates(config))
    return found._replace(
        levels=config.level_rate, texture=config.paint_rate, behind=config.paint_rate
    )


def _priors(config: InversionConfig) -> Priors:
    return Priors(
        config.style_weight,
        config.level_weight,
        config.background_weight,
        config.view_weight,
        config.paint_weight,
    )


def _validate(config: InversionConfig) -> None:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        least = 1 if field.name in ("viewpoints", "kept", "batch") else 0
        if not least <= value < math.inf:
            raise ValueError(f"{field.name} must be finite and at least {least}, got {value}")
