"""How a single-scene function runs on a batch: all at once, or, on CPU, scene by scene.

A CPU is fastest on one scene whose arrays fit its cache, a GPU or TPU on one large program. Under
`jax.vmap`, nested too, a function made by `scene_by_scene` sees one flat batch of scenes and
chooses by the platform it is compiled for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan3d.render.manual_axes import alike
from gan3d.render.platforms import platform_dependent

# Bounded, because every entry keeps its traces alive. Of static arguments, which are hashable:
# programs that draw with the same settings then share the traces of what they draw with.
traced_once = lru_cache(maxsize=64)

# Called with a value, it returns that value.
Keep = Callable[[Any], Any]


def scene_by_scene(
    function: Callable[..., Any],
    at_once: Callable[..., Any] | None = None,
    *,
    store_indices: bool = False,
) -> Callable[..., Any]:
    """`function`, with a rule for `vmap`: a loop over scenes on CPU, else all at once.

    Args:
      function: of arrays of one scene, returns a pytree of arrays.
      at_once: of arrays with a leading scene axis, which is 1 where an array is shared by all
        scenes. None: `jax.vmap` of `function`.
      store_indices: in the loop, copy each scene's arrays of integers (of at least -1) once, where
        every use would slice the batch's anew: worth it where there are many uses.

    Returns:
      A function of the same arguments (arrays only). Not differentiable: for use inside rules.
    """
    # Traced once and then spliced in, however often the rules of a transformed program ask for it.
    traced = jax.jit(function, inline=True)

    def function(*arrays):
        # JAX's rule for vmap calls in an empty mesh and others in none, two contexts for its cache.
        with jax.sharding.use_abstract_mesh(jax.sharding.get_abstract_mesh()):
            return traced(*arrays)

    def vmapped(*arrays):
        shared = [a.shape[0] == 1 for a in arrays]
        arrays = [a[0] if same else a for a, same in zip(arrays, shared, strict=True)]
        return jax.vmap(function, in_axes=[None if same else 0 for same in shared])(*arrays)

    def loop(*arrays):
        shared = [a.shape[0] == 1 for a in arrays]
        varying = [a for a, same in zip(arrays, shared, strict=True) if not same]

        def one(scene):
            scene = iter(_with_stored_indices(scene) if store_indices else scene)
            return function(
                *(a[0] if same else next(scene) for a, same in zip(arrays, shared, strict=True))
            )

        return lax.map(one, varying)

    @jax.custom_batching.custom_vmap
    def batched(*arrays):
        if max(a.shape[0] for a in arrays) == 1:
            return jax.tree.map(lambda a: a[None], function(*(a[0] for a in arrays)))
        return platform_dependent(*arrays, cpu=loop, default=at_once or vmapped)

    @batched.def_vmap
    def _merge_axes(axis_size, in_batched, *arrays):
        # Leading axes: [axis_size, size or 1] where mapped, [size or 1] where not.
        size = max(a.shape[int(mapped)] for a, mapped in zip(arrays, in_batched, strict=True))

        def merge(a, mapped):
            if not mapped:
                if a.shape[0] == 1:
                    return a  # shared by all scenes
                a = jnp.broadcast_to(a, (axis_size, *a.shape))
            a = jnp.broadcast_to(a, (axis_size, size, *a.shape[2:]))
            return a.reshape(axis_size * size, *a.shape[2:])

        merged = [merge(a, mapped) for a, mapped in zip(arrays, in_batched, strict=True)]
        outputs = batched(*merged)
        split = jax.tree.map(lambda a: a.reshape(axis_size, size, *a.shape[1:]), outputs)
        return split, jax.tree.map(lambda _: True, split)

    # One program where it is called without `jit`, instead of one per operation.
    @partial(jax.jit, inline=True)
    def single(*arrays):
        outputs = batched(*(a[None] for a in alike([jnp.asarray(a) for a in arrays])))
        return jax.tree.map(lambda a: a[0], outputs)

    return single


def differentiable_scene_by_scene(
    function: Callable[[Any, Any, Keep], Any], smooth: Callable[[Any, Any, Keep], Any]
) -> Callable[[Any, Any], Any]:
    """`function` and its gradient, each run `scene_by_scene`.

    For the gradient the arguments are kept, and what the function passes to `keep`; the rest of
    the function is computed again.

    Args:
      function: (variables, constants, keep) -> pytree; variables and constants are pytrees of
        arrays of one scene; variables have gradients, in reverse mode.
      smooth: the same function, and differentiable any number of times: its derivatives are used
        for those of the gradient.

    Returns:
      A function of variables and constants, differentiable in the variables: in reverse mode, and
      its gradient in both modes.
    """

    @jax.custom_vjp
    def drawn(variables, constants):
        return draw(variables, constants)[0]

    def forward(variables, constants):
        picture, kept = draw_and_keep(variables, constants)
        return picture, (variables, constants, kept)

    def backward(residuals, cotangent):
        variables, constants, kept = residuals
        return pull_back(variables, copies(cotangent), constants, kept), None

    def with_kept(variables, constants):
        kept = []

        def keep(value):
            kept.append(value)
            return value

        return function(variables, constants, keep), kept

    def pulled(variables, cotangent, constants, kept):
        kept = iter(kept)

        def recalling(variables):
            return function(variables, constants, lambda value: _recalled(value, next(kept)))

        return jax.vjp(recalling, variables)[1](cotangent)[0]

    smoothly = partial(smooth, keep=_as_is)

    def with_smooth_tangents(draw):
        @draw.defjvp
        def _draw_jvp(primals, tangents):
            picture, kept = draw(*primals)
            of = lambda variables: smoothly(variables, primals[1])  # noqa: E731
            tangent = jax.jvp(of, primals[:1], tangents[:1])[1]
            # What is kept says nothing that the variables do not say.
            return (picture, kept), (tangent, jax.tree.map(_no_tangent, kept))

        return draw

    plain = _tree_scene_by_scene(lambda *arguments: (function(*arguments, _as_is), []))
    draw = with_smooth_tangents(jax.custom_jvp(plain))
    draw_and_keep = with_smooth_tangents(jax.custom_jvp(_tree_scene_by_scene(with_kept)))
    pull_back = jax.custom_jvp(_tree_scene_by_scene(pulled, store_indices=True))

    @pull_back.defjvp
    def _pull_back_jvp(primals, tangents):
        constants = primals[2]

        def of(variables, cotangent):
            smooth_here = lambda variables: smoothly(variables, constants)  # noqa: E731
            return jax.vjp(smooth_here, variables)[1](cotangent)[0]

        tangent = jax.jvp(of, primals[:2], tangents[:2])[1]
        return pull_back(*primals), tangent

    drawn.defvjp(forward, backward)
    # Copies: NumPy arrays that `vmap` maps over inside `jit` would be refused by custom_jvp.
    copies = lambda tree: jax.tree.map(jnp.array, tree)  # noqa: E731
    return lambda variables, constants: drawn(*alike(copies((variables, constants))))


def _as_is(value):
    return value


@jax.custom_vjp
def _recalled(computed, kept):
    """What was kept, with the gradient of what would be computed again."""
    return kept


_recalled.defvjp(lambda computed, kept: (kept, None), lambda _, cotangent: (cotangent, None))


def _no_tangent(value):
    if jnp.issubdtype(value.dtype, jnp.inexact):
        return jnp.zeros_like(value)
    return np.zeros(value.shape, jax.dtypes.float0)


def _tree_scene_by_scene(function, store_indices=False):
    @cache
    def of_leaves(structure):
        on_leaves = lambda *leaves: function(*jax.tree.unflatten(structure, leaves))  # noqa: E731
        return scene_by_scene(on_leaves, store_indices=store_indices)

    def run(*arguments):
        leaves, structure = jax.tree.flatten(arguments)
        return of_leaves(structure)(*leaves)

    return run


def materialized(tree: Any, marker: jax.Array | None = None) -> Any:
    """The same arrays, computed once and stored.

    XLA on CPU fuses what is cheap into every use of it: an index per pixel is then computed once
    per channel and again in each gather, without vector instructions. It also drops optimization
    barriers before it fuses. A loop stops it, even one that never turns; the arrays that it carries
    stay where they are, where a conditional would copy them.

    Args:
      tree: of arrays, or static integers, which stay.
      marker: integers of at least -1, none of which the compiler can foresee; of arrays with one
        marker from outside of a loop the condition is computed once. None: the first array of
        integers in the tree.
    """
    everything, structure = jax.tree.flatten(tree)
    leaves = [leaf for leaf in everything if not isinstance(leaf, int)]
    if marker is None:
        integers = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.integer)]
        marker = integers[0] if integers else None
    if marker is None or marker.size == 0:
        return tree

    def pass_on(marker, *leaves):
        return leaves

    stored = iter(platform_dependent(*alike((marker, *leaves)), cpu=_store, default=pass_on))
    return jax.tree.unflatten(
        structure, [leaf if isinstance(leaf, int) else next(stored) for leaf in everything]
    )


@jax.custom_jvp
def _store(marker: jax.Array, *leaves: jax.Array) -> tuple[jax.Array, ...]:
    """The leaves, carried by a loop that never turns, which the compiler does not know."""
    turns = jnp.logical_not(_always(marker))
    return tuple(lax.while_loop(_turns, _turn, (turns, *leaves))[1:])


def _turns(carry):
    return carry[0]


def _turn(carry):
    return alike((jnp.array(False), *_others(*carry[1:])), carry)


@_store.defjvp
def _store_jvp(primals, tangents):
    return _store(*primals), tuple(tangents[1:])


def _others(*leaves: jax.Array) -> tuple[jax.Array, ...]:
    """Other arrays of these shapes and types: each the next of its kind, for which nothing has to
    be compiled, or zeros."""
    others = []
    for k, leaf in enumerate(leaves):
        alike = [a for a in (*leaves[k + 1 :], *leaves[:k]) if a.aval == leaf.aval]
        others.append(alike[0] if alike else jnp.zeros_like(leaf))
    return tuple(others)


def _with_stored_indices(arrays: list[jax.Array]) -> list[jax.Array]:
    """The same arrays, those of integers `materialized`."""
    is_index = [jnp.issubdtype(a.dtype, jnp.integer) for a in arrays]
    stored = iter(materialized([a for a, index in zip(arrays, is_index, strict=True) if index]))
    return [next(stored) if index else a for a, index in zip(arrays, is_index, strict=True)]


@jax.custom_batching.custom_vmap
def _always(index: jax.Array) -> jax.Array:
    """True, for indices are at least -1; but the compiler does not know."""
    return index.reshape(-1)[0] >= -1


@_always.def_vmap
def _always_for_batch(axis_size, in_batched, index):
    # One answer for the whole batch: a batched condition would become a selection.
    return _always(index), False
