"""From files to meshes; and the programs that train and judge what does it, on a tiny run."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
import trimesh
from PIL import Image

import gan3d
from experiments import evaluate_inversion, reconstruct, train_encoder
from experiments import flags as experiment_flags
from gan3d.visualize import grid_origin, save_png, to_uint8

QUICK = ("--viewpoints=2", "--search_steps=1", "--kept=1", "--style_steps=1", "--detail_steps=1")
SMALL = ("--steps=2", "--real_steps=2", "--batch=2", "--width=4", "--stem=4")


def command(module, *arguments: str) -> int:
    return experiment_flags.run(module.main, [module.__name__, *arguments])


@pytest.fixture(scope="module")
def images(run_dir, tmp_path_factory):
    """A folder with two pictures, one of them below it, and a text that calls itself one."""
    folder = tmp_path_factory.mktemp("images")
    generator = gan3d.load(run_dir)
    scenes = generator.scene(generator.sample(jax.random.key(0), 2))
    drawn = to_uint8(generator.render(scenes, generator.camera(0.2), resolution=48).image)
    save_png(folder / "a.png", drawn[0])
    (folder / "more").mkdir()
    Image.fromarray(np.pad(drawn[1], ((0, 0), (8, 8), (0, 0)))).save(folder / "more" / "b.jpg")
    (folder / "text.png").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def encoder(run_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("encoder")
    lines = []
    config = train_encoder.EncoderConfig(steps=2, real_steps=2, batch=2, width=4, stem=4)
    path = train_encoder.run(run_dir, None, config, out, report=lines.append)
    return path, lines


def test_a_folder_becomes_meshes_a_sheet_and_numbers(run_dir, images, tmp_path, capsys):
    code = command(
        reconstruct, f"--run={run_dir}", f"--images={images}", f"--out={tmp_path}", *QUICK
    )
    assert code == 0
    text = capsys.readouterr().out
    assert "skipped text.png: cannot identify image file" in text and "2 pictures in" in text
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (*grid_origin(2, 8, 128, has_header=True), 3)
    assert Image.open(tmp_path / "edits.png").size[1] == sheet.shape[0]
    for name in ("000_a.glb", "001_b.glb"):
        (mesh,) = trimesh.load(tmp_path / name).geometry.values()
        assert np.isfinite(mesh.vertices).all()
    found = json.loads((tmp_path / "reconstructions.json").read_text())
    assert [line["name"] for line in found["pictures"]] == ["a.png", "more/b.jpg"]
    assert all(abs(line["yaw_degrees"]) < 180 and line["psnr"] > 0 for line in found["pictures"])

    arrays = np.load(tmp_path / "reconstructions.npz")
    assert arrays["name"].tolist() == ["a.png", "more/b.jpg"]
    generator = gan3d.load(run_dir)
    styles = gan3d.Styles(arrays["levels"], arrays["background_latent"])
    np.testing.assert_allclose(generator.scene(styles).surface, arrays["surface"], atol=1e-5)
    np.testing.assert_allclose(
        np.degrees(arrays["yaw"]), [line["yaw_degrees"] for line in found["pictures"]], atol=0.01
    )


def test_one_file_with_the_encoders_answer_alone(run_dir, images, encoder, tmp_path):
    code = command(
        reconstruct, f"--run={run_dir}", f"--images={images / 'a.png'}", "--noinvert",
        f"--encoder={encoder[0]}", f"--out={tmp_path}", "--mesh=none", "--resolution=16",
    )  # fmt: skip
    assert code == 0
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["reconstructions.json", "reconstructions.npz", "sheet.png"]
    answer = gan3d.inversion.load_encoder(encoder[0]).encode(
        reconstruct.read_pictures(images / "a.png", 16).images
    )
    found = json.loads((tmp_path / "reconstructions.json").read_text())["pictures"][0]
    assert abs(found["yaw_degrees"] - np.degrees(answer[1].yaw[0])) < 0.02


@pytest.mark.parametrize(
    "which, message",
    [
        ("text.png", "holds no picture that can be read: text.png: cannot identify"),
        ("empty", "there are no image files"),
    ],
)
def test_what_holds_no_picture_is_refused(which, message, run_dir, images, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    path = empty if which == "empty" else images / which
    out = tmp_path / "out"
    assert command(reconstruct, f"--run={run_dir}", f"--images={path}", f"--out={out}") == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_an_encoder_is_trained_for_a_run(run_dir, encoder, capsys):
    path, lines = encoder
    assert path.name == "encoder.npz" and "samples and heads" in lines[0]
    assert any("step 4/4" in line and "distance" in line for line in lines)
    gan3d.inversion.load_encoder(path).check(gan3d.load(run_dir))
    before = path.read_bytes()
    assert command(train_encoder, f"--run={run_dir}", f"--out={path.parent}", *SMALL) == 0
    assert path.read_bytes() == before  # all steps had been taken
    arguments = (f"--run={run_dir}", f"--out={path.parent}", *SMALL, "--seed=3")
    assert command(train_encoder, *arguments) == 2
    assert "holds an encoder with other settings" in capsys.readouterr().err


def test_reconstructions_of_heads_are_judged(run_dir, encoder, tmp_path):
    code = command(
        evaluate_inversion, f"--run={run_dir}", f"--encoder={encoder[0]}", "--heads=2",
        "--samples=60", f"--out={tmp_path}", *QUICK,
    )  # fmt: skip
    assert code == 0
    scores = json.loads((tmp_path / "inversion.json").read_text())["scores"]
    assert list(scores) == [
        "encoder", "descent from viewpoints", "encoder, then descent",
        "nearest of 60 samples", "mean object, true viewpoint", "constant depth",
    ]  # fmt: skip
    assert scores["constant depth"].keys() == {"side", "mad_degrees"}
    for name in list(scores)[:3]:
        assert scores[name].keys() == evaluate_inversion.COLUMNS.keys()
        assert np.isfinite(list(scores[name].values())).all()
    table = (tmp_path / "inversion.md").read_text()
    assert len(table.splitlines()) == 2 + len(scores)
    assert (tmp_path / "inversion.png").exists() and (tmp_path / "editing.png").exists()
