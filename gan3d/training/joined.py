"""Trees of parameters as one vector each, for what runs between the programs of a step.

A program pays for every array that it is given or returns, on the host and, where there are many
small ones, in kernels: a state of two networks, an average and two optimizers has over five hundred
of them. The optimizers and the average work on every number alike, so they work on vectors; the
networks see their parameters as they are. Whatever leaves the step, such as checkpoints, does too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from gan3d.training.state import TrainState

if TYPE_CHECKING:
    from jaxtyping import Array, Float


@flax.struct.dataclass
class Joined:
    """A pytree of arrays of one type, as a pytree with one leaf.

    Attributes:
      vector: all entries, leaf by leaf.
      structure: of the tree.
      shapes: of its leaves.
    """

    vector: Float[Array, " P"]
    structure: Any = flax.struct.field(pytree_node=False)
    shapes: tuple[tuple[int, ...], ...] = flax.struct.field(pytree_node=False)


def join(tree: Any) -> Joined:
    """Joins a tree of arrays of one type, flattened, in the order of the tree's leaves.

    Raises:
      ValueError: the arrays are of several types, or there are none.

    >>> joined = join({"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)})
    >>> print(joined.vector)
    [0. 0. 0. 1. 1. 1. 1. 1. 1.]
    >>> print(split(joined)["kernel"].shape)
    (2, 3)
    """
    leaves, structure = jax.tree.flatten(tree)
    types = {str(jnp.result_type(leaf)) for leaf in leaves}
    if len(types) != 1:
        raise ValueError(f"tree must have arrays of one type, got {sorted(types) or 'no arrays'}")
    # What is on the host stays there, for whoever puts it on several devices.
    library = np if all(isinstance(leaf, np.ndarray | np.generic) for leaf in leaves) else jnp
    vector = library.concatenate([library.ravel(leaf) for leaf in leaves])
    return Joined(vector, structure, tuple(jnp.shape(leaf) for leaf in leaves))


def split(joined: Joined) -> Any:
    """The tree that was joined."""
    # Its transpose is one concatenation; that of so many slices would be a sum of padded vectors.
    parts = jax.lax.split(joined.vector, [math.prod(shape) for shape in joined.shapes])
    leaves = [part.reshape(shape) for part, shape in zip(parts, joined.shapes, strict=True)]
    return jax.tree.unflatten(joined.structure, leaves)


def join_state(state: TrainState) -> TrainState:
    """The state with everything that has the form of a network's parameters joined."""
    networks = (state.generator_params, state.discriminator_params)
    forms = [jax.tree.structure(params) for params in networks]
    joinable = lambda tree: jax.tree.structure(tree) in forms  # noqa: E731
    joined = lambda tree: join(tree) if joinable(tree) else tree  # noqa: E731
    return jax.tree.map(joined, state, is_leaf=joinable)


@jax.jit
def split_all(tree: Any) -> Any:
    """A tree with all that is joined in it split."""
    joined = lambda part: isinstance(part, Joined)  # noqa: E731
    return jax.tree.map(lambda part: split(part) if joined(part) else part, tree, is_leaf=joined)
