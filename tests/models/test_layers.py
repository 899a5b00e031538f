"""Layers against explicit formulas."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.models import layers
from gan3d.render import octahedral_direction, sample_texture


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def compiled(layer) -> tuple:
    """`init` and `apply`, each in one program."""
    return jax.jit(layer.init), jax.jit(layer.apply)


def texel_centres(size: int, margin: int = 0) -> np.ndarray:
    """UV of a map's texels, those of `margin` more around it included."""
    centre = (np.arange(-margin, size + margin) + 0.5) / size
    return np.stack(np.meshgrid(centre, centre), axis=-1)


def fold(uv: np.ndarray) -> np.ndarray:
    """Beyond a border of the octahedral chart lies its mirror image about the border's middle."""
    uv = uv.copy()
    for axis in (0, 1):
        a, b = uv[..., axis], uv[..., 1 - axis]
        outside = (a < 0) | (a > 1)
        b[outside] = 1 - b[outside]
        a[a < 0] = -a[a < 0]
        a[a > 1] = 2 - a[a > 1]
    return uv


def smooth(direction: np.ndarray) -> np.ndarray:
    x, y, z = np.moveaxis(direction, -1, 0)
    return np.stack([x + 0.5 * y * z, np.sin(2 * y) - x * z, z + x * y], axis=-1)


class TestPad:
    @pytest.mark.parametrize("margin", [1, 2, 3])
    def test_octahedral_continues_a_function_on_the_sphere(self, margin):
        values = smooth(octahedral_direction(texel_centres(8)))
        expected = smooth(octahedral_direction(fold(texel_centres(8, margin))))
        padded = layers.pad(jnp.asarray(values), margin, "octahedral")
        np.testing.assert_allclose(padded, expected, atol=1e-6)

    def test_octahedral_has_no_step_at_the_borders(self):
        """Across a fold, neighbours are as near on the sphere as inside the map."""
        direction = jnp.asarray(octahedral_direction(texel_centres(16)))
        padded = np.asarray(layers.pad(direction, 1, "octahedral"))
        across = np.linalg.norm(padded[1:-1, 1] - padded[1:-1, 0], axis=-1)
        inside = np.linalg.norm(np.diff(np.asarray(direction), axis=1), axis=-1)
        assert across.max() <= inside.max()
        edge = np.asarray(layers.pad(direction[::-1] * 1.0, 1, "edge"))
        assert (edge[1:-1, 1] == edge[1:-1, 0]).all()

    def test_edge_repeats_the_border(self):
        x = np.asarray(normal(0, 3, 4, 2))
        padded = np.asarray(layers.pad(jnp.asarray(x), 2, "edge"))
        rows = np.clip(np.arange(-2, 5), 0, 2)
        columns = np.clip(np.arange(-2, 6), 0, 3)
        np.testing.assert_array_equal(padded, x[rows][:, columns])

    def test_other_names_are_refused(self):
        with pytest.raises(ValueError, match=r"padding must be .* got 'wrap'"):
            layers.pad(jnp.zeros((4, 4, 1)), 1, "wrap")


class TestResampling:
    def test_upsampling_a_ramp_gives_a_ramp(self):
        u, v = np.moveaxis(texel_centres(8), -1, 0)
        fine_u, fine_v = np.moveaxis(texel_centres(16), -1, 0)
        doubled = layers.upsample(jnp.asarray((3 * u - 2 * v)[..., None], jnp.float32))[..., 0]
        expected = 3 * fine_u - 2 * fine_v
        np.testing.assert_allclose(doubled[1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-6)

    def test_upsampling_is_a_bilinear_look_up(self):
        x = normal(1, 5, 6, 2)
        u, v = (np.arange(12) + 0.5) / 12, (np.arange(10) + 0.5) / 10
        uv = jnp.asarray(np.stack(np.meshgrid(u, v), axis=-1))
        np.testing.assert_allclose(layers.upsample(x), sample_texture(x, uv), atol=2e-6)

    @pytest.mark.parametrize("padding", ["zero", "edge", "octahedral"])
    def test_upsampling_keeps_constants(self, padding):
        doubled = layers.upsample(jnp.full((4, 4, 2), 0.7), padding)
        np.testing.assert_allclose(doubled, np.full((8, 8, 2), 0.7), rtol=1e-6)

    def test_octahedral_upsampling_keeps_the_seam_closed(self):
        """Both sides of a fold interpolate the same values: mirrored texels agree at the fold."""
        doubled = np.asarray(layers.upsample(normal(2, 8, 8, 3), "octahedral"))
        padded = np.asarray(layers.pad(jnp.asarray(doubled), 1, "octahedral"))
        seam = (padded[1:-1, 0] + padded[1:-1, 1]) / 2
        np.testing.assert_allclose(seam, seam[::-1], atol=1e-6)
        # 0.25 and 0.75 of the two pixels beside the fold, on either side of it.
        coarse = np.asarray(layers.pad(normal(2, 8, 8, 3), 1, "octahedral"))
        middle = (coarse[:, 0] + coarse[:, 1]) / 2
        expected = 0.25 * middle[:-2] + 0.75 * middle[1:-1]
        np.testing.assert_allclose(seam[::2], expected, atol=1e-6)

    def test_downsampling_takes_means(self):
        x = np.asarray(normal(3, 6, 4, 3))
        halved = np.asarray(layers.downsample(jnp.asarray(x)))
        assert halved.shape == (3, 2, 3)
        for i in range(3):
            for j in range(2):
                block = x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                np.testing.assert_allclose(halved[i, j], block.mean((0, 1)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("padding", ["zero", "edge", "octahedral"])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_convolve_is_a_valid_convolution_of_the_padded_map(padding, size):
    x, kernel, margin = normal(4, 8, 8, 3), normal(5, size, size, 3, 4), size // 2
    wide = ((margin, margin), (margin, margin), (0, 0))
    padded = layers.pad(x, margin, padding) if margin and padding != "zero" else jnp.pad(x, wide)
    expected = jax.lax.conv_general_dilated(
        padded[None], kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )[0]
    actual = layers.convolve(x, kernel, padding)
    assert actual.shape == (8, 8, 4)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("padding", ["zero", "octahedral"])
@pytest.mark.parametrize("demodulate", [True, False])
def test_styled_convolution_equals_the_modulated_kernel(padding, demodulate):
    """Equations 1 and 3 of "Analyzing and improving StyleGAN", sample by sample."""
    layer = layers.StyledConv(5, padding=padding, demodulate=demodulate)
    x, w = normal(6, 8, 8, 4), normal(7, 6)
    init, apply = compiled(layer)
    params = init(jax.random.key(8), x, w)["params"]
    params["bias"] = normal(9, 5)
    style_params = params["style"]
    style_params["bias"] = style_params["bias"] + normal(10, 4)

    style = w @ style_params["kernel"] / 6**0.5 + style_params["bias"]
    kernel = style[None, None, :, None] * params["kernel"] / (9 * 4) ** 0.5
    if demodulate:
        kernel = kernel / jnp.sqrt((kernel**2).sum((0, 1, 2)) + 1e-8)[None, None, None]
    expected = layers.convolve(x, kernel, padding) + params["bias"][None, None]
    np.testing.assert_allclose(apply({"params": params}, x, w), expected, atol=1e-5)


def test_demodulated_output_has_unit_variance_whatever_the_style():
    layer = layers.StyledConv(64, padding="edge")
    x = normal(11, 16, 16, 32)
    init, apply = compiled(layer)
    params = init(jax.random.key(12), x, jnp.zeros(8))
    for scale in (0.1, 10.0):
        y = apply(params, x, scale * normal(13, 8))
        np.testing.assert_allclose(np.std(y), 1, rtol=0.1)


class TestEqualisedLearningRate:
    @pytest.mark.parametrize("rate", [1.0, 0.01])
    @pytest.mark.parametrize("fan_in", [16, 400])
    def test_dense_starts_with_unit_variance(self, rate, fan_in):
        layer, x = layers.Dense(500, rate=rate), normal(14, 300, fan_in)
        init, apply = compiled(layer)
        params = init(jax.random.key(15), x[0])
        y = jax.vmap(apply, (None, 0))(params, x)
        np.testing.assert_allclose(np.std(y), 1, rtol=0.05)

    def test_dense_rate_scales_how_far_a_unit_step_moves_the_output(self):
        x = normal(16, 32)
        for rate in (1.0, 0.01):
            layer = layers.Dense(1, bias_init=0.5, rate=rate)
            init, apply = compiled(layer)
            params = init(jax.random.key(17), x)
            slope = jax.grad(lambda p, apply=apply: apply(p, x)[0])(params)["params"]
            np.testing.assert_allclose(slope["kernel"][:, 0], rate * x / 32**0.5, rtol=1e-5)
            np.testing.assert_allclose(slope["bias"], rate, rtol=1e-6)
            at_zero = apply(params, jnp.zeros(32))
            np.testing.assert_allclose(at_zero, 0.5, rtol=1e-6)

    @pytest.mark.parametrize("size, gain", [(1, 1.0), (3, 1.0), (3, 0.5)])
    def test_convolution_starts_with_its_gain(self, size, gain):
        layer = layers.Conv(64, size, padding="edge", gain=gain)
        x = normal(18, 16, 16, 24)
        init, apply = compiled(layer)
        params = init(jax.random.key(19), x)
        assert np.std(params["params"]["kernel"]) == pytest.approx(1, abs=0.1)
        inner = np.asarray(apply(params, x))[1:-1, 1:-1]
        np.testing.assert_allclose(np.std(inner), gain, rtol=0.05)

    def test_activation_keeps_the_second_moment(self):
        x = normal(20, 100_000)
        np.testing.assert_allclose(np.mean(layers.activate(x) ** 2), 1, rtol=0.02)
        positive = jnp.abs(x)
        leak = layers.activate(-positive) / layers.activate(positive)
        np.testing.assert_allclose(leak, -0.2, rtol=1e-5)


def test_channels_halve_with_each_doubling_within_bounds():
    assert [layers.channels(64, r) for r in (4, 8, 16, 32, 64, 128, 256)] == [
        128, 128, 64, 32, 16, 8, 8,
    ]  # fmt: skip


def test_zero_init_starts_at_zero_but_can_learn():
    layer = layers.StyledConv(3, 1, demodulate=False, zero_init=True)
    x, w = normal(21, 4, 4, 8), normal(22, 8)
    init, apply = compiled(layer)
    params = init(jax.random.key(23), x, w)
    np.testing.assert_array_equal(apply(params, x, w), 0)
    slope = jax.jit(jax.grad(lambda p: apply(p, x, w).sum()))(params)["params"]["kernel"]
    assert (np.abs(slope) > 1e-3).mean() > 0.9
