from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.data.heads import head_scenes
from gan3d.editing import relight, swap_shape, swap_texture, texel_normals, turn_head
from gan3d.render import DirectionalLights, octahedral_direction
from gan3d.scene import Scene, View, make_stage, render_scene


@pytest.fixture(scope="module")
def heads():
    return head_scenes(0, jnp.arange(2))


@pytest.fixture(scope="module")
def stage():
    return make_stage(64, resolution=32, fov=0.35, margin_pixels=0.0)


def one(scenes: Scene, i: int) -> Scene:
    return jax.tree.map(lambda a: a[i], scenes)


def test_swaps_take_one_map_each(heads):
    a, b = one(heads, 0), one(heads, 1)
    for swap, name in ((swap_texture, "texture"), (swap_shape, "surface")):
        swapped = swap(a, b)
        for field in Scene._fields:
            expected = getattr(b if field == name else a, field)
            np.testing.assert_array_equal(getattr(swapped, field), expected)
    mixed = swap_texture(heads, jax.tree.map(lambda x: x[::-1], heads))
    np.testing.assert_array_equal(mixed.texture[0], heads.texture[1])
    with pytest.raises(ValueError, match="must both be one scene"):
        swap_texture(a, heads)


def test_a_turned_head_looks_as_from_elsewhere(heads, stage):
    view = View(0.6, -0.3)
    head = one(heads, 0)
    draw = jax.jit(lambda scene, view: render_scene(scene, view, stage))
    expected, turned = draw(head, view), draw(turn_head(head, *view), View(0.0, 0.0))
    assert np.abs(expected.alpha - turned.alpha).sum() <= 2  # pixel centres on the outline
    inside = np.asarray((expected.alpha == 1) & (turned.alpha == 1))
    difference = np.abs(np.asarray(expected.image - turned.image))[inside]
    assert np.quantile(difference, 0.98) < 1e-3
    unturned = draw(head, View(0.0, 0.0)).image
    assert np.abs(expected.image - unturned).mean() > 0.01
    both = turn_head(heads, *view)
    np.testing.assert_allclose(both.surface[0], turn_head(head, *view).surface, atol=1e-6)


def ball(stage_size: int) -> jnp.ndarray:
    centre = (np.arange(stage_size) + 0.5) / stage_size
    uv = np.stack(np.meshgrid(centre, centre, indexing="xy"), axis=-1)
    return jnp.asarray(0.5 * octahedral_direction(uv), jnp.float32)


@pytest.mark.parametrize("texture_size", [16, 24])
def test_normals_of_texels_on_a_ball_point_away_from_its_middle(texture_size):
    stage = make_stage(32, resolution=8, fov=0.35)
    normals = np.array(texel_normals(ball(32), stage, texture_size))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    assert np.min((normals * 2 * np.asarray(ball(texture_size))).sum(axis=-1)) > 0.99


def test_light_falls_on_the_side_that_faces_it():
    stage = make_stage(32, resolution=8, fov=0.35)
    ambient = 0.25
    scene = Scene(ball(32), jnp.zeros((16, 16, 3)), jnp.zeros((4, 4, 3)))
    light = DirectionalLights(jnp.array([[0.0, 0.0, -3.0]]), jnp.array([[1.0, 0.5, 0.0]]))
    lit = relight(scene, stage, ambient, light)
    facing = np.maximum(-2 * np.asarray(ball(16))[..., 2], 0)
    # Grey is half of white: albedo (0 + 1) / 2.
    albedo = 0.5 * (ambient + facing[..., None] * np.array([1.0, 0.5, 0.0]))
    np.testing.assert_allclose(lit.texture, 2 * albedo - 1, atol=0.03)
    np.testing.assert_array_equal(lit.surface, scene.surface)
    np.testing.assert_array_equal(lit.background, scene.background)


def test_the_light_it_was_seen_in_changes_nothing(heads, stage):
    dark = DirectionalLights(jnp.array([[1.0, 0.0, 0.0]]), jnp.zeros((1, 3)))
    lit = relight(heads, stage, 1.0, dark)
    np.testing.assert_allclose(lit.texture, heads.texture, atol=1e-5)


def test_a_light_can_be_found_by_descent(heads, stage):
    def brightness(angle):
        direction = jnp.array([[jnp.sin(angle), 0.0, -jnp.cos(angle)]])
        light = DirectionalLights(direction, jnp.ones((1, 3)))
        return relight(one(heads, 0), stage, 0.0, light).texture.mean()

    slope = jax.grad(brightness)(0.4)
    step = 1e-2
    difference = (brightness(0.4 + step) - brightness(0.4 - step)) / (2 * step)
    assert math.isclose(slope, difference, rel_tol=0.05)
