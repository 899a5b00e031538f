"""`jax.lax.platform_dependent` that leaves the tracing of the other platforms' branch for later.

JAX traces all branches, although nearly every program is compiled for one platform alone; of a
renderer with a branch in every layer that is half of the time until its first picture. Here the
branch of the default backend is traced, and the other one is a single equation that is traced when
it is lowered: never, unless a program is exported or lowered for that platform.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.interpreters import ad, batching, mlir


def platform_dependent(
    *arguments: Any, cpu: Callable[..., Any], default: Callable[..., Any]
) -> Any:
    """`cpu(*arguments)` where it runs on a CPU, elsewhere `default(*arguments)`.

    Args:
      arguments: pytrees of arrays.
      cpu: returns a pytree of arrays; a function of its arguments alone.
      default: returns the same shapes and types.
    """
    home_is_cpu = jax.default_backend() == "cpu"
    home, away = (cpu, default) if home_is_cpu else (default, cpu)
    # Traced once, for the shapes; then spliced in.
    home = jax.jit(home, inline=True)
    away = _traced_later(away, jax.eval_shape(home, *arguments))
    cpu, default = (home, away) if home_is_cpu else (away, home)
    return lax.platform_dependent(*arguments, cpu=cpu, default=default)


def _traced_later(function: Callable[..., Any], results: Any) -> Callable[..., Any]:
    """`function`, of which the results' shapes are known, as one equation."""
    shapes, out_structure = jax.tree.flatten(results)
    types = tuple(map(_type, shapes))
    # A setting of the place where it is called, not of that where it is lowered.
    x64 = jax.config.jax_enable_x64

    def later(*arguments):
        leaves, structure = jax.tree.flatten(arguments)

        def flat(*leaves):
            with jax.enable_x64(x64):
                return jax.tree.leaves(function(*jax.tree.unflatten(structure, leaves)))

        return jax.tree.unflatten(out_structure, _later.bind(*leaves, function=flat, types=types))

    return later


def _type(result: jax.ShapeDtypeStruct) -> jax.core.ShapedArray:
    placed = {}
    if result.manual_axis_type is not None:  # inside `jax.shard_map`, see `manual_axes`
        placed = dict(sharding=result.sharding, manual_axis_type=result.manual_axis_type)
    return jax.core.ShapedArray(result.shape, result.dtype, result.weak_type, **placed)


_later = jax.extend.core.Primitive("traced_later")
_later.multiple_results = True


@_later.def_impl
def _call(*leaves, function, types):
    return function(*leaves)


@_later.def_abstract_eval
def _types(*leaves, function, types):
    return types


def _batch(leaves, axes, *, function, types):
    size = next(a.shape[k] for a, k in zip(leaves, axes, strict=True) if k is not None)
    mapped = jax.vmap(function, axes)
    types = tuple(jax.extend.core.unmapped_aval(size, 0, t) for t in types)
    return _later.bind(*leaves, function=mapped, types=types), (0,) * len(types)


def _jvp(primals, tangents, *, function, types):
    """Traced now: a program that is differentiated has more to it than this equation."""

    def instantiated(primal, tangent):
        if not isinstance(tangent, ad.Zero):
            return tangent
        if jnp.issubdtype(primal.dtype, jnp.inexact):
            return jnp.zeros_like(primal)
        return np.zeros(primal.shape, jax.dtypes.float0)

    return jax.jvp(function, primals, tuple(map(instantiated, primals, tangents)))


batching.primitive_batchers[_later] = _batch
ad.primitive_jvps[_later] = _jvp
mlir.register_lowering(_later, mlir.lower_fun(_call))
