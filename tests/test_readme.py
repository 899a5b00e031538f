"""The README's example runs and does what it says."""

from __future__ import annotations

import pathlib
import re

import numpy as np

README = (pathlib.Path(__file__).parent.parent / "README.md").read_text()


def test_the_renderers_example_finds_the_angle():
    section = README.split("## Use the renderer alone")[1].split("\n## ")[0]
    (example,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert sum(bool(line.strip()) for line in example.splitlines()) <= 15
    names: dict = {}
    exec(compile(example, "README.md", "exec"), names)
    np.testing.assert_allclose(names["yaw"], 0.6, atol=0.01)
    assert names["turntable"].shape == (8, 32, 32, 3)


def test_pictures_that_are_shown_exist():
    folder = pathlib.Path(__file__).parent.parent
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)
    assert shown and all((folder / path).is_file() for path in shown)
