"""What the timings of the training step say: shares, rates, and the tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.step_parts import (
    DISCRIMINATOR,
    DISCRIMINATOR_PENALISED,
    GENERATOR_BACKWARD,
    GENERATOR_FORWARD,
    IMAGE_GRADIENT,
    RENDERER_BACKWARD,
    RENDERER_FORWARD,
    Training,
)

STEP = "step"
REST = "rest (optimizers, EMA, priors, what parts measured alone do not share)"


def program_name(penalise: bool) -> str:
    """Of the program of the step with or without gradient penalties."""
    return f"step {'with' if penalise else 'without'} penalties"


def summary(
    training: Training,
    seconds: Mapping[str, Sequence[float]],
    num_devices: int,
    peak_tflops: float | None = None,
) -> dict[str, Any]:
    """Medians, and what follows from them.

    Args:
      training: its programs' names and those of the parts are the keys of `seconds`.
      seconds: per call, of each turn.
      num_devices: that share the batch.
      peak_tflops: of one device, None = not known.
    """
    config = training.config
    median = {name: float(np.median(values)) * 1e3 for name, values in seconds.items()}
    programs = {}
    for penalise, program in training.programs.items():
        name = program_name(penalise)
        programs[name] = {
            "milliseconds": median[name],
            "compile_seconds": program.compile_seconds,
            "gigaflops": program.flops and program.flops / 1e9,
            "megabytes_per_device": program.memory_bytes and program.memory_bytes / 1e6,
        }
    flops = [training.programs[penalise].flops for penalise in training.cycle]
    return {
        "devices": num_devices,
        "images_per_second": config.batch / median[STEP] * 1e3,
        "milliseconds_per_step": median[STEP],
        "quartiles": [float(value) * 1e3 for value in np.percentile(seconds[STEP], [25, 75])],
        "parts": breakdown(median, config.penalty_interval, config.batch),
        "programs": programs,
        "arithmetic": arithmetic(flops, median[STEP], num_devices, peak_tflops),
    }


def breakdown(
    milliseconds: Mapping[str, float], penalty_interval: int, batch: int
) -> list[dict[str, Any]]:
    """Where the time of a mean step goes, in the order in which it runs.

    Args:
      milliseconds: of the step and of every part.
      penalty_interval: steps over which the time of one computation of the penalties spreads.
      batch: images per step.

    Returns:
      Rows whose milliseconds add up to those of the step: the last takes what is left, and is
      negative where the parts take longer alone than together.
    """
    of = milliseconds
    plain, with_penalties = DISCRIMINATOR, DISCRIMINATOR_PENALISED
    every = "every step" if penalty_interval == 1 else f"every {penalty_interval} steps"
    times = {
        GENERATOR_FORWARD: of[GENERATOR_FORWARD],
        RENDERER_FORWARD: of[RENDERER_FORWARD],
        f"{plain}, without penalties": of[plain],
        f"gradient penalties, {every}": (of[with_penalties] - of[plain]) / penalty_interval,
        IMAGE_GRADIENT: of[IMAGE_GRADIENT],
        RENDERER_BACKWARD: of[RENDERER_BACKWARD],
        GENERATOR_BACKWARD: of[GENERATOR_BACKWARD],
    }
    times[REST] = of[STEP] - sum(times.values())
    return [
        {
            "name": name,
            "milliseconds": time,
            "percent": 100 * time / of[STEP],
            "microseconds_per_image": 1e3 * time / batch,
        }
        for name, time in times.items()
    ]


def arithmetic(
    flops: Sequence[float | None],
    milliseconds: float,
    num_devices: int,
    peak_tflops: float | None = None,
) -> dict[str, float | None] | None:
    """Rate of the floating-point operations that XLA counts.

    Args:
      flops: of every step of a penalty interval, on all devices; None = not counted.
      milliseconds: of a mean step.
      num_devices: that share the work.
      peak_tflops: of one device, None = not known.

    Returns:
      None where the backend counts none.
    """
    if None in flops:
        return None
    mean = float(np.mean(flops))
    rate = mean / milliseconds / 1e9
    return {
        "gigaflops_per_step": mean / 1e9,
        "teraflops_per_second": rate,
        "peak_teraflops_per_second": peak_tflops and peak_tflops * num_devices,
        "percent_of_peak": peak_tflops and 100 * rate / (peak_tflops * num_devices),
    }


def format_report(result: Mapping[str, Any]) -> str:
    """The result for people."""
    low, high = result["quartiles"]
    milliseconds, batch = result["milliseconds_per_step"], result["config"]["batch"]
    whole = {"name": STEP, "milliseconds": milliseconds, "percent": 100.0}
    whole["microseconds_per_image"] = 1e3 * milliseconds / batch
    parts = [["part", "ms per step", "percent", "us per image"]]
    for row in [*result["parts"], whole]:
        parts.append(
            [
                row["name"],
                f"{row['milliseconds']:.2f}",
                f"{row['percent']:.1f}",
                f"{row['microseconds_per_image']:.0f}",
            ]
        )
    programs = [["program", "ms", "compile s", "GFLOP", "MB per device"]]
    for name, program in result["programs"].items():
        numbers = [program["milliseconds"], program["compile_seconds"]]
        numbers += [program["gigaflops"], program["megabytes_per_device"]]
        programs.append([name, *("?" if n is None else f"{n:.1f}" for n in numbers)])
    lines = [
        f"{result['images_per_second']:.1f} images/s, {milliseconds:.2f} ms per step of {batch} "
        f"images (quartiles {low:.2f} to {high:.2f}); without the input pipeline",
        "",
        *_columns(parts),
        "The parts are compiled alone: they need not add up to the step, and the rest can be "
        "negative.",
        "",
        *_columns(programs),
        _arithmetic_line(result["arithmetic"]),
    ]
    return "\n".join(lines)


def _arithmetic_line(numbers: Mapping[str, float | None] | None) -> str:
    if numbers is None:
        return "FLOPs: this backend counts none."
    line = (
        f"XLA counts {numbers['gigaflops_per_step']:.2f} GFLOP per mean step (the body of a loop "
        f"once): {numbers['teraflops_per_second']:.3f} TFLOP/s"
    )
    if numbers["percent_of_peak"] is None:
        return line
    peak, percent = numbers["peak_teraflops_per_second"], numbers["percent_of_peak"]
    return f"{line}, {percent:.2f}% of {peak:g}"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned: names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *numbers in rows:
        cells = [number.rjust(w) for number, w in zip(numbers, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *cells]))
    return lines
