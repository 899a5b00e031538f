from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gan3d import visualize
from gan3d.scene import Scene, View, make_stage, render_scene

RESOLUTION, CELL = 16, 64


@pytest.fixture(scope="module")
def stage():
    return make_stage(surface_size=8, resolution=RESOLUTION, fov=math.radians(20.0))


@pytest.fixture(scope="module")
def samples(stage):
    keys = jax.random.split(jax.random.key(0), 2)
    size = 8
    # A sphere has no simple closed form on the map's pixels; any closed blob does here.
    u, v = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    surface = np.stack([u, v, np.abs(u) + np.abs(v) - 1], axis=-1) * 0.6
    scenes = Scene(
        jnp.asarray(np.stack([surface, 0.8 * surface]), jnp.float32),
        jax.random.uniform(keys[0], (2, 8, 8, 3), minval=-1, maxval=1),
        jax.random.uniform(keys[1], (2, 8, 8, 3), minval=-1, maxval=1),
    )
    return scenes, View(yaw=jnp.array([0.3, -0.5]), pitch=jnp.array([0.1, 0.0]))


@pytest.fixture(scope="module")
def sheet(samples, stage):
    return visualize.sample_sheet(*samples, stage)


@pytest.fixture(scope="module")
def render(stage):
    """An enlarged picture of one scene from one view."""
    compiled = jax.jit(lambda scene, view: render_scene(scene, view, stage).image)
    return lambda scene, view: enlarged(np.asarray(compiled(scene, view)))


def pick(batch, index: int):
    return jax.tree.map(lambda leaf: leaf[index], batch)


def cell(sheet: np.ndarray, row: int, column: int) -> np.ndarray:
    y, x = visualize.grid_origin(row, column, CELL, has_header=True)
    return sheet[y : y + CELL, x : x + CELL]


def assert_alike(actual: np.ndarray, expected: np.ndarray) -> None:
    # Compiled in another way, so the last bits may differ, and grazing faces amplify them.
    assert np.abs(actual.astype(int) - expected).max() <= 3


def enlarged(image: np.ndarray) -> np.ndarray:
    factor = CELL // len(image)
    return visualize.to_uint8(image).repeat(factor, axis=0).repeat(factor, axis=1)


def test_sheet_has_a_row_per_sample_and_nine_columns(sheet):
    height, width = visualize.grid_origin(2, 9, CELL, has_header=True)
    assert sheet.shape == (height, width, 3) and sheet.dtype == np.uint8
    assert len(visualize.SHEET_COLUMNS) == 9
    header = sheet[: visualize.HEADER_PIXELS]
    assert header.min() < 128 and header.max() == 255


def test_maps_are_shown_texel_by_texel(sheet, samples):
    scenes, _ = samples
    for i in range(2):
        np.testing.assert_array_equal(cell(sheet, i, 2), enlarged(scenes.texture[i]))
        np.testing.assert_array_equal(cell(sheet, i, 3), enlarged(scenes.background[i]))


def test_first_column_is_the_render_from_the_samples_view(sheet, samples, render):
    scenes, views = samples
    for i in range(2):
        assert_alike(cell(sheet, i, 0), render(pick(scenes, i), pick(views, i)))


def test_canonical_views_are_in_order_over_a_plain_background(sheet, samples, render):
    scenes, _ = samples
    scene = pick(scenes, 0)
    plain = scene._replace(background=jnp.full_like(scene.background, visualize.PLAIN_BACKGROUND))
    for k, degrees in enumerate((-90, -45, 0, 45, 90)):
        view = View(yaw=jnp.radians(float(degrees)), pitch=jnp.zeros(()))
        assert_alike(cell(sheet, 0, 4 + k), render(plain, view))
    corner = visualize.to_uint8(np.full(3, visualize.PLAIN_BACKGROUND))
    np.testing.assert_array_equal(cell(sheet, 0, 6)[0, 0], corner)


def test_a_second_sheet_does_not_recompile(samples, stage):
    visualize.sample_sheet(*samples, stage)
    renderer = visualize._sheet_renderer(stage)
    compiled = renderer._cache_size()
    visualize.sample_sheet(*samples, stage)
    assert visualize._sheet_renderer(stage) is renderer
    assert renderer._cache_size() == compiled


def test_unbatched_arguments_are_refused(samples, stage):
    scenes, views = samples
    with pytest.raises(ValueError, match=r"surface \[N, S, S, 3\]"):
        visualize.sample_sheet(pick(scenes, 0), views, stage)
    with pytest.raises(ValueError, match=r"views\.pitch"):
        visualize.sample_sheet(scenes, views._replace(pitch=jnp.zeros(())), stage)


@pytest.mark.parametrize("resolution, pixels", [(16, 64), (32, 64), (48, 96), (64, 64), (100, 100)])
def test_cells_are_whole_multiples_of_the_resolution(resolution, pixels):
    assert visualize.cell_pixels(resolution) == pixels


def test_colours_round_to_nearest_and_clip():
    colours = np.array([-1.0, 0.0, 1.0, -3.0, 3.0, -1 + 0.6 / 127.5])
    np.testing.assert_array_equal(visualize.to_uint8(colours), [0, 128, 255, 0, 255, 1])


def test_grid_fits_images_of_any_shape_and_titles_rows():
    wide = np.full((10, 40, 3), 7, np.uint8)
    large = np.full((100, 100, 3), 9, np.uint8)
    grid = visualize.image_grid([[wide], [large]], 64, ["a title"], ["one", "two"])
    margin = grid.shape[1] - 64 - 2 * visualize.SEPARATOR_PIXELS
    assert margin > 0
    y, x = visualize.grid_origin(0, 0, 64, True, margin)
    block = grid[y : y + 64, x : x + 64]
    assert (block[24:40] == 7).all() and (block[:24] == 255).all() and (block[40:] == 255).all()
    y, x = visualize.grid_origin(1, 0, 64, True, margin)
    assert (grid[y : y + 64, x : x + 64] == 9).all()


def test_png_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "picture.png"
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    visualize.save_png(path, image)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), image)

    def fail_half_way(self, file, format):
        open(file, "wb").write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail_half_way)
    with pytest.raises(OSError, match="disk full"):
        visualize.save_png(path, image[::-1])
    np.testing.assert_array_equal(np.asarray(Image.open(path)), image)
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]
