"""What `gan3d.render` needs, exports and refuses."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan3d.render
from gan3d.render import (
    composite,
    interpolate,
    make_topology,
    rasterize,
    sample_texture,
    sphere_mesh,
)

FORBIDDEN = (
    "flax", "optax", "orbax", "PIL", "absl", "tensorflow_datasets", "tensorboardX", "trimesh",
    "matplotlib", "jaxtyping", "gan3d.scene", "gan3d.models", "gan3d.training", "gan3d.data",
)  # fmt: skip


def test_importing_the_renderer_needs_jax_and_numpy_only():
    script = (
        "import sys, gan3d.render, gan3d.render.reference\n"
        f"print([name for name in {FORBIDDEN} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_everything_exported_is_there_and_documented():
    for name in gan3d.render.__all__:
        assert getattr(gan3d.render, name).__doc__, name


TRIANGLE = make_topology(np.array([[0, 1, 2]]))
POINTS = np.ones((3, 3), np.float32)
FRAGMENTS = jax.eval_shape(lambda: rasterize(POINTS, TRIANGLE, (2, 2)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sphere_mesh(8), "n must be odd.* 8"),
        (lambda: sphere_mesh(1), "n must be odd.* 1"),
        (lambda: sphere_mesh(9, "cube"), "chart must be.*'cube'"),
        (lambda: make_topology(np.zeros((2, 4), int)), r"faces must.*\[2, 4\]"),
        (lambda: make_topology(np.zeros((2, 3))), "faces must be an integer"),
        (lambda: make_topology(np.array([[0, 1, 5]]), num_vertices=3), "faces must index.*5"),
        (lambda: make_topology(np.array([[0, 1, -1]])), "faces must index.*-1"),
        (lambda: make_topology(np.array([[0, 1, 2]]), uvs=np.zeros((3, 3))), "uvs must"),
        (lambda: rasterize(POINTS[None], TRIANGLE, (4, 4)), r"points must.*\[1, 3, 3\]"),
        (lambda: rasterize(POINTS[:, :2], TRIANGLE, (4, 4)), r"points must.*\[3, 2\]"),
        (lambda: rasterize(np.ones((5, 3)), TRIANGLE, (4, 4)), "points must.*5"),
        (lambda: rasterize(np.ones((3, 3), int), TRIANGLE, (4, 4)), "floating point.*int"),
        (lambda: rasterize(POINTS, TRIANGLE, (0, 4)), r"image_size must.*\(0, 4\)"),
        (lambda: rasterize(POINTS, TRIANGLE, (4,)), r"image_size must.*\(4,\)"),
        (lambda: rasterize(POINTS, TRIANGLE, (4, 4), -1.0), "margin_pixels must.*-1.0"),
        (lambda: rasterize(POINTS, TRIANGLE, (4, 4), np.inf), "margin_pixels must.*inf"),
        (lambda: rasterize(POINTS, TRIANGLE, (4, 4), np.nan), "margin_pixels must.*nan"),
        (lambda: sample_texture(jnp.zeros((4, 4)), jnp.zeros(2)), r"texture must.*\[4, 4\]"),
        (lambda: sample_texture(jnp.zeros((4, 4, 1)), jnp.zeros(3)), r"uv must.*\[3\]"),
        (lambda: composite(jnp.zeros((2, 4, 4, 3)), jnp.zeros((2, 4, 5))), "values must"),
        (lambda: composite(jnp.zeros((4, 4, 3)), jnp.zeros((4, 4))), "values must"),
        (
            lambda: interpolate(np.ones((5, 2)), FRAGMENTS, TRIANGLE),
            "attributes must.*5",
        ),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
