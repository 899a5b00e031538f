"""How a single-scene function runs on a batch: all at once, or, on CPU, scene by scene.

A CPU is fastest on one scene whose arrays fit its cache, a GPU or TPU on one large program. Under
`jax.vmap`, nested too, a function made by `scene_by_scene` sees one flat batch of scenes and
chooses by the platform it is compiled for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def scene_by_scene(
    function: Callable[..., Any], at_once: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    """`function`, with a rule for `vmap`: a loop over scenes on CPU, else all at once.

    Args:
      function: of arrays of one scene, returns a pytree of arrays.
      at_once: of arrays with a leading scene axis, which is 1 where an array is shared by all
        scenes. None: `jax.vmap` of `function`.

    Returns:
      A function of the same arguments (arrays only). Not differentiable: for use inside rules.
    """

    def vmapped(*arrays):
        shared = [a.shape[0] == 1 for a in arrays]
        arrays = [a[0] if same else a for a, same in zip(arrays, shared, strict=True)]
        return jax.vmap(function, in_axes=[None if same else 0 for same in shared])(*arrays)

    def loop(*arrays):
        shared = [a.shape[0] == 1 for a in arrays]
        varying = [a for a, same in zip(arrays, shared, strict=True) if not same]

        def one(scene):
            scene = iter(scene)
            return function(
                *(a[0] if same else next(scene) for a, same in zip(arrays, shared, strict=True))
            )

        return lax.map(one, varying)

    @jax.custom_batching.custom_vmap
    def batched(*arrays):
        if max(a.shape[0] for a in arrays) == 1:
            return jax.tree.map(lambda a: a[None], function(*(a[0] for a in arrays)))
        return lax.platform_dependent(*arrays, cpu=loop, default=at_once or vmapped)

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

    def single(*arrays):
        outputs = batched(*(jnp.asarray(a)[None] for a in arrays))
        return jax.tree.map(lambda a: a[0], outputs)

    return single


def materialized(tree: Any) -> Any:
    """The same arrays, computed once and stored.

    XLA on CPU fuses what is cheap into every use of it: an index per pixel is then computed once
    per channel and again in each gather, without vector instructions. It also drops optimization
    barriers before it fuses. A conditional stops it.
    """
    leaves, structure = jax.tree.flatten(tree)
    integers = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.integer)]
    if not integers or integers[0].size == 0:
        return tree

    def store(marker, *leaves):
        keep = lambda *kept: kept  # noqa: E731
        never = lambda *kept: tuple(jnp.zeros_like(leaf) for leaf in kept)  # noqa: E731
        return lax.cond(_always(marker), keep, never, *leaves)

    def pass_on(marker, *leaves):
        return leaves

    stored = lax.platform_dependent(integers[0], *leaves, cpu=store, default=pass_on)
    return jax.tree.unflatten(structure, stored)


@jax.custom_batching.custom_vmap
def _always(index: jax.Array) -> jax.Array:
    """True, for indices are at least -1; but the compiler does not know."""
    return index.reshape(-1)[0] >= -1


@_always.def_vmap
def _always_for_batch(axis_size, in_batched, index):
    # One answer for the whole batch: a batched condition would become a selection.
    return _always(index), False
