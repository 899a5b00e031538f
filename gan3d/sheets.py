"""Sheets of pictures as papers show them: samples, interpolation, truncation, mixed styles.

    z = generator.sample(jax.random.key(0), 4)
    sheet = truncation_sheet(generator, z)
    save_png("truncation.png", picture_of(sheet))     # or experiments.figures: PDF, SVG

All but the samples show objects over white: it is the objects that differ. Shapes show no colours,
so that they may be published where the photographs, and what resembles them, may not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from gan3d.latent_paths import between, mix
from gan3d.pictures import Shot, pictures, plain, scenes_of
from gan3d.scene import View
from gan3d.trained import Styles, TrainedGenerator
from gan3d.visualize import CANONICAL_YAW_DEGREES, SHEET_COLUMNS, image_grid, to_uint8

if TYPE_CHECKING:
    from jaxtyping import Array, Float, UInt8

__all__ = [
    "Sheet",
    "interpolation_sheet",
    "mixing_sheet",
    "picture_of",
    "samples_sheet",
    "shapes_sheet",
    "truncation_sheet",
]

RESOLUTION = 256  # the mesh has none; sharp in print at the size of a cell
PSI = (1.0, 0.7, 0.5, 0.3, 0.0)
INTERPOLATION_YAW_DEGREES = (-45.0, 0.0, 45.0)
OBLIQUE = View(math.radians(-25), math.radians(5))  # both face and relief can be seen
_NAMES = ("coarse", "middle", "fine")


class Group(NamedTuple):
    """Neighbouring rows or columns with a title in common; a gap sets it off from the next one."""

    first: int
    last: int
    title: str


class Sheet(NamedTuple):
    """Pictures in rows and columns, as data: `picture_of` or a figure shows them.

    Attributes:
      cells: uint8 pictures, square, of any sizes; None leaves a cell empty.
      column_titles: one per column, or nothing.
      row_titles: one per row, or nothing.
      column_groups: titles over several columns.
      row_groups: titles beside several rows.
      about: what can be seen, a sentence or two for a caption.
    """

    cells: list[list[UInt8[np.ndarray, "h w 3"] | None]]
    column_titles: tuple[str, ...] = ()
    row_titles: tuple[str, ...] = ()
    column_groups: tuple[Group, ...] = ()
    row_groups: tuple[Group, ...] = ()
    about: str = ""


def samples_sheet(
    generator: TrainedGenerator,
    z: Float[Array, "N Z"],
    views: View,
    resolution: int = RESOLUTION,
    truncation: float = 1.0,
) -> Sheet:
    """Figures 1 and 4 of arXiv 1910.00287: a row per latent.

    Picture and normals from the latent's view, texture, background, and the textured shape at yaw
    -90, -45, 0, 45 and 90 degrees.

    Args:
      generator: G.
      z: latents.
      views: one per latent, radians.
      resolution: of the rendered pictures, pixels; textures and backgrounds keep their texels.
      truncation: psi, see `TrainedGenerator.styles`.

    >>> z, views = generator.sample(jax.random.key(0), 2), generator.views(jax.random.key(1), 2)
    >>> sheet: Sheet = samples_sheet(generator, z, views, resolution=8)
    >>> print(len(sheet.cells), sheet.column_titles[:4])
    2 ('render', 'normals', 'texture', 'background')
    >>> print(picture_of(sheet, cell_size=16).shape)
    (54, 164, 3)
    """
    scenes = list(scenes_of(generator, generator.styles(z, truncation)))
    own = [View(*view) for view in zip(*map(np.asarray, views), strict=True)]
    canonical = [_view(yaw) for yaw in CANONICAL_YAW_DEGREES]
    shots = [
        shot
        for scene, view in zip(scenes, own, strict=True)
        for shot in (Shot(scene, view), *(Shot(plain(scene), other) for other in canonical))
    ]
    drawn = list(pictures(generator, shots, resolution, normals=True))
    cells, step = [], 1 + len(canonical)
    for i, scene in enumerate(scenes):
        seen = drawn[i * step : (i + 1) * step]
        maps = [to_uint8(scene.texture), to_uint8(scene.background)]
        cells.append([seen[0].image, seen[0].normals, *maps, *(p.image for p in seen[1:])])
    groups = (Group(4, 8, "textured shape, by yaw"),)
    about = "Latents and viewpoints are random" + _truncated(truncation)
    return Sheet(cells, SHEET_COLUMNS, column_groups=groups, about=about)


def shapes_sheet(
    generator: TrainedGenerator,
    z: Float[Array, "N Z"],
    resolution: int = RESOLUTION,
    truncation: float = 1.0,
) -> Sheet:
    """Normals of a latent per row, at yaw -90, -45, 0, 45 and 90 degrees; no paint.

    >>> sheet = shapes_sheet(generator, generator.sample(jax.random.key(0), 2), resolution=8)
    >>> print(sheet.column_titles)
    ('-90°', '-45°', '0°', '+45°', '+90°')
    """
    scenes = scenes_of(generator, generator.styles(z, truncation))
    yaws = CANONICAL_YAW_DEGREES
    shots = (Shot(plain(scene), _view(yaw)) for scene in scenes for yaw in yaws)
    drawn = [picture.normals for picture in pictures(generator, shots, resolution, normals=True)]
    cells = [drawn[i : i + len(yaws)] for i in range(0, len(drawn), len(yaws))]
    about = "Normals of random latents: red right, green up, blue to the camera"
    return Sheet(cells, degrees(yaws), about=about + _truncated(truncation))


def interpolation_sheet(
    generator: TrainedGenerator,
    z: Float[Array, "2 Z"],
    num: int = 8,
    resolution: int = RESOLUTION,
    truncation: float = 1.0,
) -> Sheet:
    """Figure 5 of the paper: from one latent to another, a column per step, a row per viewpoint.

    Linear in w, see `gan3d.latent_paths`.

    Raises:
      ValueError: num is less than two.

    >>> z = generator.sample(jax.random.key(0), 2)
    >>> sheet = interpolation_sheet(generator, z, num=3, resolution=8)
    >>> print(sheet.column_titles, sheet.row_titles)
    ('0', '0.5', '1') ('-45°', '0°', '+45°')
    """
    ends = generator.styles(z, truncation)
    path = between(*(Styles(*(part[i] for part in ends)) for i in (0, 1)), num)
    yaws = INTERPOLATION_YAW_DEGREES
    scenes = [plain(scene) for scene in scenes_of(generator, path)]
    shots = [Shot(scene, _view(yaw)) for yaw in yaws for scene in scenes]
    titles = [f"{t:.2f}".rstrip("0").rstrip(".") for t in np.linspace(0, 1, num)]
    about = "From one random latent to another, linear in w" + _truncated(truncation)
    return Sheet(
        _rows(generator, shots, num, resolution), tuple(titles), degrees(yaws), about=about
    )


def truncation_sheet(
    generator: TrainedGenerator,
    z: Float[Array, "N Z"],
    psis: Sequence[float] = PSI,
    resolution: int = RESOLUTION,
) -> Sheet:
    """A row per latent, a column per psi: at 0 all are the mean object.

    >>> z = generator.sample(jax.random.key(0), 2)
    >>> sheet = truncation_sheet(generator, z, psis=(0.0, 0.5, 1.0), resolution=8)
    >>> print(len(sheet.cells), len(sheet.cells[0]), sheet.cells[0][0].shape)
    2 3 (8, 8, 3)
    """
    styles = [generator.styles(z, psi) for psi in psis]
    # A latent's styles at every psi follow one another.
    parts = (np.stack(part, axis=1) for part in zip(*styles, strict=True))
    flat = Styles(*(part.reshape(-1, *part.shape[2:]) for part in parts))
    shots = (Shot(plain(scene), OBLIQUE) for scene in scenes_of(generator, flat))
    rows = _rows(generator, shots, len(psis), resolution)
    titles = tuple(rf"$\psi$ = {psi:g}" for psi in psis)
    about = (
        "A random latent in every row, its w drawn towards the mean of all: "
        r"$\bar w + \psi\,(w - \bar w)$"
    )
    return Sheet(rows, titles, about=about)


def mixing_sheet(
    generator: TrainedGenerator,
    first: Float[Array, "A Z"],
    second: Float[Array, "B Z"],
    resolution: int = RESOLUTION,
    truncation: float = 1.0,
) -> Sheet:
    """Style mixing: a row takes the coarse, middle or fine levels from the column's source.

    The first row shows the second sources, the first column the first ones.

    >>> z = generator.sample(jax.random.key(0), 3)
    >>> sheet = mixing_sheet(generator, z[:1], z[1:], resolution=8)
    >>> print([group.title.split()[0] for group in sheet.row_groups[1:]])
    ['coarse', 'middle', 'fine']
    """
    own, other = (
        [
            Styles(*one)
            for one in zip(*map(np.asarray, generator.styles(z, truncation)), strict=True)
        ]
        for z in (first, second)
    )
    ranges = style_ranges(generator.num_levels)
    # A source is a mixture with nothing, so that all of them come from the same programs.
    pairs = [(b, b, []) for b in other]
    for levels in ranges.values():
        pairs += [pair for a in own for pair in ((a, a, []), *((a, b, levels) for b in other))]
    mixed = Styles(*map(np.stack, zip(*(mix(*pair) for pair in pairs), strict=True)))
    shots = (Shot(plain(scene), OBLIQUE) for scene in scenes_of(generator, mixed))
    drawn = [picture.image for picture in pictures(generator, shots, resolution, normals=True)]
    width = len(other) + 1
    drawn = [None, *drawn]
    cells = [drawn[i : i + width] for i in range(0, len(drawn), width)]
    groups = [Group(0, 0, "")]
    for i, (name, levels) in enumerate(ranges.items()):
        sizes = " and ".join(f"{4 * 2**level}²" for level in levels)
        groups.append(Group(1 + i * len(own), (i + 1) * len(own), f"{name}\n{sizes}"))
    columns = (Group(0, 0, "source A"), Group(1, len(other), "source B"))
    about = "Styles of A, with those of the named levels from B" + _truncated(truncation)
    return Sheet(cells, column_groups=columns, row_groups=tuple(groups), about=about)


def style_ranges(num_levels: int) -> dict[str, list[int]]:
    """Levels by name, coarse, middle and fine; of two levels there is no middle."""
    names = _NAMES if num_levels > 2 else _NAMES[::2][:num_levels]
    return {
        name: part.tolist()
        for name, part in zip(names, np.array_split(np.arange(num_levels), len(names)), strict=True)
    }


def picture_of(sheet: Sheet, cell_size: int = 128) -> UInt8[np.ndarray, "H W 3"]:
    """The sheet as one picture with plain titles, no groups."""
    blank = np.full((1, 1, 3), 255, np.uint8)
    rows = [[blank if cell is None else cell for cell in row] for row in sheet.cells]
    titles = [title.replace(r"$\psi$", "psi") for title in sheet.column_titles]
    return image_grid(rows, cell_size, titles, sheet.row_titles)


def draw_latents(generator: TrainedGenerator, seed: int, num: int) -> tuple[Array, View]:
    """Latents and viewpoints of a seed, the same that `experiments.sample` draws."""
    scene_key, view_key = jax.random.split(jax.random.key(seed))
    return generator.sample(scene_key, num), generator.views(view_key, num)


def _rows(generator, shots, width, resolution):
    # Normals are not shown; with them all sheets come from one compiled program.
    drawn = [picture.image for picture in pictures(generator, shots, resolution, normals=True)]
    return [drawn[i : i + width] for i in range(0, len(drawn), width)]


def _view(yaw_degrees: float) -> View:
    return View(math.radians(yaw_degrees), 0.0)


def degrees(yaws: Sequence[float]) -> tuple[str, ...]:
    """Titles for yaws in degrees."""
    return tuple(f"{yaw:+.0f}°" if yaw else "0°" for yaw in yaws)


def _truncated(truncation: float) -> str:
    return "" if truncation == 1 else rf", $\psi$ = {truncation:g}"
