from __future__ import annotations

import dataclasses
import json
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from saved_run import TINY

from experiments import benchmark_train as program
from experiments import flags as experiment_flags
from experiments import step_parts
from experiments.step_parts import Program, Training, seconds_per_call
from experiments.step_report import REST, STEP, arithmetic, breakdown, format_report, summary

CONFIG = dataclasses.replace(
    TINY, resolution=8, surface_size=4, texture_size=4, background_size=4, batch=4,
    penalty_interval=2,
)  # fmt: skip
PARTS = [
    step_parts.GENERATOR_FORWARD,
    step_parts.RENDERER_FORWARD,
    step_parts.DISCRIMINATOR,
    step_parts.DISCRIMINATOR_PENALISED,
    step_parts.IMAGE_GRADIENT,
    step_parts.RENDERER_BACKWARD,
    step_parts.GENERATOR_BACKWARD,
]


def command(*arguments: str) -> int:
    return experiment_flags.run(program.main, ["benchmark_train", *arguments])


def light_step(parts, axis_name, penalise):
    """In place of the real step, which takes far longer to compile than all its parts together."""

    def step(state, images, key):
        mean = jax.lax.pmean(images.astype(jnp.float32).mean(), axis_name)
        state = state.replace(images_seen=state.images_seen + parts.config.batch)
        return state, {"mean": mean, "penalised": jnp.float32(penalise), "seen": state.images_seen}

    return step


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
    calls: dict


@pytest.fixture(scope="module")
def measured():
    kept, lines = {}, []

    def keep(name, function):
        def kept_function(*arguments):
            kept[name] = function(*arguments)
            return kept[name]

        return kept_function

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_parts, "make_step", light_step)
        for name in ("prepare_training", "prepare_parts"):
            patch.setattr(program, name, keep(name, getattr(program, name)))
        result = program.benchmark(CONFIG, repeats=2, steps=1, peak_tflops=0.5, report=lines.append)
    return Measured(result, lines, kept["prepare_training"], kept["prepare_parts"])


def test_every_part_is_reported(measured):
    result, lines = measured.result, measured.lines
    rows = {row["name"]: row["milliseconds"] for row in result["parts"]}
    assert len(rows) == 8
    assert all(time > 0 for name, time in rows.items() if name != REST)
    assert sum(rows.values()) == pytest.approx(result["milliseconds_per_step"])
    assert result["images_per_second"] == pytest.approx(4000 / result["milliseconds_per_step"])
    assert result["steps"] == 2 and result["devices"] == jax.local_device_count()
    for numbers in result["programs"].values():
        assert numbers["compile_seconds"] > 0 and numbers["milliseconds"] > 0
        assert numbers["gigaflops"] > 0 and numbers["megabytes_per_device"] > 0
    assert "preset demo: 8x8, batch 4, 32 faces" in lines[0] and jax.__version__ in lines[0]
    assert [line for line in lines if line.startswith("compiling")] == [
        "compiling: step with penalties",
        "compiling: step without penalties",
        *(f"compiling: {name}" for name in PARTS),
    ]
    table = format_report(result)
    assert all(name in table for name in rows) and "% of 1" in table


def test_training_alternates_its_programs_and_starts_anew(measured):
    for _ in range(2):
        step = measured.training.start()
        metrics = [step() for _ in range(4)]
        assert [float(m["penalised"]) for m in metrics] == [1, 0, 1, 0]
        assert [int(m["seen"]) for m in metrics] == [4, 8, 12, 16]
    step = measured.training.start(penalise=False)
    assert [float(step()["penalised"]) for _ in range(2)] == [0, 0]
    assert float(metrics[0]["mean"]) == pytest.approx(measured.training.images.mean(), rel=1e-5)


def test_parts_get_one_device_s_share(measured):
    images, _ = measured.calls[step_parts.RENDERER_FORWARD]()
    assert images.shape == (CONFIG.batch // jax.local_device_count(), 8, 8, 3)


def test_backward_parts_chain_to_the_gradient_of_the_forward_parts(measured):
    """Central differences of sum(images * cotangent), in a random direction of the parameters."""
    calls = measured.calls
    generator, renderer = (calls[name] for name in PARTS[:2])
    params, latents = generator.args
    _, cotangent = calls[step_parts.IMAGE_GRADIENT]()
    (gradient,) = calls[step_parts.GENERATOR_BACKWARD]()
    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), params)

    def along(distance):
        moved = jax.tree.map(lambda x, d: x + np.float32(distance) * d, params, direction)
        drawn, _ = generator.func(moved, latents)
        return float((np.float64(renderer.func(drawn)[0]) * np.float64(cotangent)).sum())

    expected = (along(1e-3) - along(-1e-3)) / 2e-3
    products = jax.tree.map(lambda g, d: float(np.vdot(g, d)), gradient, direction)
    assert abs(expected) > 1e-3
    assert sum(jax.tree.leaves(products)) == pytest.approx(expected, rel=0.02)


def test_penalties_change_the_discriminator_s_gradients(measured):
    plain, _ = measured.calls[step_parts.DISCRIMINATOR]()
    penalised, metrics = measured.calls[step_parts.DISCRIMINATOR_PENALISED]()
    assert jax.tree.structure(plain) == jax.tree.structure(penalised)
    assert float(metrics["r1"]) > 0
    pairs = zip(jax.tree.leaves(plain), jax.tree.leaves(penalised), strict=True)
    assert any(np.abs(a - b).max() > 1e-6 for a, b in pairs)


def test_breakdown_of_given_times():
    milliseconds = dict(zip([STEP, *PARTS], [100.0, 5, 10, 20, 52, 8, 15, 7], strict=True))
    rows = breakdown(milliseconds, penalty_interval=4, batch=20)
    assert [row["milliseconds"] for row in rows] == [5, 10, 20, 8, 8, 15, 7, 27]
    assert [row["percent"] for row in rows] == [5, 10, 20, 8, 8, 15, 7, 27]
    assert [row["microseconds_per_image"] for row in rows[:3]] == [250, 500, 1000]
    assert rows[3]["name"] == "gradient penalties, every 4 steps" and rows[-1]["name"] == REST
    assert sum(row["percent"] for row in breakdown(milliseconds | {STEP: 50.0}, 4, 20)) == 100


def test_summary_takes_medians_and_weighs_the_programs():
    programs = {True: Program(None, 3.0, 7e9, 4_000_000), False: Program(None, 2.0, 1e9, None)}
    training = Training(dataclasses.replace(CONFIG, penalty_interval=3), programs, None, None, None)
    seconds = {name: [0.001] for name in PARTS}
    seconds |= {STEP: [0.1, 0.02, 0.01], "step with penalties": [0.04]}
    seconds["step without penalties"] = [0.01]
    result = summary(training, seconds, num_devices=2, peak_tflops=0.1)
    assert result["images_per_second"] == pytest.approx(200)
    assert result["quartiles"] == pytest.approx([15, 60])
    assert result["programs"]["step with penalties"] == pytest.approx(
        {"milliseconds": 40, "compile_seconds": 3, "gigaflops": 7, "megabytes_per_device": 4}
    )
    assert result["programs"]["step without penalties"]["megabytes_per_device"] is None
    numbers = result["arithmetic"]
    assert numbers["gigaflops_per_step"] == pytest.approx((7 + 1 + 1) / 3)
    assert numbers["teraflops_per_second"] == pytest.approx(0.15)
    assert numbers["percent_of_peak"] == pytest.approx(75)


def test_arithmetic_without_a_count_or_a_peak():
    assert arithmetic([1e9, None], 1.0, 1, 1.0) is None
    assert arithmetic([1e9], 1.0, 1)["percent_of_peak"] is None


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
        command("--preset=faces64", "--batch=8", "--steps=3", "--repeats=2", "--peak_tflops=60")
    config, *rest = given
    assert (config.resolution, config.batch, config.preset) == (64, 8, "faces64")
    assert rest == [2, 3, 60.0]


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
