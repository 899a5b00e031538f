"""The command; what is drawn is tested with the sheets, and not drawn here."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

import gan3d
from experiments import flags as experiment_flags
from experiments import video
from gan3d.pictures import Picture

# Reading a film, imageio-ffmpeg forks by hand.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")


@pytest.fixture(scope="module")
def generator(run_dir):
    return gan3d.load(run_dir)


@pytest.fixture(autouse=True)
def loaded_once(generator, run_dir, monkeypatch):
    once = lambda run: generator if run == str(run_dir) else gan3d.load(run)  # noqa: E731
    monkeypatch.setattr(video, "load", once)


@pytest.fixture
def shots(monkeypatch):
    """Pictures of one colour each; the views they are taken from."""
    taken = []

    def pictures(generator, shots, resolution, normals):
        for number, (scene, view) in enumerate(shots):
            taken.append((scene, view))
            picture = np.full((resolution, resolution, 3), (5 * number) % 256, np.uint8)
            yield Picture(picture, picture if normals else None)

    monkeypatch.setattr("gan3d.videos.pictures", pictures)
    return taken


def command(*arguments: object) -> int:
    return experiment_flags.run(video.main, ["video", *map(str, arguments)])


def test_a_turntable_goes_into_the_run_as_mp4(run_dir, shots, capsys):
    assert command(f"--run={run_dir}", "--resolution=16", "--seconds=0.4", "--fps=20") == 0
    lines = capsys.readouterr().out.splitlines()
    path = run_dir / "videos" / "turntable.mp4"
    assert "320 images seen; 8 frames of a turntable" in lines[0] and lines[1] == str(path)
    film = imageio_ffmpeg.read_frames(str(path))
    assert next(film)["size"] == (32, 32)
    assert len(list(film)) == 8
    assert len(shots) == 8 * 4 and all((scene.background == 1).all() for scene, _ in shots)


def test_a_walk_as_gif_with_normals(run_dir, shots, tmp_path):
    arguments = ("--num=3", "--resolution=16", "--seconds=0.5", "--fps=10", "--normals")
    path = tmp_path / "walk.gif"
    assert command(f"--run={run_dir}", "--kind=walk", *arguments, f"--out={path}") == 0
    film = Image.open(path)
    assert (film.n_frames, film.size) == (5, (32, 16))
    assert not any((scene.background == 1).all() for scene, _ in shots)
    yaws = np.array([view.yaw for _, view in shots])
    assert np.degrees(yaws).max() <= 30 and np.degrees(yaws).max() > 25


def test_without_the_encoder_it_is_a_gif_and_a_line_says_so(
    run_dir, shots, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    arguments = (f"--run={run_dir}", "--num=1", "--resolution=16", "--seconds=0.2")
    assert command(*arguments) == 0
    assert Image.open(run_dir / "videos" / "turntable.gif").n_frames == 5
    line = "writing a GIF: MP4 files need imageio-ffmpeg: pip install 'gan3d[video]'"
    assert line in capsys.readouterr().out.splitlines()
    assert command(*arguments, f"--out={tmp_path}/a.mp4") == 2
    assert "pip install 'gan3d[video]'" in capsys.readouterr().err


def test_mistakes_give_one_line_and_exit_code_2(run_dir, shots, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    cases = [
        ([f"--run={tmp_path}/none"], "there is no run"),
        (["--out=film.avi"], "out must end with .mp4 or .gif, got 'film.avi'"),
        ([f"--out={tmp_path}/file/a.gif"], "cannot write --out"),
        (["--kind=walk", "--num=1"], "at least 2 latents, got 1"),
        (["--kind=walk", "--num=9", "--seconds=0.2"], "number of latents, 9, got 5"),
        (["--kind=dolly"], "--kind"),
        (["--num=0"], "--num"),
        (["--seconds=0"], "--seconds"),
        (["--fps=nan"], "--fps must be a finite number, got nan"),
        (["--seconds=600", "--fps=60"], "at most 10000 frames, got 36000"),
        (["--truncation=3"], "--truncation"),
        (["--pitch_degrees=-1"], "--pitch_degrees"),
        (["film"], "unexpected argument"),
    ]
    for arguments, message in cases:
        assert command(f"--run={run_dir}", "--resolution=16", *arguments) == 2, arguments
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
