"""Fixtures of the renderer's tests."""

from __future__ import annotations

import jax
import pytest


@pytest.fixture
def float64():
    """Runs the test with 64-bit floats: finite differences need them."""
    with jax.enable_x64(True):
        yield
