"""The README's example runs and does what it says."""

from __future__ import annotations

import functools
import importlib
import pathlib
import re

import jax
import numpy as np

import gan3d

README = (pathlib.Path(__file__).parent.parent / "README.md").read_text()


def test_the_renderers_example_finds_the_angle():
    section = README.split("## Use the renderer alone")[1].split("\n## ")[0]
    (example,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert sum(bool(line.strip()) for line in example.splitlines()) <= 15
    names: dict = {}
    exec(compile(example, "README.md", "exec"), names)
    np.testing.assert_allclose(names["yaw"], 0.6, atol=0.01)
    assert names["turntable"].shape == (8, 32, 32, 3)


def test_the_librarys_example_draws_and_writes_a_mesh(tmp_path, monkeypatch):
    section = README.split("## Look at it, use it")[1].split("\n## ")[0]
    (example,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["pictures"].shape == (4, 256, 256, 3)
    assert (tmp_path / "head.glb").read_bytes().startswith(b"glTF")


def test_the_example_of_reconstruction_makes_scenes(monkeypatch):
    section = README.split("## From one photograph to 3D")[1].split("\n## ")[0]
    (example,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    generator = gan3d.load_demo()
    scenes = generator.scene(generator.sample(jax.random.key(0), 2))
    names = {"generator": generator, "scenes": scenes, "images": np.zeros((2, 32, 32, 3), np.uint8)}
    module = importlib.import_module("gan3d.inversion.invert")
    short = functools.partial(module.InversionConfig, style_steps=1, detail_steps=1)
    monkeypatch.setattr(module, "InversionConfig", short)
    exec(compile(example, "README.md", "exec"), names)
    assert names["elsewhere"].image.shape == (2, 32, 32, 3)
    assert names["other"].surface.shape == scenes.surface.shape


def test_what_is_shown_and_linked_exists():
    folder = pathlib.Path(__file__).parent.parent
    targets = re.findall(r"\]\(([^)]+)\)", README)
    local = [target for target in targets if "://" not in target]
    assert len(local) > 8 and all((folder / target).exists() for target in local)
