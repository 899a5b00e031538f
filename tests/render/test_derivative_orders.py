"""Second derivatives through the smooth part; forward mode is refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from render_scenes import compile_quickly, smooth_noise, sphere

from gan3d.render import (
    composite,
    interpolate,
    interpolate_uv,
    orbit_camera,
    project,
    rasterize,
    sample_texture,
)

SIZE = (14, 16)
WEIGHTS = smooth_noise(0, *SIZE, 3)
SCENE = sphere(seed=1, n=5)
TOPOLOGY = SCENE.topology
MODES = {
    "both sides, cut open": dict(cull=False, near=2.0),
    "orthographic": dict(orthographic=True),
}


def inputs():
    """Screen points, two attributes per vertex, texture."""
    points = project(SCENE.shot.vertices, orbit_camera(0.3, 0.15, fov=0.8), SIZE)
    attributes = np.random.default_rng(0).normal(size=(len(points), 2))
    # The mesh's own texture coordinates, quarters, lie in the middle between two of its texels.
    return np.asarray(points), attributes, 0.5 * smooth_noise(1, 4, 8, 3)


def loss(values, options):
    """Not linear in anything: every second derivative is there, the mixed ones too."""
    points, attributes, texture = values
    fragments = rasterize(points, TOPOLOGY, SIZE, 1.5, **options)
    uv = interpolate_uv(fragments, TOPOLOGY)
    extra = interpolate(attributes, fragments, TOPOLOGY)
    # Translucent, so that alpha and colour both matter.
    layers = jnp.concatenate([sample_texture(texture, uv), extra], axis=-1)
    color, alpha = composite(layers, 0.7 * fragments.alpha)
    extra = (alpha[..., None] * color[..., 3:] ** 2).sum() + jnp.sin(fragments.depth).sum()
    texel = jnp.floor(uv * np.array([8.0, 4.0])[None, None, None] - 0.5)
    choices = fragments.face, fragments.barycentric > 0, texel
    return (WEIGHTS * color[..., :3] ** 2).sum() + extra, choices


@pytest.mark.parametrize("mode", MODES)
def test_gradient_of_gradient_is_the_slope_of_the_gradient(mode, float64):
    """Along random directions of points, attributes and texture; also as a batch."""
    values = inputs()
    rng = np.random.default_rng(2)
    step, num = 1e-6, 4
    directions = [rng.normal(size=(num, *x.shape)) for x in values]
    directions[0] = directions[0][:, TOPOLOGY.weld] * np.array([1.0, 1.0, 0.1])
    gradient = jax.grad(lambda values: loss(values, MODES[mode]), has_aux=True)

    def along(values, direction):
        slopes, choices = gradient(values)
        total = sum((slope * d).sum() for slope, d in zip(slopes, direction, strict=True))
        return total, (slopes, choices)

    moves = step * np.array([0.0, 1.0, -1.0])
    moved = tuple(
        x + moves.reshape(3, *[1] * d.ndim) * d for x, d in zip(values, directions, strict=True)
    )
    # Over three places, and nested, over directions: one program gives gradients and their slopes.
    batched = jax.vmap(jax.grad(along, has_aux=True))
    second, (slopes, choices) = compile_quickly(jax.vmap(batched, (0, None)))(
        moved, tuple(directions)
    )
    unchanged = np.all([(c == c[:1]).reshape(3, num, -1).all(axis=(0, 2)) for c in choices], axis=0)
    assert unchanged.sum() >= 2, "almost every direction crosses a decision boundary"
    for actual, slope in zip(second, slopes, strict=True):
        actual = np.asarray(actual[0])[unchanged]
        expected = np.asarray((slope[1] - slope[2]) / (2 * step))[unchanged]
        assert np.abs(actual).max() > 0.01
        np.testing.assert_allclose(actual, expected, atol=1e-5 * np.abs(actual).max())


def test_forward_mode_is_refused():
    points = np.float32(inputs()[0])
    draw = lambda p: rasterize(p, TOPOLOGY, SIZE).alpha  # noqa: E731
    with pytest.raises(TypeError, match="custom_vjp"):
        compile_quickly(lambda p: jax.jvp(draw, (p,), (p,)))(points)
    with pytest.raises(TypeError, match="custom_vjp"):
        compile_quickly(jax.jacfwd(draw))(points)
