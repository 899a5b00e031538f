"""The examples in the docstrings of the renderer and of the evaluation."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import gan3d.evaluation
import gan3d.render

MODULES = [
    name
    for package in (gan3d.render, gan3d.evaluation)
    for name in (
        package.__name__,
        *(f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)),
    )
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    # The package's functions of the same name hide some modules.
    assert module.__name__ == name
    failures, _ = doctest.testmod(module)
    assert failures == 0
