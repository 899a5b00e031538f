from __future__ import annotations

import dataclasses
import json
import math

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import fit as program
from experiments import fit_data
from experiments import flags as experiment_flags
from gan3d.fitting import Fit, FitConfig, photograph
from gan3d.render import orbit_camera, sphere_mesh

SIZE = 20
FOV = math.radians(30.0)
CENTER = np.array([0.3, -0.2, 0.5])
BALL, TOPOLOGY = sphere_mesh(9)


def command(*arguments: str) -> int:
    return experiment_flags.run(program.main, ["fit", *arguments])


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    out = tmp_path_factory.mktemp("fit")
    problem = fit_data.procedural_problem(0, num_views=6, num_held_out=2, size=SIZE)
    lines = []
    config = FitConfig(steps=40, batch=3, texture_size=16, supersampling=1)
    return out, program.run(problem, config, 9, out, lines.append), lines


def test_files_and_result_line(fitted):
    out, result, lines = fitted
    assert json.loads((out / "fit.json").read_text()) == json.loads(json.dumps(result))
    assert np.asarray(Image.open(out / "fit.png")).shape[1] == 3 * (100 + 2) + 2
    assert (out / "fit.glb").read_bytes()[:4] == b"glTF"
    assert lines[-1].startswith("soft, margin 1 pixels: PSNR ") and len(lines) == 21


def test_a_few_steps_come_closer_to_the_truth(fitted):
    _, result, _ = fitted
    assert result["fit"]["psnr"] > result["start"]["psnr"] + 3
    assert result["fit"]["silhouette_iou"] > result["start"]["silhouette_iou"] + 0.05
    assert result["fit"]["chamfer"] < 0.8 * result["start"]["chamfer"]
    assert (result["views"], result["held_out_views"], result["faces"]) == (6, 2, 128)


def test_the_truth_scores_best():
    problem = fit_data.procedural_problem(1, num_views=4, num_held_out=2, size=SIZE)
    truth, topology = problem.truth
    scores = program.judge(truth, topology, problem)
    assert scores["psnr"] > 100 and scores["silhouette_iou"] > 0.9999 and scores["chamfer"] < 0.003


@pytest.fixture(scope="module")
def cameras():
    """Around a ball at CENTER; two turns of nine views."""
    yaw, pitch = np.linspace(-2, 2, 9), np.tile([0.3, -0.3, 0.0], 3)
    orbit = jax.vmap(lambda y, p: orbit_camera(y, p, fov=FOV))(yaw, pitch)
    shift = np.einsum("nij,j->ni", orbit.rotation, CENTER).astype(np.float32)
    return dataclasses.replace(orbit, translation=orbit.translation - shift)


def write_folder(folder, cameras, mode):
    """Photographs of a black ball on white as NeRF's files describe them; returns the truth."""
    truth = Fit((0.6 * BALL + CENTER).astype(np.float32), -np.ones((2, 2, 3), np.float32))
    images, alphas = photograph(truth, TOPOLOGY, cameras, (SIZE, SIZE), np.ones(3))
    frames = []
    for i, (image, alpha) in enumerate(zip(images, alphas, strict=True)):
        colors = np.zeros((SIZE, SIZE, 3)) if mode == "RGBA" else (image + 1) / 2
        layers = np.concatenate([colors, alpha[..., None]], -1)[..., : len(mode)]
        Image.fromarray(np.uint8(np.rint(255 * layers))).save(folder / f"view{i}.png")
        pose = np.eye(4)
        pose[:3, :3] = np.asarray(cameras.rotation[i]).T @ np.diag([1, -1, -1])
        pose[:3, 3] = -np.asarray(cameras.rotation[i]).T @ np.asarray(cameras.translation[i])
        frames.append({"file_path": f"./view{i}", "transform_matrix": pose.tolist()})
    description = {"camera_angle_x": FOV, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(description))
    return truth


@pytest.mark.parametrize("mode", ["RGBA", "RGB"])
def test_a_folder_of_photographs(tmp_path, cameras, mode):
    truth = write_folder(tmp_path, cameras, mode)
    problem = fit_data.folder_problem(tmp_path)
    assert problem.truth is None
    assert (len(problem.training.images), len(problem.held_out.images)) == (7, 2)
    np.testing.assert_allclose(problem.center, CENTER, atol=1e-4)
    # The default orbit shows a disc of radius 1.
    np.testing.assert_allclose(problem.radius, 0.5, rtol=1e-4)
    views = problem.training
    expected = fit_data.BACKGROUND if mode == "RGBA" else 1.0
    np.testing.assert_allclose(views.background, expected, atol=1e-6)
    assert (views.alphas is None) == (mode == "RGB")
    drawn, _ = photograph(truth, TOPOLOGY, views.cameras, (SIZE, SIZE), views.background)
    np.testing.assert_allclose(drawn, views.images, atol=0.01)


def test_photographs_are_reduced(tmp_path, cameras):
    write_folder(tmp_path, cameras, "RGB")
    full, half = (fit_data.folder_problem(tmp_path, size) for size in (None, SIZE // 2))
    means = np.asarray(full.training.images).reshape(-1, 10, 2, 10, 2, 3).mean((2, 4))
    np.testing.assert_allclose(half.training.images, means, atol=0.01)


def test_unusable_data_gives_one_line_and_exit_code_2(tmp_path, cameras, capsys):
    assert command(f"--data={tmp_path}") == 2
    assert "there is no transforms.json" in capsys.readouterr().err
    write_folder(tmp_path, cameras, "RGB")
    (tmp_path / "view3.png").unlink()
    assert command(f"--data={tmp_path}") == 2
    assert "there is no photograph" in capsys.readouterr().err
    (tmp_path / "view3.png").write_text("no picture")
    assert command(f"--data={tmp_path}") == 2
    assert "is no picture" in capsys.readouterr().err
    (tmp_path / "transforms.json").write_text('{"frames": []}')
    assert command(f"--data={tmp_path}") == 2
    assert "at least 4 frames, got 0" in capsys.readouterr().err
