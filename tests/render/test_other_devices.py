"""What runs on GPUs and TPUs, run here: a batch at once equals the CPU's loop over scenes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from render_scenes import IMAGE_SIZE, SCENES, compile_quickly

from gan3d.render import orbit_camera, render

YAWS = np.float32([0.2, -0.7])


def draw_batch(shots):
    topology = SCENES["sphere"]().topology

    def loss(vertices, texture, background, yaw):
        picture = render(
            vertices, topology, texture, orbit_camera(yaw), IMAGE_SIZE, background, 1.5
        )
        fragments = picture.fragments
        total = jnp.cos(3 * picture.color).sum() + (fragments.depth * fragments.alpha).sum()
        return total, (picture.color, picture.alpha, fragments.face)

    one = jax.value_and_grad(loss, argnums=(0, 1, 2, 3), has_aux=True)
    return jax.vmap(one)(*shots)


def two_shots():
    shots = [SCENES["sphere"](seed).shot for seed in (0, 1)]
    fields = ("vertices", "texture", "background")
    stacked = (np.stack([getattr(shot, name) for shot in shots]) for name in fields)
    return (*(array.astype(np.float32) for array in stacked), YAWS)


def test_at_once_equals_scene_by_scene(monkeypatch):
    batch = two_shots()
    (total, aux), gradients = compile_quickly(draw_batch)(batch)

    used = []

    def elsewhere(*arguments, default, **others):
        used.append(default)
        return default(*arguments)

    # Traces are kept: in here none from before, and later none from in here.
    jax.clear_caches()
    with monkeypatch.context() as patch:
        patch.setattr(jax.lax, "platform_dependent", elsewhere)
        fresh = compile_quickly(lambda shots: draw_batch(shots))
        (expected, expected_aux), expected_gradients = fresh(batch)
    jax.clear_caches()
    assert used
    np.testing.assert_array_equal(aux[2], expected_aux[2])
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4 * np.abs(b).max())  # noqa: E731
    jax.tree.map(
        close, (total, aux[:2], gradients), (expected, expected_aux[:2], expected_gradients)
    )


def test_lowers_for_gpu_and_tpu():
    traced = jax.jit(draw_batch).trace(two_shots())
    assert traced.lower(lowering_platforms=("cuda", "tpu")).as_text()
