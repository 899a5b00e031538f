"""The branch for other platforms is traced where it is needed, and nowhere else."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.render.platforms import platform_dependent

X = np.float32([1.0, 2.0, 3.0])


@pytest.fixture
def traced():
    """Which branches were traced."""
    return []


@pytest.fixture
def choose(traced):
    def cpu(tree):
        traced.append("cpu")
        return {"y": jnp.sin(tree["x"])}

    def default(tree):
        traced.append("default")
        return {"y": jnp.cos(tree["x"])}

    return lambda x: platform_dependent({"x": x}, cpu=cpu, default=default)["y"]


@pytest.fixture
def elsewhere(monkeypatch):
    """Takes the other platforms' branch, on this CPU."""
    take = lambda *arguments, default, **others: default(*arguments)  # noqa: E731
    monkeypatch.setattr(jax.lax, "platform_dependent", take)


def lowered(function, platform: str) -> str:
    return jax.jit(function).trace(X).lower(lowering_platforms=(platform,)).as_text()


def test_on_a_cpu_its_branch_alone_is_traced(choose, traced):
    np.testing.assert_allclose(jax.jit(choose)(X), np.sin(X), rtol=1e-6)
    assert traced == ["cpu"]


def test_without_jit_it_is_the_same(choose):
    np.testing.assert_allclose(choose(X), np.sin(X), rtol=1e-6)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_lowered_for_another_platform_it_is_the_other_branch(choose, traced, platform):
    text = lowered(choose, platform)
    assert "cosine" in text and "sine" not in text.replace("cosine", "")
    assert traced == ["cpu", "default"]


def test_exported_for_several_platforms_it_holds_both_branches(choose):
    exported = jax.export.export(jax.jit(choose), platforms=("cpu", "tpu"))(X)
    text = exported.mlir_module()
    assert "cosine" in text and "sine" in text.replace("cosine", "")
    np.testing.assert_allclose(exported.call(X), np.sin(X), rtol=1e-6)


def test_the_other_branch_is_mapped_and_differentiated(choose, elsewhere):
    """By its rules; on a CPU nothing else reaches them."""
    rows = np.stack([X, 2 * X])
    np.testing.assert_allclose(jax.jit(jax.vmap(choose))(rows), np.cos(rows), rtol=1e-6)
    total = lambda x: choose(x).sum()  # noqa: E731
    np.testing.assert_allclose(jax.jit(jax.grad(total))(X), -np.sin(X), rtol=1e-6)
    slopes = jax.jit(jax.vmap(jax.grad(total)))
    np.testing.assert_allclose(slopes(rows), -np.sin(rows), rtol=1e-6)
    _, tangent = jax.jit(lambda x: jax.jvp(choose, (x,), (2 * x,)))(X)
    np.testing.assert_allclose(tangent, -2 * X * np.sin(X), rtol=1e-6)


def test_one_mapped_argument_and_integers_without_gradients(elsewhere):
    pick = lambda i, x: (x[i] ** 2, i + 1)  # noqa: E731
    chosen = lambda i, x: platform_dependent(i, x, cpu=pick, default=pick)  # noqa: E731
    indices = np.int32([2, 0])
    values, following = jax.jit(jax.vmap(chosen, in_axes=(0, None)))(indices, X)
    np.testing.assert_allclose(values, X[indices] ** 2)
    np.testing.assert_array_equal(following, indices + 1)
    slope = jax.jit(jax.grad(lambda x: chosen(np.int32(1), x)[0]))(X)
    np.testing.assert_allclose(slope, [0, 4, 0])


def test_64_bits_are_those_of_the_place_of_the_call(traced):
    def wide(x):
        traced.append(jnp.arange(3).dtype)
        return x + jnp.arange(3)

    def inside(x):
        with jax.enable_x64(True):
            y = x.astype(jnp.int64)
            return platform_dependent(y, cpu=lambda x: x, default=wide).astype(jnp.int32)

    assert "i64" in lowered(inside, "cuda")
    assert traced == [np.dtype(np.int64)]
