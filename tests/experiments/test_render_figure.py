from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from experiments import flags as experiment_flags
from experiments import render_figure
from gan3d.visualize import grid_origin

SIZE = 40


@pytest.fixture(scope="module")
def subject():
    """The knot with fewer faces: its derivatives are compared, not its looks."""
    vertices, topology = render_figure.trefoil(around=60, across=8)
    return dataclasses.replace(render_figure.make_subject(), vertices=vertices, topology=topology)


@pytest.fixture(scope="module")
def derivatives(subject):
    return render_figure.differentiate(subject, SIZE, samples=4)


@pytest.fixture(scope="module")
def written(subject, derivatives, tmp_path_factory):
    """Folder into which the command wrote its pictures."""
    folder = tmp_path_factory.mktemp("figures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render_figure, "make_subject", lambda: subject)
        patch.setattr(render_figure, "differentiate", lambda *_: derivatives)
        argv = ["render_figure", f"--out={folder}", f"--size={SIZE}"]
        assert experiment_flags.run(render_figure.main, argv) == 0
    return folder


def test_the_knot_is_closed_connected_and_faces_outwards():
    vertices, topology = render_figure.trefoil()
    assert (topology.neighbors >= 0).all() and topology.num_components == 1
    # A torus: V - E + F = 0.
    assert len(vertices) - len(topology.edges) + topology.num_faces == 0
    assert np.linalg.norm(vertices, axis=1).max() < 1
    a, b, c = np.moveaxis(vertices[topology.faces], 1, 0)
    # The volume of a tube, by Pappus: its section times the length of its centre line.
    rings = vertices.reshape(160, 16, 3)
    center = rings.mean(axis=1)
    length = np.linalg.norm(center - np.roll(center, 1, axis=0), axis=1).sum()
    volume = (a * np.cross(b, c)).sum() / 6
    np.testing.assert_allclose(volume, np.pi * 0.15**2 * length, rtol=0.05)
    # Strands do not touch: only nearby rings are closer than the tube is thick.
    apart = np.linalg.norm(center[:, None] - center[None], axis=-1)
    gap = np.abs(np.arange(160)[:, None] - np.arange(160)[None])
    assert apart[np.minimum(gap, 160 - gap) > 20].min() > 2.2 * 0.15
    # Each UV lies in the texture, and only the seams have more UVs than vertices.
    assert topology.num_uvs == 161 * 17 and topology.uvs.max() == 1


def test_the_gradient_of_the_soft_renderer_is_that_of_its_pictures(derivatives):
    error = np.abs(derivatives.soft - derivatives.soft_differences).mean()
    assert error < 0.02 * np.abs(derivatives.soft_differences).mean()


def test_only_the_soft_gradient_sees_what_many_samples_show(derivatives):
    moments = render_figure.moments(derivatives)
    truth = moments["sampled_differences"]
    # At this size half a pixel of margin all around makes the knot a sixth larger.
    assert 1 < moments["soft"] / truth < 1.25
    assert abs(moments["crisp"] - truth) > 0.5 * abs(truth)


def test_sheet_has_two_titled_rows_of_four(written):
    picture = np.asarray(Image.open(written / "renderer.png"))
    height, width = grid_origin(1, 4, SIZE, has_header=True)
    assert picture.shape == (2 * height, width, 3)
    image, alpha, depth, normals = (
        picture[y : y + SIZE, x : x + SIZE]
        for y, x in (grid_origin(0, j, SIZE, has_header=True) for j in range(4))
    )
    away = (alpha == 0).all(axis=-1)
    assert 0.2 < away.mean() < 0.8
    np.testing.assert_array_equal(image[away], round(255 * render_figure.BACKGROUND))
    assert (depth[away] == 255).all() and (normals[away] == 255).all()
    assert np.ptp(depth[~away].astype(int)) > 100


def test_margin_picture_fades_outside_of_the_triangle_only(written):
    picture = np.asarray(Image.open(written / "margin.png"))
    cell = render_figure.ENLARGEMENT
    corner_of_cells = picture[3::cell, 3::cell].astype(int)
    assert (corner_of_cells[3, 3] == [240, 150, 40]).all()
    assert (corner_of_cells[0, 8] == 255).all()
    blues = set(corner_of_cells[..., 2].reshape(-1))
    assert len(blues) > 8  # many shades between the triangle's and white


def test_a_wrong_flag_is_one_line(capsys):
    argv = ["render_figure", "--size=0"]
    assert experiment_flags.run(render_figure.main, argv) == experiment_flags.EXIT_USAGE
    assert "size" in capsys.readouterr().err
