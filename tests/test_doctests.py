"""The examples in the docstrings of the renderer."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import gan3d.render

MODULES = ["gan3d.render"] + [
    f"gan3d.render.{module.name}" for module in pkgutil.iter_modules(gan3d.render.__path__)
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    # The package's functions of the same name hide some modules.
    assert module.__name__ == name
    failures, _ = doctest.testmod(module)
    assert failures == 0
