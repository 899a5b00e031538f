"""A differentiable function that runs scene by scene, backward too, where that is faster.

`jax.grad` of a `vmap` runs each operation for the whole batch, forward and again backward; on a CPU
the arrays in between leave the cache. Here one scene goes through all operations before the next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gan3d.render.batching import scene_by_scene


def differentiable_by_scene(function: Callable[[Any, Any], tuple[Any, Any]]) -> Callable[..., Any]:
    """`function`, forward and backward scene by scene under `vmap` on CPU.

    Args:
      function: (variables, constants) of one scene, both pytrees of arrays, returns (floating
        arrays, other arrays). Variables are floating and may be differentiated, in reverse mode,
        also twice; constants are not.

    Returns:
      The same function.
    """
    traced: dict[str, Any] = {}  # structures, known as soon as the forward pass has been traced

    def forward_of_scene(variables, constants):
        outputs, pull_back, others = jax.vjp(
            lambda variables: function(variables, constants), variables, has_aux=True
        )
        residuals, traced["pull_back"] = jax.tree.flatten(pull_back)
        return outputs, others, residuals

    def backward_of_scene(residuals, cotangent):
        return jax.tree.unflatten(traced["pull_back"], residuals)(cotangent)[0]

    @jax.custom_vjp
    def run(variables, constants):
        return forward(variables, constants)[0]

    def forward(variables, constants):
        outputs, others, residuals = _fast(forward_of_scene, variables, constants)
        return (outputs, others), residuals

    def backward(residuals, cotangent):
        return _fast(backward_of_scene, residuals, cotangent[0]), None

    run.defvjp(forward, backward)

    def call(variables, constants):
        # Copies: custom_jvp refuses a NumPy array that `vmap` maps over inside `jit`.
        return run(jax.tree.map(jnp.array, variables), constants)

    return call


def _fast(function, *trees):
    """Scene by scene; a derivative of it, hence a second one, is that of the plain function."""
    leaves, structure = jax.tree.flatten(trees)

    def flat(*leaves):
        return function(*jax.tree.unflatten(structure, leaves))

    @jax.custom_jvp
    def run(*leaves):
        return scene_by_scene(flat)(*leaves)

    @run.defjvp
    def _(primals, tangents):
        return jax.jvp(flat, primals, tangents)

    return run(*(jnp.array(leaf) for leaf in leaves))
