"""Never a NaN or an infinity in any mode of the rasterizer, on the cases of test_robustness."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from render_scenes import compile_quickly
from test_robustness import CAMERA, SIZE, TOPOLOGY, assert_finite, nasty_vertices

from gan3d.render import composite, interpolate, project, rasterize
from gan3d.render.camera import weak_perspective

MODES = {
    "both sides, two surfaces": dict(cull=False, num_surfaces=2),
    "cut": dict(near=2.9, far=3.2, cull=False),
    "orthographic": dict(orthographic=True, cull=False),
}


@pytest.mark.parametrize("mode", MODES)
def test_values_and_gradients_are_finite(mode):
    cases = nasty_vertices()
    vertices = jnp.asarray(np.stack(list(cases.values())), jnp.float32)
    camera = jax.tree.map(jnp.float32, CAMERA)
    if mode == "orthographic":
        camera = weak_perspective(camera, 3.0)

    def total(vertices):
        points = project(vertices, camera, SIZE)
        fragments = rasterize(points, TOPOLOGY, SIZE, 1.5, **MODES[mode])
        color, alpha = composite(interpolate(vertices, fragments, TOPOLOGY), 0.6 * fragments.alpha)
        parts = (color, alpha, fragments.barycentric, fragments.depth, fragments.alpha)
        return sum(jnp.sin(x).sum() for x in parts), parts

    run = compile_quickly(jax.vmap(jax.value_and_grad(total, has_aux=True)))
    (values, parts), gradients = run(vertices)
    assert_finite((values, parts, gradients), cases)
    alpha, barycentric = np.asarray(parts[-1]), np.asarray(parts[2])
    assert alpha.min() >= 0 and alpha.max() <= 1
    empty = [list(cases).index(name) for name in ("a point", "behind the camera", "off the screen")]
    assert not alpha[empty].any()
    assert alpha[list(cases).index("ball")].sum() > 5
    sums = barycentric.sum(axis=-1)
    assert (np.isclose(sums, 1, atol=1e-3) | (sums == 0)).all()
