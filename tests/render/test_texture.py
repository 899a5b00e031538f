"""Texture look-up against brute force, and its hand-written gradient."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from render_scenes import compile_quickly

import gan3d.render.texture

sample_texture = compile_quickly(
    gan3d.render.texture.sample_texture, static_argnames=("wrap", "max_level")
)
make_mipmaps = compile_quickly(gan3d.render.texture.make_mipmaps)
traced_sample = gan3d.render.texture.sample_texture  # inside of a function that is compiled whole
PADDING = {"clamp": "edge", "repeat": "wrap", "mirror": "symmetric"}
PAIRS = (("clamp", "clamp"), ("repeat", "mirror"), ("mirror", "repeat"))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def plain_bilinear(texture, uv, xp=np):
    """Clamped look-up as one writes it down; autodiff or numpy."""
    height, width = texture.shape[:2]

    def neighbours(coordinate, size):
        position = xp.clip(coordinate * size - 0.5, 0, size - 1)
        low = xp.clip(xp.floor(position), 0, max(size - 2, 0)).astype(np.int32)
        return low, xp.minimum(low + 1, size - 1), (position - low)[..., None]

    left, right, x = neighbours(uv[..., 0], width)
    top, bottom, y = neighbours(uv[..., 1], height)
    upper = texture[top, left] * (1 - x) + texture[top, right] * x
    lower = texture[bottom, left] * (1 - x) + texture[bottom, right] * x
    return upper * (1 - y) + lower * y


def footprint(shape, texels, size):
    """Derivatives of pixels that cover a given number of texels along both axes."""
    return np.broadcast_to(np.diag(texels / np.array(size[::-1])), (*shape, 2, 2))


def test_clamped_values_are_those_of_the_formula():
    texture = np.float32(noise(7, 5, 3))
    uv = np.float32(noise(2, 40, 2, seed=1) + 0.5)
    expected = plain_bilinear(jnp.asarray(texture), jnp.asarray(uv), jnp)
    # Compiled as a whole, products and sums may be rounded together.
    for sample in (traced_sample, jax.jit(traced_sample)):
        np.testing.assert_allclose(sample(texture, uv), expected, rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize("wrap", PAIRS)
def test_wrapping_continues_the_padded_texture(wrap, float64):
    height, width, copies = 3, 4, 3
    texture = noise(height, width, 2)
    uv = np.random.default_rng(1).uniform(1.3 - copies, copies - 0.3, (300, 2))
    padded = np.pad(texture, ((0, 0), (copies * width,) * 2, (0, 0)), PADDING[wrap[0]])
    padded = np.pad(padded, ((copies * height,) * 2, (0, 0), (0, 0)), PADDING[wrap[1]])
    expected = plain_bilinear(padded, (uv + copies) / (2 * copies + 1))
    actual = sample_texture(texture, uv, wrap=wrap[0] if wrap[0] == wrap[1] else wrap)
    np.testing.assert_allclose(actual, expected, atol=1e-12)


def test_wrapped_coordinates_may_be_anything_finite():
    texture = np.float32(noise(3, 4, 1))
    uv = np.float32([[1e9, -1e9], [-1e-10, 1.0], [-7.0, 3e38]])
    for wrap in PADDING:
        values = sample_texture(texture, uv, wrap=wrap)
        assert (np.abs(values) <= np.abs(texture).max()).all()
    np.testing.assert_allclose(
        sample_texture(texture, np.float32([-1e-10, 0.5 / 3]), wrap="repeat"),
        (texture[0, 0] + texture[0, 3]) / 2,
    )


@pytest.mark.parametrize("wrap", PAIRS)
@pytest.mark.parametrize("trilinear", (False, True))
def test_gradients_are_slopes(wrap, trilinear, float64):
    rng = np.random.default_rng(3)
    variables = {"texture": noise(5, 6, 2), "uv": rng.uniform(-1, 2, (60, 2))}
    if trilinear:
        variables["derivatives"] = rng.normal(size=(60, 2, 2)) * 0.6
    weights = noise(60, 2, seed=4)

    def loss(variables):
        return (weights * jnp.sin(traced_sample(**variables, wrap=wrap))).sum()

    total, gradient = compile_quickly(loss), compile_quickly(jax.grad(loss))(variables)
    step = 1e-7
    for name, value in variables.items():
        change = rng.normal(size=value.shape)
        ahead, back = (total({**variables, name: value + s * change}) for s in (step, -step))
        slope = (gradient[name] * change).sum()
        np.testing.assert_allclose(slope, (ahead - back) / (2 * step), rtol=1e-5, err_msg=name)


def test_vmapped_gradients_are_those_of_autodiff_one_by_one():
    texture, uv = np.float32(noise(2, 3, 5, 4, 2)), np.float32(noise(2, 3, 6, 7, 2, seed=1))
    weights = np.float32(noise(6, 7, 2, seed=2))
    weights[:3] = 0  # what empty pixels send back

    def slopes(sample):
        total = lambda texture, uv: (weights * sample(texture, uv) ** 2).sum()  # noqa: E731
        return jax.grad(total, argnums=(0, 1))

    def of_sum(*variables):
        one = lambda texture, uv: (weights * traced_sample(texture, uv) ** 2).sum()  # noqa: E731
        return jax.grad(lambda *a: jax.vmap(one)(*a).sum(), argnums=(0, 1))(*variables)

    plain = slopes(lambda texture, uv: plain_bilinear(texture, uv, jnp))
    twice = lambda function: compile_quickly(jax.vmap(jax.vmap(function)))  # noqa: E731
    expected, actual = twice(plain)(texture, uv), twice(slopes(traced_sample))(texture, uv)
    shared = jax.vmap(slopes(traced_sample), in_axes=(None, 0))
    shared_texture, _ = compile_quickly(shared)(texture[0, 0], uv[0])
    np.testing.assert_allclose(shared_texture[0], expected[0][0, 0], atol=1e-4)
    summed = compile_quickly(of_sum)(texture[0], uv[0])
    for k in range(2):
        np.testing.assert_allclose(actual[k], expected[k], atol=1e-4)
        np.testing.assert_allclose(summed[k], expected[k][0], atol=1e-4)


@pytest.mark.parametrize("outer", (jax.jacfwd, jax.jacrev))
def test_second_derivatives_are_those_of_autodiff(outer, float64):
    texture, uv = noise(3, 3, 1), np.random.default_rng(1).uniform(0, 1, (4, 2))
    # Two pixels hit their target, so that their cotangents vanish but not the derivatives of
    # these, and all share one texel.
    target = np.array(plain_bilinear(texture, uv))
    target[2:] += 1

    def hessian(sample):
        def loss(variables):
            return ((sample(*variables) - target) ** 2).sum()

        return compile_quickly(outer(jax.grad(loss)))((texture, uv))

    expected = hessian(lambda texture, uv: plain_bilinear(texture, uv, jnp))
    actual = hessian(traced_sample)
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert np.abs(other).max() > 0.1
        np.testing.assert_allclose(one, other, atol=1e-10)


def test_second_derivatives_of_a_batch(float64):
    """As above through `vmap`, which the gradient treats in its own way."""
    texture, uv = noise(3, 3, 3, 1), np.random.default_rng(1).uniform(0, 1, (3, 4, 2))

    def curvature(sample):
        loss = lambda texture: (sample(texture, uv) ** 4).sum()  # noqa: E731
        slope = lambda texture: (jax.grad(loss)(texture) ** 2).sum()  # noqa: E731
        return compile_quickly(jax.grad(slope))(texture)

    plain = jax.vmap(lambda texture, uv: plain_bilinear(texture, uv, jnp))
    np.testing.assert_allclose(
        curvature(jax.vmap(traced_sample)), curvature(plain), rtol=1e-10, atol=1e-10
    )


def test_forward_mode_is_refused_clearly():
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(lambda uv: traced_sample(jnp.ones((2, 2, 1)), uv), (jnp.zeros(2),), (jnp.ones(2),))


@pytest.mark.parametrize("size", ((8, 4), (1, 1), (9, 7)))
def test_mipmaps_are_means_over_areas(size, float64):
    levels = make_mipmaps(noise(*size, 2))
    assert levels[-1].shape == (1, 1, 2)
    for fine, coarse in itertools.pairwise(levels):
        n, m = fine.shape[:2], coarse.shape[:2]
        assert m == tuple(max(1, length // 2) for length in n)
        # Every texel repeated until both levels have a common grid.
        grid = np.repeat(np.repeat(fine, m[0], axis=0), m[1], axis=1)
        expected = grid.reshape(m[0], n[0], m[1], n[1], 2).mean(axis=(1, 3))
        np.testing.assert_allclose(coarse, expected, atol=1e-12)


def test_level_follows_the_longer_axis_of_the_footprint(float64):
    texture = noise(8, 16, 2)
    levels = make_mipmaps(texture)
    uv = np.random.default_rng(1).uniform(size=(20, 2))
    for k, level in enumerate(levels):
        expected = plain_bilinear(np.asarray(level), uv)
        square = footprint((20,), [2.0**k, 2.0**k], (8, 16))
        long_in_x = footprint((20,), [2.0**k, 0.3], (8, 16))
        long_in_y = footprint((20,), [0.1, 2.0**k], (8, 16))
        for derivatives in (square, long_in_x, long_in_y, square[..., ::-1]):
            actual = sample_texture(texture, uv, derivatives=derivatives)
            np.testing.assert_allclose(actual, expected, atol=1e-12)
    between = sample_texture(texture, uv, derivatives=footprint((20,), [2**1.25, 1], (8, 16)))
    pair = [plain_bilinear(np.asarray(levels[k]), uv) for k in (1, 2)]
    np.testing.assert_allclose(between, 0.75 * pair[0] + 0.25 * pair[1], atol=1e-12)


def test_level_stays_between_the_finest_and_the_coarsest():
    texture = np.float32(noise(4, 4, 1))
    uv = np.float32(np.random.default_rng(1).uniform(size=(9, 2)))

    def sample(derivatives, max_level=None):
        return sample_texture(texture, uv, derivatives=derivatives, max_level=max_level)

    total = lambda derivatives: traced_sample(texture, uv, derivatives=derivatives).sum()  # noqa: E731
    slope = compile_quickly(jax.grad(total))

    magnified = np.float32(footprint((9,), [0.01, 0.01], (4, 4)))
    np.testing.assert_allclose(sample(magnified), sample_texture(texture, uv), atol=1e-6)
    for far in (1e2, 1e30, np.inf):
        derivatives = np.full((9, 2, 2), far, np.float32)
        np.testing.assert_allclose(sample(derivatives)[:, 0], texture.mean(), atol=1e-6)
        np.testing.assert_array_equal(slope(derivatives), 0)
        one = sample_texture(make_mipmaps(texture)[1], uv)
        np.testing.assert_allclose(sample(derivatives, max_level=1), one, atol=1e-6)


def test_given_mipmaps_are_used_and_receive_the_gradient():
    texture, uv = np.float32(noise(4, 4, 1)), np.full((1, 2), 0.5, np.float32)
    derivatives = np.float32(footprint((1,), [4, 4], (4, 4)))

    def total(texture, mipmaps):
        return traced_sample(texture, uv, derivatives=derivatives, mipmaps=mipmaps).sum()

    through = compile_quickly(jax.grad(lambda texture: total(texture, None)))(texture)
    np.testing.assert_allclose(through, np.full((4, 4, 1), 1 / 16), rtol=1e-6)
    of_texture, of_mipmaps = compile_quickly(jax.grad(total, argnums=(0, 1)))(
        texture, make_mipmaps(texture)
    )
    np.testing.assert_array_equal(of_texture, 0)
    np.testing.assert_allclose([level.sum() for level in of_mipmaps], [0, 0, 1], atol=1e-6)


def test_fine_checks_turn_grey_in_the_distance():
    checks = np.float32(np.indices((64, 64)).sum(axis=0) % 2)[..., None]
    uv = np.float32(np.random.default_rng(1).uniform(size=(50, 2)))
    derivatives = np.float32(footprint((50,), [8, 8], (64, 64)))
    assert np.std(sample_texture(checks, uv)) > 0.1
    np.testing.assert_allclose(sample_texture(checks, uv, derivatives=derivatives), 0.5, atol=1e-6)


@pytest.mark.parametrize(
    ("texture", "uv", "result"),
    [
        ("bfloat16", "float32", "float32"),
        ("bfloat16", "bfloat16", "bfloat16"),
        ("uint8", "float32", "float32"),
        ("float32", "float64", "float64"),
        ("float64", "float32", "float64"),
    ],
)
def test_dtypes_promote(texture, uv, result, float64):
    texels, place = jnp.full((2, 3, 1), 7, texture), jnp.full((4, 2), 0.3, uv)
    derivatives = jnp.ones((4, 2, 2), uv)
    for options in ({}, {"derivatives": derivatives}):
        values = sample_texture(texels, place, **options)
        assert values.dtype == result
        tolerance = 1e-2 if result == "bfloat16" else 1e-6
        np.testing.assert_allclose(np.float64(values), 7, rtol=tolerance)
    total = lambda place: traced_sample(texels, place).sum().astype(float)  # noqa: E731
    assert compile_quickly(jax.grad(total))(place).dtype == uv


TEXTURE, UV, CHANGE = np.ones((4, 4, 1)), np.ones((5, 2)), np.ones((5, 2, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(texture=np.ones((4, 0, 1)), uv=UV), r"texture must have at least.*\[4, 0, 1\]"),
        (dict(texture=TEXTURE, uv=UV, wrap="wrap"), "wrap must be one of clamp.*'wrap'"),
        (dict(texture=TEXTURE, uv=UV, wrap=("clamp",)), "wrap must be one of"),
        (dict(texture=TEXTURE, uv=UV, derivatives=np.ones((5, 2))), r"derivatives.*\[5, 2\]"),
        (dict(texture=TEXTURE, uv=UV, max_level=1), "max_level must be None without derivatives"),
        (dict(texture=TEXTURE, uv=UV, derivatives=CHANGE, max_level=-1), "max_level.*-1"),
        (dict(texture=TEXTURE, uv=UV, derivatives=CHANGE, mipmaps=()), r"mipmaps must.*got \[\]"),
        (
            dict(texture=TEXTURE, uv=UV, derivatives=CHANGE, mipmaps=(TEXTURE[:2],)),
            r"mipmaps must start with the texture's shape \[4, 4, 1\].*\[\[2, 4, 1\]\]",
        ),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        traced_sample(**arguments)


def test_mipmaps_of_something_else_are_refused():
    with pytest.raises(ValueError, match=r"texture must have shape.*\[4, 4\]"):
        make_mipmaps(np.ones((4, 4)))
