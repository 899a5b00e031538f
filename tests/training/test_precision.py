"""bfloat16 features: where they are, and where they must not be."""

from __future__ import annotations

import dataclasses

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.config import Config
from gan3d.training.assemble import assemble, generate, init_state, latent_size
from gan3d.training.step import Moment, step_programs

SIZE = 16
CONFIG = Config(
    batch=2,
    resolution=SIZE,
    surface_size=16,
    texture_size=16,
    background_size=8,
    latent_size=6,
    background_latent_size=4,
    mapping_layers=1,
    generator_width=8,
    discriminator_width=8,
    precision="bfloat16",
)
BFLOAT16, FLOAT32 = jnp.bfloat16, jnp.float32
MOMENT = Moment(np.int32(0), jax.random.key(0), np.int32(0))


@pytest.fixture(scope="module")
def parts():
    return assemble(CONFIG)


@pytest.fixture(scope="module")
def state(parts):
    """In the middle of a training: nothing is zero."""
    state = init_state(parts, 0)
    rng = np.random.default_rng(1)
    noisy = lambda x: np.asarray(x) + 0.1 * rng.normal(size=x.shape).astype(np.float32)  # noqa: E731
    return state.replace(
        generator_params=jax.tree.map(noisy, state.generator_params),
        discriminator_params=jax.tree.map(noisy, state.discriminator_params),
    )


def convolutions(function, *arguments) -> list[tuple[int, jnp.dtype]]:
    """(size of the kernel, type) of every convolution that a function computes."""
    found = []

    def search(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "conv_general_dilated":
                size = min(equation.invars[1].aval.shape[:2])
                found.append((size, equation.outvars[0].aval.dtype))
            for inner in jax.extend.core.jaxprs_in_params(equation.params):
                search(inner)

    search(jax.make_jaxpr(function)(*arguments).jaxpr)
    return found


def test_generator_s_features_are_bfloat16_and_its_maps_float32(parts, state):
    z = jnp.ones(latent_size(parts))
    scene = jax.eval_shape(lambda z: generate(parts, state.generator_params, z), z)
    assert {leaf.dtype for leaf in jax.tree.leaves(scene)} == {np.dtype(np.float32)}
    found = convolutions(lambda z: generate(parts, state.generator_params, z), z)
    assert (3, BFLOAT16) in found
    # The heads, which add up displacements and colours, and the background are precise.
    surface_heads = texture_heads = 3
    assert sum(kind == (1, FLOAT32) for kind in found) == surface_heads + texture_heads + 1
    assert not any(kind == (1, BFLOAT16) for kind in found)


def test_parameters_and_gradients_are_float32(parts, state):
    params = {leaf.dtype for leaf in jax.tree.leaves(init_state(parts, 0).discriminator_params)}
    assert params == {np.dtype(np.float32)}
    images = jax.ShapeDtypeStruct((2, SIZE, SIZE, 3), FLOAT32)
    gradients, _ = jax.eval_shape(
        step_programs(parts).penalised_gradients, state.discriminator_params, MOMENT,
        jax.ShapeDtypeStruct(images.shape, jnp.uint8), images,
    )  # fmt: skip
    assert {leaf.dtype for leaf in jax.tree.leaves(gradients)} == {np.dtype(np.float32)}


def test_penalties_alone_are_computed_in_float32(parts, state):
    programs = step_programs(parts)
    real = jnp.zeros((2, SIZE, SIZE, 3), jnp.uint8)
    arguments = state.discriminator_params, MOMENT, real, real.astype(FLOAT32)
    plain = {kind for _, kind in convolutions(programs.discriminator_gradients, *arguments)}
    assert plain == {np.dtype(BFLOAT16)}
    with_penalties = [k for _, k in convolutions(programs.penalised_gradients, *arguments)]
    assert set(with_penalties) == {np.dtype(BFLOAT16), np.dtype(FLOAT32)}
    images = {kind for _, kind in convolutions(programs.image_gradients, *arguments)}
    assert images == {np.dtype(BFLOAT16)}


def test_float32_is_the_default_and_casts_nothing():
    parts = assemble(dataclasses.replace(CONFIG, precision="float32"))
    params = jax.eval_shape(lambda: init_state(parts, 0)).generator_params
    z = jnp.ones(latent_size(parts))
    found = convolutions(lambda params, z: generate(parts, params, z), params, z)
    assert {kind for _, kind in found} == {np.dtype(FLOAT32)}


def test_results_are_those_of_float32_but_for_rounding(parts, state):
    """bfloat16 has 8 bits: a third of a per cent per operation."""
    precise = assemble(dataclasses.replace(CONFIG, precision="float32"))
    z = jax.random.normal(jax.random.key(0), (latent_size(parts),))
    quick = lambda f: jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})  # noqa: E731
    scenes = [
        quick(lambda z, p=p: generate(p, state.generator_params, z))(z) for p in (parts, precise)
    ]
    for ours, expected in zip(*map(jax.tree.leaves, scenes), strict=True):
        assert np.abs(ours - expected).max() < 0.05 * np.abs(expected).max()
    assert np.abs(scenes[0].texture - scenes[1].texture).max() > 1e-5

    image = jax.random.uniform(jax.random.key(1), (SIZE, SIZE, 3), minval=-1.0)
    scores = [
        quick(lambda x, p=p: p.discriminator.apply({"params": state.discriminator_params}, x))(
            image
        )
        for p in (parts, precise)
    ]
    assert scores[0].dtype == FLOAT32
    assert abs(scores[0] - scores[1]) < 0.05 * (1 + abs(scores[1]))
