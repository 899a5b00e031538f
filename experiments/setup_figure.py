"""The training set-up as a drawing made of a run's own pictures: Figure 2 of arXiv 1910.00287."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from experiments.curves import FAINT, INK, STYLE, import_matplotlib
from experiments.figure_layout import (
    EDGE_INCHES,
    LINE_INCHES,
    place_picture,
    wrapped,
    write,
    write_caption,
)
from gan3d.pictures import Shot, pictures, scenes_of
from gan3d.scene import View
from gan3d.sheets import draw_latents
from gan3d.trained import TrainedGenerator
from gan3d.training.loop import open_training_source
from gan3d.visualize import to_uint8

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 3.45, 2.1  # inches: one column of two
NUM_REAL, NUM_ENTRIES = 3, 9
SMALL = {"fontsize": 7}
COLORS = {"G": "#d3e5f2", "R": "#d2ebe2", "D": "#f8dfcb"}
# Corners and middles, inches from the top left.
MAPS = {"surface $s$": 1.50, "texture $t$": 2.15, "background $b$": 2.80}
MAP_TOP, MAP_SIDE = 0.21, 0.58
UPPER, LOWER = MAP_TOP + MAP_SIDE / 2, 1.47  # of the two rows
BOXES = {"G": (0.85, UPPER), "R": (2.44, LOWER), "D": (1.03, LOWER)}
BOX_SIDE = 0.38
PICTURE, PICTURE_SIDE = 1.40, 0.62
REAL, REAL_SIDE, REAL_SHIFT = 0.08, 0.50, 0.045
LATENT, ENTRY = 0.30, 0.062
ORBIT = (3.09, LOWER - 0.04, 0.17)  # middle and radius


class Content(NamedTuple):
    """What the drawing shows: one sample, and pictures of the training set.

    Attributes:
      z: its latent.
      maps: surface, texture and background as pictures.
      view: its viewpoint, radians.
      picture: R(m, v).
      real: pictures that the discriminator is shown; None = grey placeholders.
    """

    z: Float[np.ndarray, "Z"]
    maps: list[UInt8[np.ndarray, "h w 3"]]
    view: View
    picture: UInt8[np.ndarray, "R R 3"]
    real: list[UInt8[np.ndarray, "r r 3"]] | None


def setup_content(
    generator: TrainedGenerator,
    seed: int,
    resolution: int,
    truncation: float = 1.0,
    show_photographs: bool = False,
) -> Content:
    """One sample of the run and the pictures it was trained on.

    Args:
      generator: G.
      seed: of latent and viewpoint.
      resolution: of the rendered picture, and of the heads, pixels.
      truncation: psi.
      show_photographs: whether to show pictures of the training set that are photographs: of
        people, perhaps, who did not agree. The procedural heads are always shown.

    Raises:
      ValueError: the pictures are asked for and are not there.
    """
    z, views = draw_latents(generator, seed, 1)
    (scene,) = scenes_of(generator, generator.styles(z, truncation))
    view = View(*(np.asarray(angle)[0] for angle in views))
    (drawn,) = pictures(generator, [Shot(scene, view)], resolution, normals=True)
    # x, y and z as red, green and blue, upwards and towards the viewer brighter.
    points = scene.surface * np.float32([1, -1, -1]) / np.abs(scene.surface).max()
    maps = [to_uint8(image) for image in (points, scene.texture, scene.background)]
    config, real = generator.parts.config, None
    if config.data == "heads":
        config = dataclasses.replace(config, num_heads=NUM_REAL, resolution=resolution)
    if config.data == "heads" or show_photographs:
        source = open_training_source(config)
        real = [np.asarray(source[i]) for i in range(min(NUM_REAL, len(source)))]
    return Content(np.asarray(z)[0], maps, view, drawn.image, real)


def draw_setup(content: Content, prior_yaw: float, caption: str = "") -> Figure:
    """z -> G -> maps -> R <- v; its picture and real ones -> D.

    Args:
      content: of the drawing.
      prior_yaw: half the range of yaws of p_v, radians.
      caption: below; wrapped. Empty = none.

    Raises:
      UsageError: matplotlib is not installed.
    """
    matplotlib = import_matplotlib()
    lines = wrapped(caption, WIDTH - 2 * EDGE_INCHES)
    height = HEIGHT + (len(lines) + 0.5 * bool(lines)) * LINE_INCHES
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure((WIDTH, height))
        axis = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
        axis.set_axis_off()
        _draw_latent(figure, axis, content.z)
        _draw_boxes(figure, axis)
        for (name, x), picture in zip(MAPS.items(), content.maps, strict=True):
            place_picture(figure, picture, (x, MAP_TOP), MAP_SIDE)
            write(figure, x + MAP_SIDE / 2, MAP_TOP - 0.1, name, **SMALL)
        _draw_orbit(figure, axis, content.view, prior_yaw)
        place_picture(figure, content.picture, (PICTURE, LOWER - PICTURE_SIDE / 2), PICTURE_SIDE)
        under = LOWER + PICTURE_SIDE / 2 + 0.1
        write(figure, PICTURE + PICTURE_SIDE / 2, under, "$R(s,t,b,v)$", **SMALL)
        write(figure, BOXES["D"][0], under - 0.06, "real or\ngenerated?", va="top", **SMALL)
        _draw_real(figure, axis, content.real, under)
        _draw_arrows(axis)
        write_caption(figure, lines, EDGE_INCHES, HEIGHT)
    return figure


def _draw_latent(figure: Figure, axis: Axes, z: Float[np.ndarray, "Z"]) -> None:
    patches = import_matplotlib().patches
    shown = z[:NUM_ENTRIES]
    top = UPPER - len(shown) * ENTRY / 2
    for i, value in enumerate(shown):
        # Dark is large; within two standard deviations.
        grey = str(0.5 - 0.45 * float(np.clip(value / 2, -1, 1)))
        corner = (LATENT - ENTRY / 2, top + i * ENTRY)
        axis.add_patch(
            patches.Rectangle(corner, ENTRY, ENTRY, facecolor=grey, edgecolor=INK, linewidth=0.4)
        )
    write(figure, LATENT, top + len(shown) * ENTRY + 0.11, r"$z\sim\mathcal{N}(0,I)$", **SMALL)


def _draw_boxes(figure: Figure, axis: Axes) -> None:
    patches = import_matplotlib().patches
    inner = BOX_SIDE - 0.08
    for name, (x, y) in BOXES.items():
        axis.add_patch(
            patches.FancyBboxPatch(
                (x - inner / 2, y - inner / 2), inner, inner,
                boxstyle="round,pad=0.04,rounding_size=0.06",
                facecolor=COLORS[name], edgecolor=INK, linewidth=0.8,
            )
        )  # fmt: skip
        write(figure, x, y, f"${name}$", fontsize=12)


def _draw_orbit(figure: Figure, axis: Axes, view: View, prior_yaw: float) -> None:
    """The orbit from above: the object in the middle, its front below, the viewpoint a dot."""
    patches = import_matplotlib().patches
    x, y, radius = ORBIT
    edge = math.degrees(min(prior_yaw, math.pi))
    axis.add_patch(patches.Arc((x, y), 2 * radius, 2 * radius, color=FAINT, linewidth=0.8))
    arc = patches.Arc(
        (x, y), 2 * radius, 2 * radius, theta1=90 - edge, theta2=90 + edge, color=INK, linewidth=1.2
    )
    axis.add_patch(arc)
    axis.add_patch(patches.Circle((x, y), 0.045, color=FAINT))
    yaw = float(view.yaw)
    at = (x + radius * math.sin(yaw), y + radius * math.cos(yaw))
    axis.add_patch(patches.Circle(at, 0.035, color="#D55E00", zorder=3))
    write(figure, x, y + radius + 0.14, r"$v\sim p_v$", **SMALL)


def _draw_real(figure: Figure, axis: Axes, real: list | None, under: float) -> None:
    pile = [None] * NUM_REAL if real is None else real
    top = LOWER - (REAL_SIDE + (len(pile) - 1) * REAL_SHIFT) / 2
    for i, picture in enumerate(reversed(pile)):
        shift = (len(pile) - 1 - i) * REAL_SHIFT
        corner = (REAL + shift, top + i * REAL_SHIFT)
        grey = np.full((1, 1, 3), 205, np.uint8)
        frame = 0.012
        place_picture(
            figure, np.full((1, 1, 3), 255, np.uint8),
            (corner[0] - frame, corner[1] - frame), REAL_SIDE + 2 * frame, order=1 + i,
        )  # fmt: skip
        shown = grey if picture is None else picture
        place_picture(figure, shown, corner, REAL_SIDE, order=1.5 + i)
    middle = REAL + (REAL_SIDE + (len(pile) - 1) * REAL_SHIFT) / 2
    if real is None:
        front = (REAL + REAL_SIDE / 2, top + (len(pile) - 1) * REAL_SHIFT + REAL_SIDE / 2)
        write(figure, *front, "photograph", fontsize=6, zorder=9)
    write(figure, middle, under, "real pictures", **SMALL)


def _draw_arrows(axis: Axes) -> None:
    half, gap = BOX_SIDE / 2, 0.04
    (g, _), (r, _), (d, _) = BOXES["G"], BOXES["R"], BOXES["D"]
    bottom, maps = MAP_TOP + MAP_SIDE + gap, list(MAPS.values())
    _arrow(axis, (LATENT + ENTRY / 2 + gap, UPPER), (g - half - gap, UPPER))
    _arrow(axis, (g + half + gap, UPPER), (maps[0] - gap, UPPER))
    for x, end in zip(maps, (-0.09, 0, 0.09), strict=True):
        _arrow(axis, (x + MAP_SIDE / 2, bottom), (r + end, LOWER - half - gap))
    _arrow(axis, (ORBIT[0] - ORBIT[2] - gap, LOWER), (r + half + gap, LOWER))
    _arrow(axis, (r - half - gap, LOWER), (PICTURE + PICTURE_SIDE + gap, LOWER))
    _arrow(axis, (PICTURE - gap, LOWER), (d + half + gap, LOWER))
    real = REAL + REAL_SIDE + (NUM_REAL - 1) * REAL_SHIFT
    _arrow(axis, (real + gap, LOWER), (d - half - gap, LOWER))


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], **style: Any) -> None:
    patches = import_matplotlib().patches
    axis.add_patch(
        patches.FancyArrowPatch(
            start, end, arrowstyle="-|>,head_length=3.2,head_width=1.7", color=INK,
            linewidth=0.9, shrinkA=0, shrinkB=0, **style,
        )
    )  # fmt: skip
