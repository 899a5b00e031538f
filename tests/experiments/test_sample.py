from __future__ import annotations

import numpy as np
import pytest
import trimesh
from PIL import Image
from saved_run import TINY

from experiments import flags as experiment_flags
from experiments import sample
from gan3d.config import to_json
from gan3d.visualize import grid_origin


@pytest.fixture(scope="module")
def default_output(run_dir):
    lines = []
    paths = sample.sample(run_dir, num=2, seed=3, report=lines.append)
    return paths, lines


def command(*arguments: str) -> int:
    return experiment_flags.run(sample.main, ["sample", *arguments])


def test_sheet_and_meshes_go_into_the_run(run_dir, default_output):
    paths, lines = default_output
    names = ["sheet.png", "mesh_000.glb", "mesh_001.glb"]
    assert paths == [run_dir / "samples" / name for name in names]
    sheet = np.asarray(Image.open(paths[0]))
    assert sheet.shape == (*grid_origin(2, 9, 64, has_header=True), 3)
    assert "320 images seen" in lines[0]
    assert all(any(str(path) in line for line in lines) for path in paths)


def test_meshes_have_the_runs_topology_and_texture(default_output):
    paths, _ = default_output
    for path in paths[1:]:
        (mesh,) = trimesh.load(path).geometry.values()
        assert len(mesh.faces) == 2 * TINY.surface_size**2
        assert mesh.visual.material.baseColorTexture.size == (TINY.texture_size,) * 2
        assert np.isfinite(mesh.vertices).all()


def test_the_command_draws_the_same_samples_as_obj_at_another_resolution(
    run_dir, default_output, tmp_path, capsys
):
    arguments = (f"--run={run_dir}", "--num=2", "--seed=3", f"--out={tmp_path}")
    assert command(*arguments, "--mesh=obj", "--resolution=72") == 0
    assert str(tmp_path / "mesh_001.obj") in capsys.readouterr().out
    names = [f"mesh_{i:03d}.{kind}" for i in range(2) for kind in ("mtl", "obj", "png")]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*names, "sheet.png"]

    size = Image.open(tmp_path / "sheet.png").size
    assert size[::-1] == grid_origin(2, 9, 72, has_header=True)
    (glb,) = trimesh.load(default_output[0][2], process=False).geometry.values()
    obj = trimesh.load(tmp_path / "mesh_001.obj", process=False, maintain_order=True)
    np.testing.assert_allclose(obj.vertices, glb.vertices, atol=1e-6)


def test_without_meshes_there_is_only_the_sheet(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "sample_sheet", lambda *arguments: np.zeros((4, 4, 3), np.uint8))
    sample.sample(run_dir, 1, 0, tmp_path, mesh="none", report=lambda line: None)
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_unusable_runs_and_flags_give_one_line_and_exit_code_2(run_dir, tmp_path, capsys):
    (tmp_path / "untrained").mkdir()
    (tmp_path / "untrained" / "config.json").write_text(to_json(TINY))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    cases = {
        f"--run={tmp_path}/none": "there is no run",
        f"--run={tmp_path}": "no config.json",
        f"--run={tmp_path}/untrained": "no checkpoint yet",
        f"--run={tmp_path}/broken": "not a configuration",
        "--mesh=stl": "--mesh",
        "--num=0": "--num",
        "runs/demo": "unexpected argument",
    }
    for argument, message in cases.items():
        assert command(argument) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert sorted(path.name for path in (tmp_path / "untrained").iterdir()) == ["config.json"]
