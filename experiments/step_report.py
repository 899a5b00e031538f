"""What the timings of the training step say: shares, rates, and the tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.step_parts import RENDERER_BACKWARD, RENDERER_FORWARD, Training
from gan3d.training.step import StepPrograms

STEP = "step"
PIECES = "step in pieces"
COMMUNICATION = "all-reduce of the gradients, alone"
REST = "rest (host, waiting between the programs)"

# GB/s that one device sends, as published, one direction.
INTERCONNECTS = {
    "NVLink 4 (H100, H200)": 450.0,
    "PCIe 5 x16": 64.0,
    "400 Gb/s network": 50.0,
    "100 Gb/s network": 12.5,
}
SCALED_DEVICES = (2, 8, 64)


def summary(
    training: Training,
    seconds: Mapping[str, Sequence[float]],
    num_devices: int,
    gradient_bytes: int,
    peak_tflops: float | None = None,
) -> dict[str, Any]:
    """Medians, and what follows from them.

    Args:
      training: what was timed.
      seconds: of every turn, by name: a mean step, the same in pieces where training takes it as
        one program, the pieces per step in which they run, the renderer's two passes, the
        communication alone.
      num_devices: that share the batch.
      gradient_bytes: of one device.
      peak_tflops: of one device, None = not known.
    """
    config = training.config
    median = {name: float(np.median(values)) * 1e3 for name, values in seconds.items()}
    programs = {
        name: {
            "milliseconds": median.get(name),
            "compile_seconds": cost.compile_seconds,
            "gigaflops": None if cost.flops is None else cost.flops / 1e9,
            "megabytes_per_device": cost.memory_bytes and cost.memory_bytes / 1e6,
        }
        for name, cost in training.costs.items()
    }
    return {
        "devices": num_devices,
        "images_per_second": config.batch / median[STEP] * 1e3,
        "milliseconds_per_step": median[STEP],
        "milliseconds_in_pieces": median.get(PIECES),
        "quartiles": [float(value) * 1e3 for value in np.percentile(seconds[STEP], [25, 75])],
        "parts": breakdown(median, config.penalty_interval, config.batch),
        "programs": programs,
        "arithmetic": arithmetic(flops_per_step(training), median[STEP], num_devices, peak_tflops),
        "communication": {
            "gradient_megabytes": gradient_bytes / 1e6,
            "milliseconds": median[COMMUNICATION],
        },
        "scaling": scaling(median[STEP] - median[COMMUNICATION], gradient_bytes),
    }


def all_reduce_milliseconds(num_bytes: int, num_devices: int, gigabytes_per_second: float) -> float:
    """A ring's: every device sends, and receives, 2 (n - 1) / n of the bytes."""
    return 2 * (num_devices - 1) / num_devices * num_bytes / gigabytes_per_second / 1e6


def scaling(milliseconds: float, gradient_bytes: int) -> list[dict[str, Any]]:
    """Model of more devices, each with the share of the batch that one has here.

    Nothing is assumed to overlap: the gradients are summed when a step has computed them.

    Args:
      milliseconds: of a step without communication.
      gradient_bytes: of both networks.

    Returns:
      Rows per interconnect: milliseconds that it adds and percent of perfect speed, for each of
      SCALED_DEVICES.
    """
    rows = []
    for name, speed in INTERCONNECTS.items():
        times = [all_reduce_milliseconds(gradient_bytes, n, speed) for n in SCALED_DEVICES]
        efficiency = [100 * milliseconds / (milliseconds + time) for time in times]
        rows.append({"name": name, "milliseconds": times, "percent": efficiency})
    return rows


def flops_per_step(training: Training) -> float | None:
    """Mean over a penalty interval, on all devices; None where the backend counts none."""
    config = training.config
    pieces = {name: c for name, c in training.costs.items() if name in StepPrograms._fields}
    if any(cost.flops is None for cost in pieces.values()):
        return None
    penalised = 1 / config.penalty_interval
    # All but the last microbatch are drawn twice.
    parts = config.microbatches
    runs = {
        "draw": 2 * parts - 1,
        "penalised_gradients": parts * penalised,
        "discriminator_gradients": parts * (1 - penalised),
        "image_gradients": parts,
        "generator_gradients": parts,
        "add": 2 * (parts - 1),
    }
    return sum(runs.get(name, 1) * cost.flops for name, cost in pieces.items())


def breakdown(
    milliseconds: Mapping[str, float], penalty_interval: int, batch: int
) -> list[dict[str, Any]]:
    """Where the time of a mean step goes, in pieces, in the order in which it runs.

    Args:
      milliseconds: of the step in pieces, or else of the step; of its programs; and of the
        renderer's two passes alone.
      penalty_interval: steps over which the time of one computation of the penalties spreads.
      batch: images per step.

    Returns:
      Rows whose milliseconds add up to those of the step: the last takes what is left, and is
      negative where programs in a row take less than one by one.
    """
    of, step = milliseconds, milliseconds.get(PIECES, milliseconds[STEP])
    every = "every step" if penalty_interval == 1 else f"every {penalty_interval} steps"
    plain = of.get("discriminator_gradients")
    if plain is None:  # penalties on every step: one program computes both
        discriminator = {"discriminator's gradients, with penalties": of["penalised_gradients"]}
    else:
        penalties = (of["penalised_gradients"] - plain) / penalty_interval
        discriminator = {
            "discriminator's gradients, without penalties": plain,
            f"gradient penalties, {every}": penalties,
        }
    times = {
        "generator and priors, forward": of["draw"] - of[RENDERER_FORWARD],
        RENDERER_FORWARD: of[RENDERER_FORWARD],
        **discriminator,
        "generator's image gradient": of["image_gradients"],
        RENDERER_BACKWARD: of[RENDERER_BACKWARD],
        "generator and priors, backward": of["generator_gradients"] - of[RENDERER_BACKWARD],
        "optimizers and averages": of["update_discriminator"] + of["update_generator"],
    }
    times[REST] = step - sum(times.values())
    return [
        {
            "name": name,
            "milliseconds": time,
            "percent": 100 * time / step,
            "microseconds_per_image": 1e3 * time / batch,
        }
        for name, time in times.items()
    ]


def arithmetic(
    flops: float | None,
    milliseconds: float,
    num_devices: int,
    peak_tflops: float | None = None,
) -> dict[str, float | None] | None:
    """Rate of the floating-point operations that XLA counts.

    Args:
      flops: of a mean step, on all devices; None = not counted.
      milliseconds: of a mean step.
      num_devices: that share the work.
      peak_tflops: of one device, None = not known.

    Returns:
      None where the backend counts none.
    """
    if flops is None:
        return None
    rate = flops / milliseconds / 1e9
    return {
        "gigaflops_per_step": flops / 1e9,
        "teraflops_per_second": rate,
        "peak_teraflops_per_second": peak_tflops and peak_tflops * num_devices,
        "percent_of_peak": peak_tflops and 100 * rate / (peak_tflops * num_devices),
    }


def format_report(result: Mapping[str, Any]) -> str:
    """The result for people."""
    low, high = result["quartiles"]
    milliseconds, batch = result["milliseconds_per_step"], result["config"]["batch"]
    parts = [["part", "ms per step", "percent", "us per image"]]
    for row in [*result["parts"], *_totals(result)]:
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
        "The renderer is measured alone, and its time taken from that of the programs that it is "
        "part of.",
        "",
        *_columns(programs),
        _arithmetic_line(result["arithmetic"]),
        "",
        *_scaling_lines(result),
    ]
    return "\n".join(lines)


def _totals(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows under those of the parts: the step that they add up to, and the step that trains."""
    in_pieces, trained = result["milliseconds_in_pieces"], result["milliseconds_per_step"]
    rows = {PIECES: in_pieces, "step as one program, as it trains": trained}
    if in_pieces is None:
        in_pieces, rows = trained, {STEP: trained}
    return [
        {
            "name": name,
            "milliseconds": milliseconds,
            "percent": 100 * milliseconds / in_pieces,
            "microseconds_per_image": 1e3 * milliseconds / result["config"]["batch"],
        }
        for name, milliseconds in rows.items()
    ]


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


def _scaling_lines(result: Mapping[str, Any]) -> list[str]:
    communication = result["communication"]
    head = ["interconnect"]
    for num_devices in SCALED_DEVICES:
        head += [f"{num_devices} devices, ms", "% of perfect"]
    rows = [head]
    for row in result["scaling"]:
        rows.append([row["name"]])
        for numbers in zip(row["milliseconds"], row["percent"], strict=True):
            rows[-1] += [f"{number:.2f}" for number in numbers]
    return [
        f"Gradients: {communication['gradient_megabytes']:.1f} MB per step, summed over "
        f"{result['devices']} devices in {communication['milliseconds']:.2f} ms.",
        "More devices with this share of the batch each, a model (time that the sum adds):",
        *_columns(rows),
    ]


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned: names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *numbers in rows:
        cells = [number.rjust(w) for number, w in zip(numbers, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *cells]))
    return lines
