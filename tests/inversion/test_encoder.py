"""An encoder learns, goes on where it was stopped, and becomes a file and back."""

from __future__ import annotations

import dataclasses
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan3d
from gan3d.data.heads import HeadsSource
from gan3d.evaluation.pose_network import angle_between, view_direction
from gan3d.inversion import (
    EncoderConfig,
    EncoderError,
    invert,
    load_encoder,
    save_encoder,
    train_encoder,
)
from gan3d.inversion.invert import InversionConfig
from gan3d.scene import ViewPrior
from gan3d.training.interruption import Interrupted
from gan3d.visualize import to_uint8

SMALL = EncoderConfig(steps=4, real_steps=4, batch=4, width=8, stem=4)
ANSWERS = InversionConfig(style_steps=0, detail_steps=0)


@pytest.fixture(scope="module")
def generator(run_dir):
    return gan3d.load(run_dir)


@pytest.fixture(scope="module")
def photographs():
    return HeadsSource(32, num_heads=16, prior=ViewPrior(0.5, 0.1))


@pytest.fixture(scope="module")
def encoder(generator, photographs):
    return train_encoder(generator, photographs, SMALL)


def degrees_off(encoder, generator) -> float:
    """Mean error of the viewpoint on samples that it has not seen."""
    scenes = generator.scene(generator.sample(jax.random.key(8), 16))
    views = generator.views(jax.random.key(9), 16)
    images = generator.render(scenes, generator.camera(*views)).image
    found = encoder.encode(images)[1]
    return float(np.degrees(angle_between(view_direction(found), view_direction(views))).mean())


def test_it_learns_the_viewpoint_from_samples():
    heads = gan3d.load_demo()
    config = EncoderConfig(steps=60, batch=16, width=32, stem=8)
    lines = []
    learned = train_encoder(heads, config=config, report=lines.append)
    assert degrees_off(learned, heads) < 25  # always the middle: about 45
    losses = [float(line.split("loss ")[1]) for line in lines if "loss" in line]
    assert len(losses) == 40 and losses[-1] < 0.8 * losses[0]


class Samples(list):
    """Pictures of the generator itself: those it can bring back."""

    name = "samples"


def test_it_learns_to_bring_pictures_back(generator):
    scenes = generator.scene(generator.sample(jax.random.key(1), 8))
    views = generator.views(jax.random.key(2), 8)
    images = to_uint8(generator.render(scenes, generator.camera(*views)).image)
    config = dataclasses.replace(SMALL, steps=1, real_steps=60)
    before = train_encoder(generator, config=config)
    after = train_encoder(generator, Samples(images), config)
    psnr = [float(invert(generator, images, e, ANSWERS).psnr.mean()) for e in (before, after)]
    assert psnr[1] > psnr[0] + 1


def test_pictures_of_any_size_one_or_many(generator, encoder):
    scenes = generator.scene(generator.sample(jax.random.key(0), 2))
    images = generator.render(scenes, generator.camera(0.1), resolution=64).image
    styles, views = encoder.encode(images)
    one_styles, one_view = encoder.encode(images[1])
    np.testing.assert_allclose(one_styles.levels, styles.levels[1], atol=1e-5)
    np.testing.assert_allclose(one_view.yaw, views.yaw[1], atol=1e-5)
    halved = images.reshape(2, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(encoder.encode(halved)[1].yaw, views.yaw, atol=0.1)


@pytest.mark.parametrize("last", [2, 6])
def test_stopped_it_goes_on_to_the_same_end(generator, photographs, encoder, last, tmp_path):
    def stop(line):
        if f"step {last}/" in line:
            os.kill(os.getpid(), signal.SIGINT)

    folder = tmp_path / "checkpoints"
    with pytest.raises(Interrupted, match=f"after step {last} of 8"):
        train_encoder(generator, photographs, SMALL, folder, stop)
    lines = []
    resumed = train_encoder(generator, photographs, SMALL, folder, lines.append)
    assert f"step {last + 1}/" in lines[1]
    for a, b in zip(jax.tree.leaves(resumed.params), jax.tree.leaves(encoder.params), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_file_of_it_gives_the_same_answers(generator, encoder, tmp_path):
    images = jnp.linspace(-1, 1, 32 * 32 * 3).reshape(32, 32, 3)
    expected = encoder.encode(images)
    for dtype, tolerance in (("float32", 1e-6), ("float16", 1e-2)):
        loaded = load_encoder(save_encoder(tmp_path / "e.npz", encoder, dtype))
        assert loaded.network == encoder.network and loaded.generator == encoder.generator
        loaded.check(generator)
        answers = jax.tree.leaves(loaded.encode(images))
        for a, b in zip(answers, jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, atol=tolerance)
    assert not list(tmp_path.glob("*.tmp"))


def test_files_that_hold_none_are_refused(encoder, tmp_path):
    path = tmp_path / "encoder.npz"
    with pytest.raises(EncoderError, match="there is no"):
        load_encoder(path)
    save_encoder(path, encoder)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(EncoderError, match="no file of arrays, or is damaged"):
        load_encoder(path)
    np.savez(path, a=np.zeros(3))
    with pytest.raises(EncoderError, match="holds no encoder of this version"):
        load_encoder(path)
    save_encoder(path, encoder)
    arrays = dict(np.load(path))
    np.savez(path, **{**arrays, "params/direction/kernel": np.zeros((2, 3))})
    with pytest.raises(EncoderError, match=r"an array has shape \(2, 3\)"):
        load_encoder(path)
    np.savez(path, a=np.array([object()], dtype=object))
    with pytest.raises(EncoderError, match="damaged"):  # never unpickled
        load_encoder(path)


@pytest.mark.parametrize(
    "change, rule",
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"real_steps": -1}, "real_steps must be at least 0, got -1"),
        ({"learning_rate": np.nan}, "learning_rate must be positive and finite, got nan"),
    ],
)
def test_wrong_settings_are_refused(change, rule, generator):
    with pytest.raises(ValueError, match=rule):
        train_encoder(generator, config=EncoderConfig(**change))
