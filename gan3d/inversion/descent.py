"""Gradient descent through the renderer, of many pictures side by side.

Adam is elementwise: the pictures of a batch do not see one another, they only share a program and
the decision when to stop.

Shape letters: N pictures, R their side.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan3d.inversion.losses import pyramid_distance
from gan3d.inversion.unknowns import Model, Priors, Unknowns, prior_term, scene_at
from gan3d.scene import render_scene
from gan3d.training.assemble import Parts

if TYPE_CHECKING:
    from jaxtyping import Array, Float

LOOK_STEPS = 20  # between two looks at whether it still gets better
_FLOOR = 1e-3  # of the distance: an eighth of a step of 8 bits
_LAST_RATE = 0.05  # part of the rates that is left in the end
_LEAST_FACTOR = 1 / 8  # of the rates, below which there is nothing left to gain


class Descent(NamedTuple):
    """Unknowns [N] under way, and Adam's moments."""

    unknowns: Unknowns
    moments: Any


class Problem(NamedTuple):
    """What agrees with what.

    Attributes:
      model: whose scenes are drawn.
      params: of its generator.
      priors: what keeps them there.
      targets: pictures, colours in [-1, 1].
    """

    model: Model
    params: Any
    priors: Priors
    targets: Float[Array, "N R R 3"]


def descend(
    problem: Problem,
    unknowns: Unknowns,
    rates: Unknowns,
    steps: int,
    tolerance: float,
    report: Callable[[int, float], None] = lambda step, distance: None,
) -> tuple[Unknowns, Float[np.ndarray, "N"]]:
    """Steps of Adam on N pictures at once.

    The rates fall along a cosine, and by a half whenever `LOOK_STEPS` steps have made the mean
    distance less by no more than `tolerance` of it; when that leaves less than an eighth, it stops.

    Args:
      problem: the pictures and the model.
      unknowns: [N], where to start.
      rates: step sizes, numbers in the place of arrays; what has 0 stays.
      steps: at most.
      tolerance: see above.
      report: called at every look with the steps done and the mean distance.

    Returns:
      Unknowns [N], and their distances from the pictures, see `pyramid_distance`.
    """
    step = make_step(problem.model.parts, problem.targets.shape[1])
    descent = Descent(unknowns, _adam().init(unknowns))
    factor, before = 1.0, math.inf
    for done in range(steps):
        cosine = _LAST_RATE + (1 - _LAST_RATE) * (1 + math.cos(math.pi * done / steps)) / 2
        descent, distances = step(problem, descent, _scaled(rates, factor * cosine))
        if (done + 1) % LOOK_STEPS == 0:
            now = float(distances.mean())
            report(done + 1, now)
            if now > (1 - tolerance) * before:
                factor /= 2
            before = min(now, before)
        if factor < _LEAST_FACTOR:
            break
    distances = step(problem, descent, _scaled(rates, 0.0))[1]
    return descent.unknowns, np.asarray(distances)


def _scaled(rates: Unknowns, factor: float) -> Unknowns:
    return jax.tree.map(lambda rate: jnp.float32(factor * rate), rates)


# Bounded, because every entry keeps its compiled program alive.
@functools.lru_cache(maxsize=8)
def make_step(
    parts: Parts, resolution: int
) -> Callable[[Problem, Descent, Unknowns], tuple[Descent, Float[Array, "N"]]]:
    """(problem, descent, rates) -> descent after a step, distances before it.

    Rates and priors are arguments: what moves, and how far, is decided without another program.
    """
    stage = parts.stage.at_resolution(resolution)

    def loss(unknowns, target, space, priors, params):
        model = Model(parts, space)
        picture = render_scene(scene_at(model, params, unknowns), unknowns.view, stage).image
        distance = pyramid_distance(picture, target)
        # The logarithm of a distance is the likelihood of absolute errors of unknown scale: what
        # the generator cannot show makes the priors count for more, and in the end they yield.
        return jnp.log(distance + _FLOOR) + prior_term(model, priors, unknowns), distance

    @jax.jit
    def step(params, space, priors, targets, descent, rates):
        slope = jax.vmap(jax.grad(loss, has_aux=True), (0, 0, None, None, None))
        gradients, distances = slope(descent.unknowns, targets, space, priors, params)
        directions, moments = _adam().update(gradients, descent.moments)
        move = lambda x, direction, rate: x - rate * direction  # noqa: E731
        unknowns = jax.tree.map(move, descent.unknowns, directions, rates)
        return Descent(unknowns, moments), distances

    def of_problem(problem, descent, rates):
        space, params = problem.model.space, problem.params
        return step(params, space, problem.priors, problem.targets, descent, rates)

    return of_problem


def _adam() -> optax.GradientTransformation:
    return optax.scale_by_adam(b1=0.9, b2=0.99)
