from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.config import Config
from gan3d.models import Generator, Maps, Randomness
from gan3d.models.layers import upsample
from gan3d.scene import View, render_scene, scene_vertices
from gan3d.training.assemble import assemble, generate, latent_size

LATENT, BACKGROUND_LATENT = 6, 4
SURFACE, TEXTURE, BACKGROUND = 16, 32, 8
LEVELS = (4, 8, 16)


@pytest.fixture(scope="module")
def generator():
    return Generator(
        surface_size=SURFACE,
        texture_size=TEXTURE,
        background_size=BACKGROUND,
        latent_size=LATENT,
        background_latent_size=BACKGROUND_LATENT,
        mapping_layers=1,
        width=4,
    )


@pytest.fixture(scope="module")
def paint(generator):
    """Compiled (params, z) -> Maps."""
    return jax.jit(lambda params, z: generator.apply({"params": params}, z))


@pytest.fixture(scope="module")
def z():
    return jax.random.normal(jax.random.key(0), (LATENT + BACKGROUND_LATENT,))


@pytest.fixture(scope="module")
def params(generator, z):
    return jax.jit(generator.init)(jax.random.key(1), z)["params"]


@pytest.fixture(scope="module")
def trained(params):
    """Parameters none of which is zero."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    return tree.unflatten(
        [x + jax.random.normal(key, x.shape) for key, x in zip(keys, leaves, strict=True)]
    )


def with_head(params, size: int, **values):
    name = f"shape_{size}"
    return {**params, name: {**params[name], **values}}


def test_it_starts_without_displacement_but_with_colours(paint, params, z):
    maps = paint(params, z)
    np.testing.assert_array_equal(maps.displacement, 0)
    assert np.std(maps.texture) > 0.1 and np.std(maps.background) > 0.1


def test_heads_of_the_shape_can_leave_zero(generator, params, z):
    weights = jax.random.normal(jax.random.key(3), (SURFACE, SURFACE, 3))
    loss = lambda p: (generator.apply({"params": p}, z).displacement * weights).sum()  # noqa: E731
    slope = jax.jit(jax.grad(loss))(params)
    for size in LEVELS:
        assert (np.asarray(slope[f"shape_{size}"]["kernel"]) != 0).all()


def test_pyramid_gains_fall_by_the_decay(generator, paint, params, z):
    """Moving a level's bias by one moves every point by that level's gain."""
    for level, size in enumerate(LEVELS):
        moved = paint(with_head(params, size, bias=jnp.array([1.0, -2.0, 0.0])), z).displacement
        gain = generator.displacement_gain * generator.pyramid_decay**level
        expected = np.broadcast_to(gain * np.array([1.0, -2.0, 0.0]), moved.shape)
        np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_pyramid_levels_move_their_own_scale_only(paint, params, z):
    before = paint(params, z)
    for size in LEVELS:
        kernel = jax.random.normal(jax.random.key(size), params[f"shape_{size}"]["kernel"].shape)
        after = paint(with_head(params, size, kernel=kernel), z)
        np.testing.assert_array_equal(after.texture, before.texture)
        np.testing.assert_array_equal(after.background, before.background)
        for scale in LEVELS:
            fits = residual_of_upsampled(np.asarray(after.displacement), scale) < 1e-5
            # A map of `size` upsampled is no upsampled map of anything coarser.
            assert fits == (size <= scale), (size, scale)


@functools.cache
def upsampled_basis(scale: int, size: int) -> np.ndarray:
    """Every map of scale x scale with a single one, upsampled to size x size; flat columns."""

    @jax.jit
    def upsampled(basis):
        while basis.shape[0] < size:
            basis = upsample(basis, "octahedral")
        return basis

    return np.asarray(upsampled(jnp.eye(scale**2).reshape(scale, scale, -1))).reshape(size**2, -1)


def residual_of_upsampled(displacement: np.ndarray, scale: int) -> float:
    """Share of a map that no map of scale x scale upsampled to its size explains."""
    basis = upsampled_basis(scale, len(displacement))
    target = displacement.reshape(-1, 3)
    explained = basis @ np.linalg.lstsq(basis, target, rcond=None)[0]
    return float(np.linalg.norm(target - explained) / np.linalg.norm(target))


def test_object_and_background_have_their_own_latents(paint, trained, z):
    maps = paint(trained, z)
    other_background = paint(trained, z.at[LATENT:].multiply(-0.5))
    other_object = paint(trained, z.at[:LATENT].set(z[:LATENT][::-1]))
    for name in ("displacement", "texture"):
        np.testing.assert_array_equal(getattr(other_background, name), getattr(maps, name))
        assert np.abs(getattr(other_object, name) - getattr(maps, name)).max() > 0.05
    np.testing.assert_array_equal(other_object.background, maps.background)
    assert np.abs(other_background.background - maps.background).max() > 0.05


def test_shape_can_have_latents_of_its_own(generator, z):
    """The others move no point, however large the parameters, and every entry paints."""
    apart = generator.clone(shape_latent_size=2)
    params = jax.jit(apart.init)(jax.random.key(1), z)["params"]
    params = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(2), x.shape), params)

    def slopes(z):
        maps = apart.apply({"params": params}, z)
        return jax.tree.map(lambda x: x.reshape(-1)[:: x.size // 50], maps)

    slopes = jax.tree.map(np.abs, jax.jit(jax.jacfwd(slopes))(z))
    np.testing.assert_array_equal(slopes.displacement[:, 2:], 0)
    assert (slopes.displacement[:, :2].max(axis=0) > 1e-3).all()
    assert (slopes.texture[:, :LATENT].max(axis=0) > 1e-3).all()


def test_shape_with_latents_of_its_own_mixes_styles_too(generator, z):
    apart = generator.clone(shape_latent_size=2)
    params = jax.jit(apart.init)(jax.random.key(1), z)["params"]
    params = jax.tree.map(lambda x: x + jax.random.normal(jax.random.key(2), x.shape), params)
    other = z.at[2:LATENT].multiply(-2)
    mix = jax.jit(lambda random: apart.apply({"params": params}, z, random))
    none, all_ = (mix(Randomness(other, level, jax.random.key(0))) for level in (9, 0))
    np.testing.assert_array_equal(all_.displacement, none.displacement)
    assert np.abs(all_.texture - none.texture).max() > 0.01


def test_colours_stay_within_range(paint, trained, z):
    maps = paint(jax.tree.map(lambda x: 3 * x, trained), 10 * z)
    for colours in (maps.texture, maps.background):
        assert np.abs(colours).max() <= 1
        assert np.ptp(colours) > 1.5


def test_no_noise_is_drawn(generator, params, z):
    program = str(jax.make_jaxpr(lambda p, z: generator.apply({"params": p}, z))(params, z))
    assert "conv_general_dilated" in program
    assert "random" not in program and "threefry" not in program


def test_vmap_equals_a_loop(generator, paint, trained, z):
    latents = jnp.stack([z, -z, z[::-1]])
    batched = jax.jit(jax.vmap(paint, (None, 0)))(trained, latents)
    for i, one in enumerate(latents):
        alone = paint(trained, one)
        for a, b in zip(batched, alone, strict=True):
            np.testing.assert_allclose(a[i], b, atol=1e-4)


def test_mixing_takes_the_second_style_from_the_crossover_on(generator, paint, trained, z):
    """Below it everything is the first latent's, from it on what the second would paint there."""
    # In float64: two programs that round differently are compared.
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: jnp.asarray(np.float64(x)), trained)
        z = jnp.asarray(np.float64(z))
        mix = jax.jit(
            lambda crossover: generator.apply(
                {"params": wide}, z, Randomness(-z[::-1], crossover, jax.random.key(0))
            )
        )
        none, half, all_ = (mix(level) for level in (generator.num_levels, 2, 0))
        np.testing.assert_allclose(none.texture, paint(wide, z).texture, atol=1e-5)
        other = paint(wide, jnp.concatenate([-z[::-1][:LATENT], z[LATENT:]]))
        for name in Maps._fields:
            np.testing.assert_allclose(getattr(all_, name), getattr(other, name), atol=1e-5)
        assert np.abs(half.texture - none.texture).max() > 0.05
        assert np.abs(half.texture - all_.texture).max() > 0.05
        np.testing.assert_array_equal(half.background, none.background)


def test_noise_starts_silent_and_is_heard_in_training_only(generator, z):
    noisy = generator.clone(noise=True)
    params = jax.jit(noisy.init)(jax.random.key(1), z)["params"]
    noises = [name for name in params if name.startswith("Noise")]
    assert len(noises) == 2 * noisy.num_levels - 1
    draw = jax.jit(
        lambda params, key: (
            noisy.apply(
                {"params": params}, z, Randomness(z, jnp.int32(noisy.num_levels), key)
            ).texture
        )
    )
    first, second = jax.random.split(jax.random.key(2))
    np.testing.assert_array_equal(draw(params, first), draw(params, second))
    loud = {**params, **{name: {"strength": jnp.float32(0.5)} for name in noises}}
    assert np.abs(draw(loud, first) - draw(loud, second)).max() > 0.05
    silent = jax.jit(lambda params: noisy.apply({"params": params}, z).texture)
    np.testing.assert_array_equal(silent(loud), silent(params))


def test_without_a_pyramid_the_finest_map_moves_at_full_gain(generator, z):
    flat = generator.clone(pyramid=False)
    params = jax.eval_shape(flat.init, jax.random.key(1), z)["params"]
    assert [name for name in params if name.startswith("shape")] == [f"shape_{SURFACE}"]
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), params)
    params = with_head(params, SURFACE, bias=jnp.array([1.0, -2.0, 0.0]))
    moved = jax.jit(lambda p: flat.apply({"params": p}, z).displacement)(params)
    expected = flat.displacement_gain * np.array([1.0, -2.0, 0.0])
    np.testing.assert_allclose(moved, np.broadcast_to(expected, moved.shape), atol=1e-6)


@pytest.mark.parametrize("chart", ["octahedral", "azimuthal"])
def test_start_shape_is_a_sphere_of_the_start_radius(chart):
    config = Config(
        chart=chart, start_radius=0.7, surface_size=32, texture_size=8, generator_width=4,
        discriminator_width=4, latent_size=4, background_latent_size=4, background_size=4,
    )  # fmt: skip
    parts = assemble(config)
    z = jnp.ones(latent_size(parts))

    @jax.jit
    def start():
        params = parts.generator.init(jax.random.key(0), z)["params"]
        surface = generate(parts, params, z).surface
        return surface, scene_vertices(surface, parts.stage)

    surface, vertices = map(np.asarray, start())
    np.testing.assert_allclose(np.linalg.norm(surface, axis=-1), 0.7, rtol=1e-5)
    # Means of four neighbours lie a little inside, more so where the chart is coarse.
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=-1), 0.7, rtol=0.03)
    np.testing.assert_allclose(vertices, 0.7 * parts.stage.template, atol=0.07)
    assert np.abs(vertices - 0.7 * parts.stage.template).mean() < 5e-3


@pytest.mark.parametrize(
    "resolution, surface_size, texture_size",
    [(32, 32, 32), (64, 32, 64), (128, 64, 128), (256, 128, 256), (32, 64, 16)],
)
def test_sizes_follow_the_configuration(resolution, surface_size, texture_size):
    config = Config(
        resolution=resolution,
        surface_size=surface_size,
        texture_size=texture_size,
        background_size=texture_size // 2,
    )
    parts = assemble(config)
    z = jax.ShapeDtypeStruct((latent_size(parts),), jnp.float32)
    params = jax.eval_shape(parts.generator.init, jax.random.key(0), z)["params"]
    scene = jax.eval_shape(lambda p, z: generate(parts, p, z), params, z)
    assert scene.surface.shape == (surface_size, surface_size, 3)
    assert scene.texture.shape == (texture_size, texture_size, 3)
    assert scene.background.shape == (texture_size // 2, texture_size // 2, 3)
    assert all(leaf.dtype == jnp.float32 for leaf in scene)
    assert parts.stage.topology.num_vertices == (surface_size + 1) ** 2
    view = View(jnp.zeros(()), jnp.zeros(()))
    image = jax.eval_shape(lambda scene: render_scene(scene, view, parts.stage).image, scene)
    assert image.shape == (resolution, resolution, 3)
