"""Compiles the programs of a step side by side, before the first step.

One by one they would be compiled as the first steps come to them, and XLA spends most of that time
in one thread: a GPU with a machine of many cores around it would wait for the sum of them instead
of for the slowest.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gan3d.training.step import StepPrograms


@contextlib.contextmanager
def compilers(num_threads: int | None = None) -> Iterator[concurrent.futures.Executor | None]:
    """Threads that compile; programs that have not been begun when the context ends are dropped.

    So that a run that is interrupted does not wait for them.

    Args:
      num_threads: programs compiled at the same time; None = half the number of cores, since the
        compiler has some threads of its own, and nobody where that is one: on two cores a start
        took a sixth longer with two programs at a time.
    """
    num_threads = num_threads or (os.cpu_count() or 1) // 2
    if num_threads < 2:
        yield None
        return
    pool = concurrent.futures.ThreadPoolExecutor(num_threads)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def compile_ahead(
    programs: StepPrograms,
    take: Callable[[StepPrograms, bool], Any],
    kinds: Iterable[bool],
    pool: concurrent.futures.Executor,
) -> dict[bool, StepPrograms]:
    """Starts to compile what steps will run, and returns before that is done.

    Args:
      programs: compiled functions of JAX, which have `lower`.
      take: takes a step with given programs, with penalties or without. It is called with programs
        that return shapes instead of arrays.
      kinds: of the steps to prepare for, in the order in which they come.
      pool: where to compile, see `compilers`.

    Returns:
      By kind, programs that wait until they are compiled, raise what the compiler raised, and take
      only arguments of the shapes and types that they were compiled for.
    """
    compiling: dict[Any, tuple[concurrent.futures.Future, Any]] = {}

    def lowered(name: str, used: dict[Any, concurrent.futures.Future]):
        def lower(*arguments):
            signature = _signature(arguments)
            if (name, signature) not in compiling:
                # Traced here, in turn: that is Python's work, and reads this thread's settings.
                program = getattr(programs, name).lower(*arguments)
                compiling[name, signature] = pool.submit(program.compile), program.out_info
            used[signature], shapes = compiling[name, signature]
            return shapes

        return lower

    def prepared(kind: bool) -> StepPrograms:
        used: dict[str, dict[Any, concurrent.futures.Future]] = {n: {} for n in programs._fields}
        take(StepPrograms(*itertools.starmap(lowered, used.items())), kind)
        return StepPrograms(*map(_when_compiled, used.values()))

    return {kind: prepared(kind) for kind in kinds}


def compile_whole_ahead(
    programs: Mapping[bool, Callable[..., Any]],
    arguments: Sequence[Any],
    pool: concurrent.futures.Executor,
) -> dict[bool, Callable[..., Any]]:
    """The same for steps that are one program each.

    Args:
      programs: compiled functions of JAX by kind of step, the first needed first.
      arguments: their shapes and types.
      pool: where to compile, see `compilers`.
    """
    return {
        kind: _waiting(pool.submit(program.lower(*arguments).compile))
        for kind, program in programs.items()
    }


def _when_compiled(
    by_signature: dict[Any, concurrent.futures.Future],
) -> Callable[..., Any] | None:
    """A program for what it was lowered for; None if that is nothing."""
    if len(by_signature) <= 1:
        # Without a look at the arguments, of which there may be hundreds.
        return next((_waiting(future) for future in by_signature.values()), None)
    return lambda *arguments: by_signature[_signature(arguments)].result()(*arguments)


def _waiting(future: concurrent.futures.Future) -> Callable[..., Any]:
    return lambda *arguments: future.result()(*arguments)


def _signature(arguments: Any) -> tuple[Any, ...]:
    leaves, structure = jax.tree.flatten(arguments)
    return structure, tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
