"""No second derivative crosses the renderer: a step that asked for one would not even trace."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import optax
import pytest

import gan3d.scene
from gan3d.config import Config
from gan3d.scene import View, render_scene
from gan3d.training.assemble import assemble, generate, init_state, latent_size
from gan3d.training.step import make_step

CONFIG = Config(
    batch=2,
    resolution=16,
    surface_size=8,
    texture_size=16,
    background_size=8,
    latent_size=6,
    background_latent_size=4,
    generator_width=8,
    discriminator_width=8,
    penalty_interval=1,
)


class SecondDerivativeError(Exception):
    """A derivative of the renderer's gradient was asked for."""


@pytest.fixture
def backward_passes(monkeypatch):
    """Guards the renderer: differentiating its gradient raises. Lists the backward passes traced.

    The forward rule of a custom_vjp, too, is differentiated in a second derivative only.
    """
    passes = []
    render = gan3d.scene.render

    @jax.custom_jvp
    def once_only(x):
        return x

    @once_only.defjvp
    def _(primals, tangents):
        raise SecondDerivativeError

    def guarded(vertices, topology, texture, camera, image_size, background, margin_pixels):
        @jax.custom_vjp
        def draw(vertices, texture, camera, background):
            return render(
                vertices, topology, texture, camera, image_size, background, margin_pixels
            )

        def forward(*arguments):
            return jax.vjp(draw.fun, *map(once_only, arguments))

        def backward(pull_back, cotangent):
            passes.append("backward")
            return tuple(map(once_only, pull_back(cotangent)))

        draw.defvjp(forward, backward)
        return draw(vertices, texture, camera, background)

    monkeypatch.setattr(gan3d.scene, "render", guarded)
    return passes


EVERYTHING = {
    "noise": True, "style_mixing": 0.5, "view_prior": "learned", "blur_pixels": 2.0,
    "augment_target": 0.6,
}  # fmt: skip


@pytest.mark.parametrize(
    "changes", [{}, {"loss": "nonsaturating", **EVERYTHING}], ids=["plain", "everything"]
)
def test_none_in_a_step_with_penalties(backward_passes, changes):
    parts = assemble(dataclasses.replace(CONFIG, **changes))
    state = jax.eval_shape(lambda: init_state(parts, 0))
    images = jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.uint8)
    jax.eval_shape(make_step(parts, penalise=True), state, images, jax.random.key(0))
    assert backward_passes == ["backward"]


def test_the_guard_notices_one(backward_passes):
    parts = assemble(CONFIG)
    params = jax.eval_shape(lambda: init_state(parts, 0)).generator_params
    z, view = jnp.ones(latent_size(parts)), View(jnp.zeros(()), jnp.zeros(()))

    def brightness(params):
        return render_scene(generate(parts, params, z), view, parts.stage).image.sum()

    def penalty(params):
        return optax.tree.norm(jax.grad(brightness)(params))

    jax.eval_shape(penalty, params)
    assert backward_passes == ["backward"]
    with pytest.raises(SecondDerivativeError):
        jax.eval_shape(jax.grad(penalty), params)
