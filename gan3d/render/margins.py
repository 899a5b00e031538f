"""Work at the few pixels that have a margin.

On CPU the pixels are listed first, window by window: margins are some 3% of an image. On other
devices every pixel is computed, most for nothing: lists would cost them more.

Shape letters: N pixels, R pixels of a window, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gan3d.render.batching import materialized
from gan3d.render.indexing import DROP, places, take, window_of
from gan3d.render.manual_axes import alike
from gan3d.render.platforms import platform_dependent

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


class Source(NamedTuple):
    """What a state was computed from, to compute it again at a few pixels.

    Attributes:
      compute: (variables, parts) -> state, pixel by pixel.
      parts: pytree of arrays with a row per pixel.
    """

    compute: Callable[[Any, Any], Float[Array, "N C"]]
    parts: Any


def add_at_margins(
    rows: Callable[..., Float[Array, "R C"]],
    room: int,
    variables: Any,
    constants: Any,
    state: Float[Array, "N C"],
    half_edge: Int[Array, "N"],
    source: Source | None = None,
) -> Float[Array, "N C"]:
    """state + rows(variables, constants, state, half_edge, pixel) where half_edge is not -1.

    Args:
      rows: of a list of pixels; pixel by pixel, and zero where half_edge is -1.
      room: pixels of a window.
      variables: pytree of arrays with gradients.
      constants: pytree of arrays without.
      state: a row per pixel.
      half_edge: whose margin each pixel sees, -1 for none.
      source: of the state. Where it is known, the gradient does not wait for all of the state.
    """
    variables, state = alike((variables, state), half_edge)
    compute, parts = source or Source(lambda _, state: state, state)

    @jax.custom_vjp
    def add(variables, constants, state, half_edge, parts):
        return platform_dependent(
            variables, constants, state, half_edge, cpu=listed, default=everywhere
        )

    everywhere = partial(add_everywhere, rows, room)

    def listed(variables, constants, state, half_edge):
        def one(pixel, inner, found, state):
            added = rows(variables, constants, take(state, inner), found, inner)
            return state.at[pixel].add(added, **DROP, unique_indices=True)

        return _over_windows(one, room, half_edge, state)

    def forward(*arguments):
        variables, constants, _, half_edge, parts = arguments
        return add(*arguments), (variables, constants, half_edge, parts)

    def backward(residuals, cotangent):
        choices = dict(cpu=backward_listed, default=backward_everywhere)
        g_variables, g_state = platform_dependent(*residuals, cotangent, **choices)
        return g_variables, None, g_state, None, None

    def backward_everywhere(variables, constants, half_edge, parts, cotangent):
        of = lambda variables, state: everywhere(variables, constants, state, half_edge)  # noqa: E731
        return jax.vjp(of, variables, compute(variables, parts))[1](cotangent)

    def backward_listed(variables, constants, half_edge, parts, cotangent):
        def one(pixel, inner, found, totals):
            of = lambda variables, here: rows(variables, constants, here, found, inner)  # noqa: E731
            state = compute(variables, jax.tree.map(lambda part: take(part, inner), parts))
            # Stored, or every use of a row would compute it again.
            _, pull_back = jax.vjp(of, variables, materialized(state, inner))
            total, g_state = totals
            listed = (pixel < half_edge.shape[0])[:, None]
            # Still the cotangent: no pixel is listed twice.
            g_variables, g_here = pull_back(jnp.where(listed, take(g_state, inner), 0))
            g_state = g_state.at[pixel].add(g_here, **DROP, unique_indices=True)
            return jax.tree.map(jnp.add, total, g_variables), g_state

        nothing = jax.tree.map(jnp.zeros_like, variables)
        return _over_windows(one, room, half_edge, (nothing, cotangent))

    add.defvjp(forward, backward)
    return add(variables, constants, state, half_edge, lax.stop_gradient(parts))


def add_everywhere(rows, room, variables, constants, state, half_edge, source=None):
    """`add_at_margins` at every pixel, without rules of its own: differentiable twice."""
    pixel = jnp.arange(state.shape[0], dtype=jnp.int32)
    return state + rows(variables, constants, state, half_edge, pixel)


def _over_windows(one: Callable[..., Any], room: int, half_edge: Int[Array, "N"], carry: Any):
    """Folds one(pixel, the same in range, half_edge there, carry) over lists of margin pixels."""
    size = half_edge.shape[0]
    present = half_edge >= 0
    place, total = places(present)

    def body(loop):
        first, carry = loop
        pixel = window_of(present, place, first, room)
        inner = jnp.minimum(pixel, size - 1)
        found = jnp.where(pixel < size, take(half_edge, inner), -1)
        return first + jnp.int32(room), one(pixel, inner, found, carry)

    more = lambda loop: loop[0] < total  # noqa: E731
    return lax.while_loop(more, body, alike((jnp.int32(0), carry), half_edge))[1]
