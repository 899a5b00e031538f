"""Pictures for people: sample sheets as in Figure 1 of the paper, and labelled grids of images."""

from __future__ import annotations

import functools
import math
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gan3d.scene import Scene, Stage, View, render_with_normals

if TYPE_CHECKING:
    from jaxtyping import Array, Float, UInt8

__all__ = [
    "image_grid",
    "sample_rows",
    "sample_sheet",
    "save_png",
    "to_uint8",
]

CANONICAL_YAW_DEGREES = (-90.0, -45.0, 0.0, 45.0, 90.0)
SHEET_COLUMNS = (
    "render",
    "normals",
    "texture",
    "background",
    *(f"{yaw:+.0f}°" if yaw else "0°" for yaw in CANONICAL_YAW_DEGREES),
)

MIN_CELL_PIXELS = 64
SEPARATOR_PIXELS = 2
HEADER_PIXELS = 16
PAPER_COLOR = (255, 255, 255)
INK_COLOR = (40, 40, 40)
PLAIN_BACKGROUND = 0.7


def sample_sheet(scenes: Scene, views: View, stage: Stage) -> UInt8[np.ndarray, "H W 3"]:
    """Draws one row per sample, with the columns of Figure 1 of arXiv 1910.00287.

    A row is: render from the sample's view | normal map from that view | texture | background | the
    textured shape over a plain background at yaw -90, -45, 0, 45, 90 degrees, pitch 0.

    Args:
      scenes: batched scene, leading axis N, colours in [-1, 1].
      views: batched view [N], radians, of the first two columns.
      stage: how the scenes are shown; the cells have its resolution, enlarged by the smallest
        whole number that makes them at least 64 pixels. Reuse one stage object: the compiled
        renderer is kept per stage.

    Returns:
      The sheet with column titles; dark text on white.

    Raises:
      ValueError: if the scenes or the views have no single leading batch axis, or differ in it.

    >>> from gan3d.scene import View
    >>> views = View(yaw=jnp.array([0.0, 0.5]), pitch=jnp.zeros(2))
    >>> sheet = sample_sheet(scenes, views, stage)
    >>> rows = sample_rows(scenes, views, stage)
    >>> print(sheet.shape, len(rows), len(rows[0]))
    (150, 596, 3) 2 9
    """
    cells = sample_rows(scenes, views, stage)
    return image_grid(cells, cell_pixels(stage.resolution), SHEET_COLUMNS)


def sample_rows(scenes: Scene, views: View, stage: Stage) -> list[list[UInt8[np.ndarray, "h w 3"]]]:
    """The cells of `sample_sheet`, row by row."""
    num_samples = _batch_size(scenes, views)
    rendered, normals, canonical = jax.device_get(_sheet_renderer(stage)(scenes, views))
    textures, backgrounds = jax.device_get((scenes.texture, scenes.background))
    rows = [
        [rendered[i], normals[i], textures[i], backgrounds[i], *canonical[i]]
        for i in range(num_samples)
    ]
    return [[to_uint8(cell) for cell in row] for row in rows]


def cell_pixels(resolution: int) -> int:
    """The smallest whole multiple of the resolution that is at least 64 pixels."""
    return resolution * math.ceil(MIN_CELL_PIXELS / resolution)


def to_uint8(image: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Maps colours from [-1, 1] to 0..255, rounding to nearest; what lies outside is clipped.

    >>> print(to_uint8(np.array([-1.0, 0.0, 1.0, 7.0])))
    [  0 128 255 255]
    """
    return np.clip(np.rint((np.asarray(image) + 1.0) * 127.5), 0, 255).astype(np.uint8)


def image_grid(
    rows: Sequence[Sequence[UInt8[np.ndarray, "h w 3"]]],
    cell_size: int,
    column_titles: Sequence[str] = (),
    row_titles: Sequence[str] = (),
) -> UInt8[np.ndarray, "H W 3"]:
    """Lays images out in a grid of square cells.

    Args:
      rows: images, uint8; each is enlarged by a whole factor without smoothing where that fits the
        cell, otherwise resampled to it, keeping the aspect ratio and centred.
      cell_size: side of a cell in pixels.
      column_titles: text above the columns, or nothing for no header.
      row_titles: text left of the rows, or nothing for no margin.

    Returns:
      The picture. Cell (i, j) starts at `grid_origin(i, j, ...)`.

    >>> black, white = np.zeros((8, 8, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    >>> picture = image_grid([[black, white], [white, black]], 16, column_titles=("a", "b"))
    >>> print(picture.shape, picture.dtype)
    (54, 38, 3) uint8
    """
    num_columns = max(len(row) for row in rows)
    margin = _text_width(row_titles)
    top, left = grid_origin(len(rows), num_columns, cell_size, bool(column_titles), margin)
    canvas = Image.new("RGB", (left, top), PAPER_COLOR)
    draw = ImageDraw.Draw(canvas)
    for j, title in enumerate(column_titles):
        _, x = grid_origin(0, j, cell_size, True, margin)
        _centred_text(draw, (x + cell_size / 2, HEADER_PIXELS / 2), title)
    for i, title in enumerate(row_titles):
        y, _ = grid_origin(i, 0, cell_size, bool(column_titles), margin)
        _centred_text(draw, (margin / 2, y + cell_size / 2), title)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            y, x = grid_origin(i, j, cell_size, bool(column_titles), margin)
            fitted = _fit(image, cell_size)
            shift = ((cell_size - fitted.width) // 2, (cell_size - fitted.height) // 2)
            canvas.paste(fitted, (x + shift[0], y + shift[1]))
    return np.asarray(canvas)


def grid_origin(
    row: int, column: int, cell_size: int, has_header: bool, margin_pixels: int = 0
) -> tuple[int, int]:
    """Top left pixel (y, x) of a cell of `image_grid`."""
    pitch = cell_size + SEPARATOR_PIXELS
    header = HEADER_PIXELS if has_header else 0
    return (
        header + SEPARATOR_PIXELS + row * pitch,
        margin_pixels + SEPARATOR_PIXELS + column * pitch,
    )


def save_png(path: str | os.PathLike[str], image: UInt8[np.ndarray, "H W C"]) -> None:
    """Writes a PNG so that a reader sees either the old file or the whole new one.

    >>> save_png(folder / "sheets" / "grey.png", np.full((4, 4, 3), 128, np.uint8))
    >>> print([path.name for path in (folder / "sheets").iterdir()])
    ['grey.png']
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        Image.fromarray(np.asarray(image)).save(unfinished, format="PNG")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


# Bounded, because every entry keeps its stage and compiled programs alive.
@functools.lru_cache(maxsize=8)
def _sheet_renderer(stage: Stage) -> Callable[[Scene, View], tuple[Array, Array, Array]]:
    canonical_yaw = jnp.radians(jnp.asarray(CANONICAL_YAW_DEGREES))

    def render_before(scene: Scene, background: Array, view: View) -> tuple[Array, Array]:
        return render_with_normals(scene._replace(background=background), view, stage)

    def render_row(scene: Scene, view: View) -> tuple[Array, Array, Array]:
        # All six views in one vmap, and all with normals: the renderer is compiled once, which is
        # what takes long.
        own_and_canonical = View(
            yaw=jnp.concatenate([view.yaw[None], canonical_yaw]),
            pitch=jnp.concatenate([view.pitch[None], jnp.zeros_like(canonical_yaw)]),
        )
        plain = jnp.full_like(scene.background, PLAIN_BACKGROUND)
        backgrounds = jnp.stack([scene.background, *[plain] * len(canonical_yaw)])
        images, normals = jax.vmap(render_before, (None, 0, 0))(
            scene, backgrounds, own_and_canonical
        )
        return images[0], normals[0], images[1:]

    return jax.jit(jax.vmap(render_row))


def _batch_size(scenes: Scene, views: View) -> int:
    shape = np.shape(scenes.surface)
    if len(shape) != 4:
        raise ValueError(f"scenes must be batched, surface [N, S, S, 3]; got shape {shape}.")
    for name, angle in (("yaw", views.yaw), ("pitch", views.pitch)):
        if np.shape(angle) != shape[:1]:
            raise ValueError(
                f"views.{name} must have one angle per scene, shape {shape[:1]}; "
                f"got shape {np.shape(angle)}."
            )
    return shape[0]


def _fit(image: UInt8[np.ndarray, "h w 3"], cell_size: int) -> Image.Image:
    picture = Image.fromarray(np.asarray(image))
    scale = cell_size / max(picture.size)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    # Texels stay sharp squares wherever the factor is a whole number.
    resample = Image.Resampling.NEAREST if scale == int(scale) else Image.Resampling.LANCZOS
    return picture.resize(size, resample)


def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default()


def _text_width(titles: Sequence[str]) -> int:
    if not titles:
        return 0
    return math.ceil(max(_font().getlength(title) for title in titles)) + 8


def _centred_text(draw: ImageDraw.ImageDraw, centre: tuple[float, float], text: str) -> None:
    left, top, right, bottom = draw.textbbox((0, 0), text, font=_font())
    origin = (centre[0] - (left + right) / 2, centre[1] - (top + bottom) / 2)
    draw.text(origin, text, fill=INK_COLOR, font=_font())
