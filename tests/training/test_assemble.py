"""What a configuration makes of the generator's maps, and of the learning rates."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from saved_run import TINY

from gan3d.config import Config
from gan3d.models.symmetry import symmetric_texture
from gan3d.render.templates import CHARTS
from gan3d.scene import scene_vertices
from gan3d.training.assemble import assemble, generate, init_state, latent_size


@pytest.mark.parametrize("chart", CHARTS)
def test_mirror_shape_makes_the_mesh_its_own_mirror_image_and_leaves_the_paint(chart):
    def asymmetry(mirror_shape: bool) -> tuple[float, float]:
        """Of vertices and of texture."""
        config = Config(
            chart=chart, surface_size=8, texture_size=8, background_size=4, latent_size=4,
            background_latent_size=4, mapping_layers=1, generator_width=8, discriminator_width=8,
            mirror_shape=mirror_shape,
        )  # fmt: skip
        parts = assemble(config)
        params = init_state(parts, 0).generator_params
        # The start shape is a ball, whatever the latent: other weights make it something else.
        keys = iter(jax.random.split(jax.random.key(1), 99))
        params = jax.tree.map(lambda a: a + jax.random.normal(next(keys), a.shape), params)
        scene = generate(parts, params, jax.random.normal(next(keys), (latent_size(parts),)))
        grid = np.asarray(scene_vertices(scene.surface, parts.stage)).reshape(9, 9, 3)
        texture = np.asarray(scene.texture)
        assert np.abs(grid - parts.stage.template.reshape(9, 9, 3)).max() > 0.3
        return (
            np.abs(grid - grid[:, ::-1] * [-1, 1, 1]).max(),
            np.abs(texture - texture[:, ::-1]).max(),
        )

    mirrored, free = asymmetry(True), asymmetry(False)
    assert mirrored[0] < 1e-5 and free[0] > 0.1
    assert mirrored[1] == free[1] > 0.1


@pytest.mark.parametrize("mirror_texture", [False, True])
def test_mirror_texture_is_what_generates_symmetric_paint(mirror_texture):
    config = Config(
        surface_size=8, texture_size=8, background_size=4, latent_size=4,
        background_latent_size=4, mapping_layers=1, generator_width=8, discriminator_width=8,
        mirror_texture=mirror_texture,
    )  # fmt: skip
    parts = assemble(config)
    params = init_state(parts, 0).generator_params
    z = jax.random.normal(jax.random.key(2), (latent_size(parts),))
    maps = parts.generator.apply({"params": params}, z)
    expected = symmetric_texture(maps.texture, "octahedral") if mirror_texture else maps.texture
    np.testing.assert_allclose(generate(parts, params, z).texture, expected, atol=1e-5)
    assert np.abs(symmetric_texture(maps.texture, "octahedral") - maps.texture).max() > 0.05


def test_learning_rates_fall_along_a_cosine_and_stay():
    """Without momentum a constant gradient makes steps of the learning rate."""
    schedule = dict(learning_rate_floor=0.1, learning_rate_decay_images=8 * TINY.batch)
    config = dataclasses.replace(TINY, discriminator_learning_rate=0.5, **schedule)
    optimizer = assemble(config).discriminator_optimizer
    state, sizes = optimizer.init(jnp.zeros(())), []
    for _ in range(11):
        update, state = optimizer.update(jnp.ones(()), state)
        sizes.append(-float(update))
    np.testing.assert_allclose(
        [sizes[i] for i in (0, 4, 8, 10)], [0.5, 0.275, 0.05, 0.05], rtol=1e-5
    )
    assert sizes[:9] == sorted(sizes[:9], reverse=True)


def test_constant_learning_rates_have_no_count_in_the_state():
    """Or checkpoints from before there was a schedule would not be read."""
    state = init_state(assemble(TINY), 0)
    assert [jax.tree.leaves(part) for part in state.generator_opt[1:]] == [[]]
