"""Loops of the camera, and files; frames of a generator are tested with the sheets."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
from PIL import Image

from gan3d import videos

# Reading a film, imageio-ffmpeg forks by hand.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")


def frames(num=10, height=31, width=44):
    """A bright square that moves to the right over blue."""
    for i in range(num):
        frame = np.full((height, width, 3), (20, 60, 200), np.uint8)
        frame[10:20, 3 * i : 3 * i + 10] = (240, 220, 40)
        yield frame


def read(path):
    if path.suffix == ".gif":
        film = Image.open(path)
        assert film.info["loop"] == 0 and film.info["duration"] == 40
        for i in range(film.n_frames):
            film.seek(i)
            yield np.asarray(film.convert("RGB"))
        return
    film = imageio_ffmpeg.read_frames(str(path))
    facts = next(film)
    assert facts["fps"] == 25 and facts["codec"] == "h264"
    for data in film:
        yield np.frombuffer(data, np.uint8).reshape(*facts["size"][::-1], 3)


@pytest.mark.parametrize("name, height", [("a.gif", 31), ("a.mp4", 32), ("a.MP4", 32)])
def test_films_read_back_frame_by_frame(tmp_path, name, height):
    path = tmp_path / "new folder" / name
    videos.save_video(path, frames(), 25)
    film = list(read(path.rename(path.with_suffix(path.suffix.lower()))))
    assert len(film) == 10
    for frame, original in zip(film, frames(), strict=True):
        assert frame.shape == (height, 44, 3)
        assert np.abs(np.int32(frame[:31]) - original).mean() < 6
    assert len(list(path.parent.iterdir())) == 1


@pytest.mark.parametrize("suffix", videos.SUFFIXES)
def test_a_film_that_is_not_finished_leaves_the_old_one(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")

    def broken():
        yield from frames(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        videos.save_video(path, broken(), 25)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_what_the_encoder_says_is_the_error(tmp_path, monkeypatch):
    monkeypatch.setattr(videos, "QUALITY", "nonsense")
    with pytest.raises(OSError, match="nonsense"):
        videos.save_video(tmp_path / "a.mp4", frames(), 25)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "path, fps, content, message",
    [
        ("a.avi", 25, frames(), r"must end with .mp4 or .gif, got '.*a.avi'"),
        ("a.gif", 0, frames(), "fps must be positive, got 0"),
        ("a.gif", 25, [], "at least one, got none"),
    ],
)
def test_misuse(tmp_path, path, fps, content, message):
    with pytest.raises(ValueError, match=message):
        videos.save_video(tmp_path / path, content, fps)


def test_without_the_encoder_only_mp4_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(videos.MissingEncoderError, match=r"pip install 'gan3d\[video\]'"):
        videos.save_video(tmp_path / "a.mp4", frames(), 25)
    videos.save_video(tmp_path / "a.gif", frames(), 25)


@pytest.mark.parametrize("swing", [None, 0.7])
def test_the_camera_comes_back_as_it_goes_on(swing):
    yaw, pitch = np.array(videos.camera_loop(48, swing, 0.1), np.float64).T
    assert yaw[0] == pitch[0] == 0 and np.abs(pitch).max() == pytest.approx(0.1)
    assert yaw.max() == pytest.approx(2 * np.pi * 47 / 48 if swing is None else swing)
    places = np.stack([np.sin(yaw), np.cos(yaw), pitch], axis=1)
    steps = np.linalg.norm(np.roll(places, -1, axis=0) - places, axis=1)
    assert steps[-1] == pytest.approx(steps[0], rel=1e-3)


def test_frames_are_put_together_as_they_come():
    drawn = (videos.Picture(np.full((4, 4, 3), i, np.uint8), None) for i in itertools.count())
    film = videos._grids(drawn, 3)
    first, second = next(film), next(film)
    assert first[::4, ::4, 0].tolist() == [[0, 1], [2, 255]]
    assert second[::4, ::4, 0].tolist() == [[3, 4], [5, 255]]
    assert next(drawn).image[0, 0, 0] == 6
