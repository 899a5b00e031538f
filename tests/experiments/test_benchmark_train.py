from __future__ import annotations

import dataclasses
import json
import time
import types

import jax
import numpy as np
import pytest
from saved_run import TINY

from experiments import benchmark_train as program
from experiments import flags as experiment_flags
from experiments import step_parts
from experiments.step_parts import Cost, Training, seconds_per_call, seconds_per_program
from experiments.step_report import (
    COMMUNICATION,
    PIECES,
    REST,
    STEP,
    all_reduce_milliseconds,
    arithmetic,
    breakdown,
    flops_per_step,
    format_report,
    scaling,
    summary,
)
from gan3d.training.step import StepPrograms

CONFIG = dataclasses.replace(
    TINY, resolution=8, surface_size=4, texture_size=4, background_size=4, batch=4,
    penalty_interval=2,
)  # fmt: skip
PROGRAMS = [name for name in StepPrograms._fields if name != "add"]
RENDERER = [step_parts.RENDERER_FORWARD, step_parts.RENDERER_BACKWARD]


def command(*arguments: str) -> int:
    return experiment_flags.run(program.main, ["benchmark_train", *arguments])


@pytest.fixture
def compilation_cache():
    """The program turns it off for good."""
    before = jax.config.jax_enable_compilation_cache
    yield
    jax.config.update("jax_enable_compilation_cache", before)


@dataclasses.dataclass
class Measured:
    result: dict
    lines: list[str]
    training: Training
    renderer: dict


@pytest.fixture(scope="module")
def measured():
    kept, lines = {}, []

    def keep(name, function):
        def kept_function(*arguments):
            kept[name] = function(*arguments)
            return kept[name]

        return kept_function

    with pytest.MonkeyPatch.context() as patch:
        for name in ("prepare_training", "prepare_renderer"):
            patch.setattr(program, name, keep(name, getattr(program, name)))
        result = program.benchmark(CONFIG, repeats=2, steps=1, peak_tflops=0.5, report=lines.append)
    return Measured(result, lines, kept["prepare_training"], kept["prepare_renderer"])


def test_every_part_is_reported(measured):
    result, lines = measured.result, measured.lines
    rows = {row["name"]: row["milliseconds"] for row in result["parts"]}
    assert len(rows) == 9
    assert sum(rows.values()) == pytest.approx(result["milliseconds_per_step"])
    assert result["images_per_second"] == pytest.approx(4000 / result["milliseconds_per_step"])
    assert result["steps"] == 2 and result["devices"] == jax.local_device_count()
    assert sorted(result["programs"]) == sorted(PROGRAMS)
    for numbers in result["programs"].values():
        assert numbers["compile_seconds"] > 0 and numbers["milliseconds"] > 0
        assert numbers["gigaflops"] > 0 and numbers["megabytes_per_device"] > 0
    assert "preset demo: 8x8, batch 4, 32 faces" in lines[0] and jax.__version__ in lines[0]
    compiled = [line.removeprefix("compiling: ") for line in lines if line.startswith("compiling")]
    assert sorted(compiled) == sorted(PROGRAMS + RENDERER)
    table = format_report(result)
    assert all(name in table for name in rows) and "% of 1" in table
    assert result["communication"]["gradient_megabytes"] > 0.01
    assert result["communication"]["milliseconds"] > 0


class Compiled:
    """A program that need not be compiled again."""

    def __init__(self, program):
        self.program = program

    def lower(self, *arguments):
        return self

    def compile(self):
        return self.program

    def cost_analysis(self):
        return {"flops": 1.0}


def test_accelerators_train_with_one_program_and_are_timed_in_pieces_too(measured, monkeypatch):
    """Here the CPU stands for them. Parts belong to the step in pieces, the rate to the other."""
    pieces = StepPrograms(*map(Compiled, measured.training.programs))
    monkeypatch.setattr(step_parts, "parallel_programs", lambda parts, devices: pieces)
    monkeypatch.setattr(step_parts, "_memory_bytes", lambda compiled: None)
    monkeypatch.setattr(program, "prepare_renderer", lambda *arguments: measured.renderer)
    monkeypatch.setattr(step_parts, "in_pieces", lambda config, devices: False)
    config, lines = dataclasses.replace(CONFIG, penalty_interval=1), []
    result = program.benchmark(config, repeats=1, steps=1, report=lines.append)
    whole, pieces = result["milliseconds_per_step"], result["milliseconds_in_pieces"]
    assert result["images_per_second"] == pytest.approx(4000 / whole) and whole != pieces
    assert sum(row["milliseconds"] for row in result["parts"]) == pytest.approx(pieces)
    assert f"compiling: {step_parts.WHOLE[True]}" in lines
    program_of_whole = result["programs"][step_parts.WHOLE[True]]
    assert program_of_whole["milliseconds"] is None and program_of_whole["compile_seconds"] > 0
    table = format_report(result).splitlines()
    (of_pieces,) = (line.split() for line in table if line.startswith(PIECES))
    (of_whole,) = (line.split() for line in table if line.startswith("step as one program"))
    assert of_pieces[-2] == "100.0" and float(of_whole[-3]) == pytest.approx(whole, abs=0.01)


def test_training_alternates_its_programs_and_starts_anew(measured):
    for _ in range(2):
        step = measured.training.start()
        assert [float(step()["r1"]) > 0 for _ in range(4)] == [True, False, True, False]
    step = measured.training.start(penalise=False)
    assert [float(step()["r1"]) for _ in range(2)] == [0, 0]


def test_programs_are_timed_in_the_steps_in_which_they_run(measured, monkeypatch):
    """Penalties on every second step: a program that runs half the time costs as much as always."""
    clock = [0.0]
    monkeypatch.setattr(step_parts.time, "perf_counter", lambda: clock[0])

    def slow(seconds):
        def run(*arguments):
            clock[0] += seconds

        return run

    fields = {name: slow(0.01) for name in StepPrograms._fields}
    fields |= {"draw": slow(0.02), "penalised_gradients": slow(0.05)}
    calls = []

    class Fake(Training):
        def start(self, penalise=None, programs=None):
            def step():
                calls.append(len(calls))
                programs.draw()
                if len(calls) % 2:
                    programs.penalised_gradients()
                else:
                    programs.discriminator_gradients()

            return step

    fake = Fake(*measured.training)._replace(programs=StepPrograms(**fields))
    seconds = seconds_per_program(fake, 4)
    assert len(calls) == 5
    expected = {"draw": 0.02, "penalised_gradients": 0.05, "discriminator_gradients": 0.01}
    assert seconds == pytest.approx(expected)


def test_renderer_draws_one_device_s_share(measured):
    images, _ = measured.renderer[step_parts.RENDERER_FORWARD]()
    assert images.shape == (CONFIG.batch // jax.local_device_count(), 8, 8, 3)


def test_renderer_s_backward_pass_is_the_gradient_of_its_forward_pass(measured):
    """Central differences of sum(images * cotangent), in a random direction of the textures."""
    forward, backward = (measured.renderer[name] for name in RENDERER)
    (drawn,), (_, cotangent) = forward.args, backward.args
    scenes, views = drawn
    ((gradient, _),) = backward()
    direction = np.random.default_rng(0).normal(size=scenes.texture.shape).astype(np.float32)

    def along(distance):
        moved = scenes._replace(texture=scenes.texture + np.float32(distance) * direction)
        return float((np.float64(forward.func((moved, views))[0]) * np.float64(cotangent)).sum())

    expected = (along(1e-2) - along(-1e-2)) / 2e-2
    assert abs(expected) > 1e-3
    assert float(np.vdot(gradient.texture, direction)) == pytest.approx(expected, rel=0.01)


def test_breakdown_of_given_times():
    names = [STEP, "draw", RENDERER[0], "discriminator_gradients", "penalised_gradients"]
    names += ["image_gradients", RENDERER[1], "generator_gradients"]
    names += ["update_discriminator", "update_generator"]
    times = [100.0, 15, 10, 20, 52, 8, 15, 22, 2, 3]
    milliseconds = dict(zip(names, times, strict=True))
    rows = breakdown(milliseconds, penalty_interval=4, batch=20)
    assert [row["milliseconds"] for row in rows] == [5, 10, 20, 8, 8, 15, 7, 5, 22]
    assert [row["percent"] for row in rows] == [5, 10, 20, 8, 8, 15, 7, 5, 22]
    assert [row["microseconds_per_image"] for row in rows[:3]] == [250, 500, 1000]
    assert rows[3]["name"] == "gradient penalties, every 4 steps" and rows[-1]["name"] == REST
    assert sum(row["percent"] for row in breakdown(milliseconds | {STEP: 50.0}, 4, 20)) == 100


def test_breakdown_with_penalties_on_every_step():
    names = [STEP, "draw", RENDERER[0], "penalised_gradients", "image_gradients", RENDERER[1]]
    names += ["generator_gradients", "update_discriminator", "update_generator"]
    rows = breakdown(dict(zip(names, [60.0, 3, 2, 9, 4, 1, 5, 6, 7], strict=True)), 1, 4)
    assert [row["milliseconds"] for row in rows] == [1, 2, 9, 4, 1, 4, 13, 26]


def costs(**flops):
    return {name: Cost(2.0, flops.get(name, 0.0), None) for name in PROGRAMS}


def training_with(costs, **changes):
    parts = types.SimpleNamespace(config=dataclasses.replace(CONFIG, **changes))
    return Training(parts, None, costs, None, None, None)


def test_summary_takes_medians():
    given = costs() | {"draw": Cost(3.0, 7e9, 4_000_000)}
    seconds = {name: [0.001] for name in (*PROGRAMS, *RENDERER, COMMUNICATION)}
    seconds |= {STEP: [0.1, 0.02, 0.01], "draw": [0.03, 0.04, 0.05]}
    result = summary(training_with(given), seconds, 2, gradient_bytes=10**6, peak_tflops=0.7)
    assert result["images_per_second"] == pytest.approx(200)
    assert result["quartiles"] == pytest.approx([15, 60])
    assert result["programs"]["draw"] == pytest.approx(
        {"milliseconds": 40, "compile_seconds": 3, "gigaflops": 7, "megabytes_per_device": 4}
    )
    assert result["programs"]["update_generator"]["megabytes_per_device"] is None
    numbers = result["arithmetic"]
    assert numbers["gigaflops_per_step"] == pytest.approx(7)
    assert numbers["teraflops_per_second"] == pytest.approx(0.35)
    assert numbers["percent_of_peak"] == pytest.approx(25)


def test_scaling_model():
    """A ring of four sends one and a half times the bytes."""
    assert all_reduce_milliseconds(2 * 10**6, 4, gigabytes_per_second=10) == pytest.approx(0.3)
    rows = {row["name"]: row for row in scaling(100.0, 10**9)}
    slow, fast = rows["100 Gb/s network"], rows["NVLink 4 (H100, H200)"]
    assert slow["milliseconds"][0] == pytest.approx(80)
    assert slow["percent"][0] == pytest.approx(100 / 1.8)
    assert fast["percent"][-1] > 95 > slow["percent"][-1]


def test_operations_of_a_mean_step():
    """Penalties on every third step; of three microbatches two are drawn again."""
    given = costs(draw=1.0, penalised_gradients=30.0, discriminator_gradients=6.0)
    assert flops_per_step(training_with(given, penalty_interval=3)) == pytest.approx(1 + 10 + 4)
    three = training_with(given, penalty_interval=3, microbatches=3)
    assert flops_per_step(three) == pytest.approx(5 + 30 + 12)
    # The same once more as one program, which is another way to take the step, not a part of it.
    both = given | {step_parts.WHOLE[True]: Cost(1.0, None, None)}
    assert flops_per_step(training_with(both, penalty_interval=3)) == pytest.approx(1 + 10 + 4)
    uncounted = given | {"draw": Cost(1.0, None, None)}
    assert flops_per_step(training_with(uncounted)) is None


def test_arithmetic_without_a_count_or_a_peak():
    assert arithmetic(None, 1.0, 1, 1.0) is None
    assert arithmetic(1e9, 1.0, 1)["percent_of_peak"] is None


def test_the_first_call_of_a_turn_is_not_timed():
    waits = [0.5, 0.0, 0.0, 0.0]
    assert seconds_per_call(lambda: time.sleep(waits.pop(0)), 3) < 0.1
    assert not waits


def test_json_is_what_was_measured(measured, tmp_path, capsys, monkeypatch, compilation_cache):
    monkeypatch.setattr(program, "benchmark", lambda *arguments: measured.result)
    path = tmp_path / "new" / "training.json"
    assert command(f"--json={path}") == 0
    result = json.loads(path.read_text())
    assert result == measured.result and result["config"]["penalty_interval"] == 2
    assert str(path) in capsys.readouterr().out


def test_presets_and_flags_reach_the_benchmark(monkeypatch, compilation_cache):
    given = []

    class Stop(Exception):
        pass

    def stop(*arguments):
        given.extend(arguments)
        raise Stop

    monkeypatch.setattr(program, "benchmark", stop)
    with pytest.raises(Stop):
        command(
            "--preset=faces64", "--batch=8", "--steps=3", "--repeats=2", "--peak_tflops=60",
            "--lock=turns",
        )  # fmt: skip
    config, *rest, _ = given
    assert (config.resolution, config.batch, config.preset) == (64, 8, "faces64")
    assert rest == [2, 3, 60.0, "turns"]


def test_wrong_flags_give_one_line_and_exit_code_2(capsys):
    cases = {
        "--repeats=0": "--repeats must be at least 1, got 0",
        "--steps=-1": "--steps must be at least 1, got -1",
        "--peak_tflops=0": "--peak_tflops must be positive and finite, got 0.0",
        "--peak_tflops=nan": "--peak_tflops must be positive and finite, got nan",
        "--batch=3": "batch must be divisible by the number of devices, 2, got 3",
        "--resolution=33": "resolution must be one of",
        "--preset=other": "--preset",
        "--unknown=1": "unknown",
    }
    for argument, message in cases.items():
        assert command(argument) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
