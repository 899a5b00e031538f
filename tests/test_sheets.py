"""Pictures, sheets and films of one tiny run; all of them come from one compiled program."""

from __future__ import annotations

import dataclasses
import itertools
import math

import jax
import numpy as np
import pytest
from saved_run import save_run

import gan3d
from gan3d import sheets
from gan3d.pictures import BATCH, Shot, pictures, plain, scenes_of
from gan3d.scene import View, render_background
from gan3d.videos import latent_walk, turntable

SIZE = 24


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "tiny"
    save_run(directory)
    generator = gan3d.load(directory)
    # Random parameters are as good as no mapping, whose layers have a slow rate: all objects alike.
    mapping = jax.tree.map(lambda a: 2000 * a, generator.params["mapping"])
    return dataclasses.replace(generator, params={**generator.params, "mapping": mapping})


@pytest.fixture(scope="module")
def z(generator):
    return np.asarray(generator.sample(jax.random.key(0), 3))


@pytest.fixture(scope="module")
def samples(generator, z):
    views = View(np.float32([0.3, -0.5, 1.0]), np.zeros(3, np.float32))
    return sheets.samples_sheet(generator, z, views, SIZE)


def difference(a, b):
    return np.abs(np.int32(a) - np.int32(b)).mean()


def test_pictures_are_those_of_the_generator_in_order(generator, z, samples):
    scenes = list(scenes_of(generator, generator.styles(z)))
    stage = dataclasses.replace(generator.parts.stage, resolution=SIZE)
    behind = render_background(scenes[1].background, View(-0.5, 0.0), stage)
    corner = np.s_[:3, :3]
    assert difference(samples.cells[1][0][corner], sheets.to_uint8(behind)[corner]) < 0.5
    assert difference(samples.cells[1][0], sheets.to_uint8(behind)) > 5
    for i, row in enumerate(samples.cells):
        np.testing.assert_array_equal(row[2], sheets.to_uint8(scenes[i].texture))
        corners = [cell[0, 0].tolist() for cell in (row[1], *row[4:])]
        assert corners == [[255] * 3] * 6  # normals and canonical views are over white


def test_pictures_are_taken_as_they_are_asked_for(generator, z):
    (scene,) = scenes_of(generator, generator.styles(z[:1]))
    taken = []

    def shots():
        for i in itertools.count():
            taken.append(i)
            yield Shot(scene, View(np.float32(0.1 * i), np.float32(0)))

    drawn = pictures(generator, shots(), SIZE, normals=True)
    images = [next(drawn).image for _ in range(BATCH + 1)]
    assert len(taken) == 2 * BATCH
    (last,) = pictures(generator, [Shot(scene, View(np.float32(0.1 * BATCH), np.float32(0)))], SIZE, True)  # fmt: skip  # noqa: E501
    np.testing.assert_array_equal(images[-1], last.image)


def test_shapes_are_normals_without_paint(generator, z):
    sheet = sheets.shapes_sheet(generator, z[:2], SIZE)
    assert [len(row) for row in sheet.cells] == [5, 5]
    scenes = list(scenes_of(generator, generator.styles(z[:2])))
    scene = plain(scenes[1])._replace(texture=np.zeros_like(scenes[1].texture))  # other paint
    views = [View(np.float32(math.radians(yaw)), np.float32(0)) for yaw in (-90, 45)]
    drawn = pictures(generator, [Shot(scene, view) for view in views], SIZE, normals=True)
    for cell, picture in zip((sheet.cells[1][0], sheet.cells[1][3]), drawn, strict=True):
        np.testing.assert_array_equal(cell, picture.normals)
    assert difference(sheet.cells[0][2], sheet.cells[1][2]) > 0.3


def test_interpolation_goes_from_one_sample_to_the_other(generator, z, samples):
    sheet = sheets.interpolation_sheet(generator, z[:2], 5, SIZE)
    assert [len(row) for row in sheet.cells] == [5] * 3
    for row, column in zip(sheet.cells, (5, 6, 7), strict=True):  # -45, 0, 45 degrees
        ends = [samples.cells[i][column] for i in (0, 1)]
        assert difference(row[0], ends[0]) < 0.1 and difference(row[-1], ends[1]) < 0.1
        steps = [difference(a, b) for a, b in itertools.pairwise(row)]
        assert 2 < difference(*ends) < 1.5 * sum(steps) and max(steps) < 0.6 * sum(steps)


def test_truncated_to_nothing_all_objects_are_the_mean(generator, z):
    sheet = sheets.truncation_sheet(generator, z, (1.0, 0.5, 0.0), SIZE)
    full, half, none = zip(*sheet.cells, strict=True)
    np.testing.assert_array_equal(none[0], none[1])
    np.testing.assert_array_equal(none[0], none[2])
    assert difference(full[0], none[0]) > difference(half[0], none[0]) > 0.3
    assert sheet.column_titles == (r"$\psi$ = 1", r"$\psi$ = 0.5", r"$\psi$ = 0")


def test_mixed_with_itself_a_source_stays_as_it_is(generator, z):
    sheet = sheets.mixing_sheet(generator, z[:2], z[1:], SIZE)
    top, *rows = sheet.cells
    assert top[0] is None and len(rows) == 3 * 2
    for number, row in enumerate(rows):
        np.testing.assert_array_equal(row[0], rows[number % 2][0])
    np.testing.assert_array_equal(top[1], rows[1][0])  # latent 1 is a source of both kinds
    for row in rows[1::2]:
        np.testing.assert_array_equal(row[1], row[0])
        assert difference(row[2], row[0]) > 0
    titles = [group.title.split("\n") for group in sheet.row_groups if group.title]
    assert titles == [["coarse", "4²"], ["middle", "8²"], ["fine", "16²"]]


@pytest.mark.parametrize(
    "num_levels, expected",
    [
        (1, {"coarse": [0]}),
        (2, {"coarse": [0], "fine": [1]}),
        (4, {"coarse": [0, 1], "middle": [2], "fine": [3]}),
        (6, {"coarse": [0, 1], "middle": [2, 3], "fine": [4, 5]}),
    ],
)
def test_style_ranges(num_levels, expected):
    assert sheets.style_ranges(num_levels) == expected


def test_a_sheet_as_a_picture(samples):
    blank = samples._replace(cells=[*samples.cells, [None] * 9])
    height, width = sheets.picture_of(blank, 32).shape[:2]
    assert 4 * 32 < height < 4 * 40 and 9 * 32 < width < 9 * 40


def closes(frames):
    steps = [difference(a, b) for a, b in zip(frames, frames[1:] + frames[:1], strict=True)]
    return 0 < steps[-1] <= 1.2 * max(steps[:-1])


def test_a_turntable_closes_and_starts_in_front(generator, z, samples):
    frames = list(turntable(generator, z, 8, SIZE, pitch_sway=0.0, normals=True))
    assert len(frames) == 8 and frames[0].shape == (2 * SIZE, 4 * SIZE, 3)
    assert closes(frames)
    assert difference(frames[0][:SIZE, :SIZE], samples.cells[0][6]) < 0.1
    assert difference(frames[2][:SIZE, :SIZE], samples.cells[0][8]) < 0.1  # a quarter: yaw 90
    assert (frames[0][SIZE:, 2 * SIZE :] == 255).all()  # three samples in a grid of four
    swinging = list(turntable(generator, z[:1], 4, SIZE, swing=math.pi / 4, pitch_sway=0.0, normals=True))  # fmt: skip  # noqa: E501
    assert difference(swinging[1][:, :SIZE], samples.cells[0][7]) < 0.1
    assert difference(swinging[3][:, :SIZE], samples.cells[0][5]) < 0.1
    np.testing.assert_array_equal(swinging[0], swinging[2])


def test_a_walk_closes_and_passes_the_latents(generator, z, samples):
    walk = latent_walk(generator, z, 9, SIZE, swing=0.0, pitch_sway=0.0, background=False, normals=True)  # fmt: skip  # noqa: E501
    frames = list(walk)
    assert len(frames) == 9 and closes(frames)
    for i in range(3):
        assert difference(frames[3 * i][:, :SIZE], samples.cells[i][6]) < 0.1


def test_plain_scenes_keep_the_object(generator, z):
    (scene,) = scenes_of(generator, generator.styles(z[:1]))
    assert (plain(scene).background == 1).all() and plain(scene).texture is scene.texture
