"""Programs that are compiled ahead compute what the others do, and each is compiled once."""

from __future__ import annotations

import concurrent.futures
import threading

import jax
import jax.numpy as jnp
import pytest

from gan3d.training import ahead
from gan3d.training.ahead import compile_ahead, compilers
from gan3d.training.step import StepPrograms


@pytest.fixture
def pool():
    with compilers(num_threads=2) as pool:
        yield pool


class Counted:
    """A jitted function that counts how often it is lowered, and compiles where it is told to."""

    def __init__(self, function, compile=None):
        self.jitted, self.compile, self.count = jax.jit(function), compile, 0

    def lower(self, *arguments):
        self.count += 1
        lowered = self.jitted.lower(*arguments)
        return _Lowered(lowered, self.compile or lowered.compile)


class _Lowered:
    def __init__(self, lowered, compile):
        self.out_info, self.compile = lowered.out_info, compile


def programs(**used):
    return StepPrograms(**{**dict.fromkeys(StepPrograms._fields), **used})


def take(programs, penalise):
    drawn = programs.draw(jnp.arange(3.0))
    by = programs.penalised_gradients if penalise else programs.discriminator_gradients
    return programs.add(by(drawn), drawn)


def test_every_program_is_compiled_once_for_its_shapes(pool):
    draw, add = Counted(lambda x: (2 * x)[:2]), Counted(jnp.add)
    plain, penalised = Counted(lambda x: x + 1), Counted(lambda x: x - 1)
    given = programs(
        draw=draw, add=add, discriminator_gradients=plain, penalised_gradients=penalised
    )
    prepared = compile_ahead(given, take, (True, False), pool)
    assert [p.count for p in (draw, add, plain, penalised)] == [1, 1, 1, 1]
    assert take(prepared[True], True).tolist() == [-1.0, 3.0]
    assert take(prepared[False], False).tolist() == [1.0, 5.0]
    assert prepared[True].update_generator is None


def test_other_shapes_are_another_program(pool):
    add = Counted(jnp.add)

    def take(programs, kind):
        return programs.add(*(2 * [jnp.ones(3 if kind else 4)]))

    prepared = compile_ahead(programs(add=add), take, (True, False), pool)
    assert add.count == 2
    assert [len(take(prepared[kind], kind)) for kind in (True, False)] == [3, 4]


def test_one_step_may_use_a_program_for_several_shapes(pool):
    add = Counted(jnp.add)

    def take(programs, kind):
        pair = programs.add(jnp.ones(2), jnp.ones(2)), programs.add(jnp.ones(3), jnp.ones(3))
        return programs.add(*(2 * [pair[0]])), pair[1]

    prepared = compile_ahead(programs(add=add), take, (True,), pool)
    assert add.count == 2
    assert [x.tolist() for x in take(prepared[True], True)] == [[4.0, 4.0], [2.0, 2.0, 2.0]]


def test_programs_are_compiled_at_the_same_time(pool):
    """Each waits until both are being compiled."""
    both = threading.Barrier(2, timeout=60)

    def compile():
        both.wait()
        return lambda *arguments: "compiled"

    given = programs(add=Counted(jnp.add, compile), draw=Counted(jnp.sin, compile))
    prepared = compile_ahead(given, lambda p, kind: p.add(p.draw(1.0), 1.0), (True,), pool)
    assert prepared[True].add() == prepared[True].draw() == "compiled"


def test_what_the_compiler_raises_is_raised_by_the_step(pool):
    def compile():
        raise RuntimeError("out of registers")

    given = programs(draw=Counted(jnp.sin, compile))
    prepared = compile_ahead(given, lambda p, kind: p.draw(1.0), (True,), pool)
    with pytest.raises(RuntimeError, match="out of registers"):
        prepared[True].draw(1.0)


def test_what_has_not_been_begun_is_dropped_at_the_end():
    begun, may_end, compiled = threading.Barrier(3, timeout=60), threading.Event(), []

    def slow():
        begun.wait()
        may_end.wait(timeout=60)
        compiled.append("slow")

    given = programs(
        draw=Counted(jnp.sin, slow),
        image_gradients=Counted(jnp.cos, slow),
        add=Counted(jnp.add, lambda: compiled.append("never")),
    )

    def take(programs, kind):
        return programs.add(programs.draw(1.0), programs.image_gradients(1.0))

    with compilers(num_threads=2) as pool:
        prepared = compile_ahead(given, take, (True,), pool)
        begun.wait()  # both threads are busy
    may_end.set()
    with pytest.raises(concurrent.futures.CancelledError):
        prepared[True].add(1.0, 1.0)
    assert "never" not in compiled


def test_two_cores_compile_one_program_at_a_time(monkeypatch):
    monkeypatch.setattr(ahead.os, "cpu_count", lambda: 2)
    with compilers() as pool:
        assert pool is None
    monkeypatch.setattr(ahead.os, "cpu_count", lambda: 8)
    with compilers() as pool:
        assert pool._max_workers == 4
