"""Arrays inside `jax.shard_map`, whose types say over which axes of the mesh they vary.

What a loop carries, the branches of a choice, and an argument and its gradient have to agree in
that; the numbers from which a loop starts vary over none. Outside of `shard_map` all of this does
nothing.
"""

from __future__ import annotations

from typing import Any

import jax
from jax import lax


def varying_axes(*trees: Any) -> frozenset[str]:
    """All axes over which arrays of some pytrees vary."""
    leaves = jax.tree.leaves(trees)
    return frozenset().union(*(jax.typeof(a).manual_axis_type.varying for a in leaves))


def alike(tree: Any, *others: Any) -> Any:
    """The same arrays, varying over all axes over which one of them, or of the others, does.

    The gradient of an array that was the same on all devices is then summed over them.
    """
    axes = varying_axes(tree, others)
    if not axes:
        return tree

    def cast(a):
        missing = tuple(sorted(axes - varying_axes(a)))
        return lax.pcast(a, missing, to="varying") if missing else a

    return jax.tree.map(cast, tree)
