"""Times the renderer, forward and forward + backward, beside other renderers.

    pip install 'gan3d[bench]'
    python -m experiments.benchmark_render --json=benchmark.json

Workload: a head-like textured sphere that covers about 69% of the picture, seen with a field of
view of 10 degrees from yaw +-90 and pitch +-15 degrees; a smooth 128 x 128 x 3 texture;
loss = sum(image * fixed normal weights); gradients in vertices and texture. Every image of a batch
has a mesh and a texture of its own.

All renderers run in one process and take turns: in one repeat each of them draws a few pictures in
a row on every combination of faces, batch and size, with views that none has seen before. Numbers
are medians over all of these but a turn's first, in milliseconds per image. On a CPU a batch is
drawn as one program, and once more with its images shared by the cores, each of them a device of
its own, as `jax.shard_map` shares them; the peers know no batches. On a GPU there is no
peer; what takes its place is the time in which the measured bandwidth moves the bytes that have to
be moved. The calls of a turn are then queued, as a training queues them, and timed together.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import platform
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments import flags as experiment_flags
from experiments.flags import UsageError
from experiments.peers import PEERS, MissingPeerError, Peer
from experiments.render_workload import (
    Workload,
    compulsory_bytes,
    forward,
    forward_backward,
    make_workload,
    measured_bandwidth,
    placement,
    random_views,
)
from experiments.turns import define_lock_flag, taking_turns
from gan3d.training import cores

PASSES = ("forward", "both")
TURN = 128  # images that a renderer draws in a turn, in at least 3 calls


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    define = lambda kind, *args: kind(*args, flag_values=values)  # noqa: E731
    define(flags.DEFINE_list, "faces", ["2048", "8192", "32768"], "faces of the mesh, a list")
    define(flags.DEFINE_list, "batches", ["1", "16"], "images per call, a list")
    define(flags.DEFINE_list, "sizes", ["128"], "height and width in pixels, a list")
    define(
        flags.DEFINE_list,
        "devices",
        None,
        "devices that share a batch, a list; on a CPU its cores; default 1 and, on a CPU, all",
    )
    define(flags.DEFINE_list, "peers", list(PEERS), "other renderers, a list; empty for none")
    define(flags.DEFINE_integer, "repeats", 15, "timings of each, of which the median counts")
    define(flags.DEFINE_integer, "seed", 0, "seed of textures, weights and views", 0)
    define(flags.DEFINE_string, "json", None, "file to write the numbers to")
    define_lock_flag(values)
    return values


@dataclasses.dataclass
class Case:
    """One combination of faces, batch and size, ready to be timed.

    Attributes:
      workload: what is drawn.
      num_devices: devices that share the batch.
      passes: compiled "forward" and "both" (forward + backward), called with (scene, views).
      scene: vertices and textures on the devices.
      compile_seconds: of each pass.
      peers: by name.
      seconds: timings of each (renderer, pass).
    """

    workload: Workload
    num_devices: int
    passes: dict[str, Callable[..., Any]]
    scene: tuple[jax.Array, jax.Array]
    compile_seconds: dict[str, float]
    peers: dict[str, Peer]
    seconds: dict[tuple[str, str], list[float]] = dataclasses.field(default_factory=dict)


def benchmark(
    faces: Sequence[int],
    batches: Sequence[int],
    sizes: Sequence[int],
    devices: Sequence[int],
    peers: Sequence[str],
    repeats: int,
    seed: int = 0,
    lock: str | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Times every combination of faces, batch, size and devices; returns what --json holds.

    Where the devices do not divide a batch, it is not theirs to share.

    The arguments are the flags.

    Raises:
      MissingPeerError: a peer is not installed.
      ValueError: no sphere has that many faces, or no batch that many shares.
    """
    if jax.default_backend() != "cpu" and peers:
        report(f"no peers on {jax.default_backend()}: they run on the CPU")
        peers = ()
    cases = []
    with taking_turns(lock) as wait:
        for size in sizes:
            for num_faces in faces:
                for batch in batches:
                    workload = make_workload(num_faces, batch, size, seed)
                    for number in devices:
                        if batch % number == 0:
                            report(f"compiling: {_called(num_faces, batch, size, number)}")
                            cases.append(prepare(workload, number, peers))
        if not cases:
            raise ValueError(f"devices must divide one of the batches, got {devices}, {batches}")
        wait()
        rng = np.random.default_rng(seed)
        for case in cases:  # what runs only once is not measured: allocations, caches, page faults
            time_once(case, rng)
            case.seconds.clear()
        for repeat in range(repeats):
            report(f"repeat {repeat + 1} of {repeats}")
            for case in cases:
                time_once(case, rng)
        bandwidth = None if jax.default_backend() == "cpu" else measured_bandwidth()
    rows = [summary(case, bandwidth) for case in cases]
    return {
        "machine": _machine(),
        "bandwidth_gigabytes_per_second": bandwidth and bandwidth / 1e9,
        "repeats": repeats,
        "peers": {name: peer.version for name, peer in cases[0].peers.items()},
        "cases": rows,
        **scaling(rows),
    }


def _called(num_faces: int, batch: int, size: int, num_devices: int) -> str:
    shared = f" on {num_devices} devices" if num_devices > 1 else ""
    return f"{num_faces} faces, batch {batch}{shared}, {size} x {size}"


def prepare(workload: Workload, num_devices: int, peers: Sequence[str]) -> Case:
    """Compiles both passes and sets up the peers."""
    views = np.zeros((workload.batch, 2), np.float32)
    *scene, views = jax.device_put(
        (workload.vertices, workload.textures, views), placement(num_devices)
    )
    passes, compile_seconds = {}, {}
    for name, function in zip(PASSES, (forward, forward_backward), strict=True):
        start = time.perf_counter()
        program = jax.jit(function(workload, num_devices))
        passes[name] = program.lower(*scene, views).compile()
        compile_seconds[name] = time.perf_counter() - start
    ready = {name: PEERS[name](workload) for name in peers}
    return Case(workload, num_devices, passes, tuple(scene), compile_seconds, ready)


def time_once(case: Case, rng: np.random.Generator) -> None:
    """Gives every renderer one turn per pass, all on the same fresh views.

    A turn is some calls in a row, as in a training; the first, for which another renderer has
    left the caches, is not timed.
    """
    calls = max(3, TURN // case.workload.batch)
    for name in PASSES:
        views = [random_views(rng, case.workload.batch) for _ in range(1 + calls)]
        on_device = jax.block_until_ready(jax.device_put(views, placement(case.num_devices)))
        _time(case, "gan3d", name, lambda v: case.passes[name](*case.scene, v), on_device)  # noqa: B023
        for peer_name, peer in case.peers.items():
            run = peer.forward if name == "forward" else peer.forward_backward
            _time(case, peer_name, name, run, [peer.cameras(v) for v in views])


def _time(case: Case, renderer: str, name: str, run: Callable[[Any], Any], views: list) -> None:
    seconds = case.seconds.setdefault((renderer, name), [])
    jax.block_until_ready(run(views[0]))
    # An accelerator works through a queue.
    queued = jax.default_backend() != "cpu"
    for turn in [views[1:]] if queued else [[view] for view in views[1:]]:
        start = time.perf_counter()
        jax.block_until_ready([run(view) for view in turn])
        seconds.append((time.perf_counter() - start) / len(turn))


def picture_difference(case: Case, seed: int = 0) -> dict[str, float]:
    """Mean absolute difference of colour between gan3d's and each peer's pictures."""
    views = random_views(np.random.default_rng(seed), case.workload.batch)
    on_device = jax.device_put(views, placement(case.num_devices))
    ours = np.asarray(case.passes["forward"](*case.scene, on_device))
    return {
        name: float(np.abs(ours - peer.forward(peer.cameras(views))).mean())
        for name, peer in case.peers.items()
    }


def summary(case: Case, bandwidth: float | None) -> dict[str, Any]:
    """Medians in milliseconds per image, and what they are compared with."""
    workload = case.workload
    row: dict[str, Any] = {
        "faces": workload.topology.num_faces,
        "batch": workload.batch,
        "size": workload.image_size[0],
        "devices": case.num_devices,
        "compile_seconds": case.compile_seconds,
        "picture_difference": picture_difference(case),
        "milliseconds": {},
        "quartiles": {},
        "faster_than": {},
    }
    for (renderer, name), seconds in case.seconds.items():
        low, median, high = np.percentile(seconds, [25, 50, 75]) * 1e3 / workload.batch
        row["milliseconds"].setdefault(renderer, {})[name] = median
        row["quartiles"].setdefault(renderer, {})[name] = [low, high]
    ours = row["milliseconds"]["gan3d"]
    for peer in case.peers:
        theirs = row["milliseconds"][peer]
        row["faster_than"][peer] = {name: theirs[name] / ours[name] for name in PASSES}
    if bandwidth:
        moved = dict(zip(PASSES, compulsory_bytes(workload), strict=True))
        row["megabytes"] = {name: moved[name] / 1e6 for name in PASSES}
        row["limit_milliseconds"] = {name: moved[name] / bandwidth * 1e3 for name in PASSES}
    return row


def scaling(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Growth of forward + backward: from fewest to most faces, and from the smallest batch, on as
    few devices as there are, to the largest."""
    keys = ("faces", "batch", "size", "devices")
    both = {tuple(row[key] for key in keys): row["milliseconds"]["gan3d"]["both"] for row in rows}
    (few, many), (smallest, largest) = (
        (min(values), max(values)) for values in list(zip(*both, strict=True))[:2]
    )
    growth, per_image = {}, {}
    for (count, batch, size, number), milliseconds in both.items():
        shared = f" on {number} devices" if number > 1 else ""
        if count == many:
            name = f"batch {batch}{shared}, {size} x {size}"
            growth[name] = milliseconds / both[few, batch, size, number]
        if batch == largest:
            name = f"{count} faces{shared}, {size} x {size}"
            fewest = min(n for c, b, s, n in both if (c, b, s) == (count, smallest, size))
            per_image[name] = milliseconds / both[count, smallest, size, fewest]
    return {
        f"growth_{few}_to_{many}_faces": growth,
        f"per_image_batch_{largest}_over_batch_{smallest}": per_image,
    }


def format_table(result: dict[str, Any]) -> str:
    """The result for people."""
    peers = list(result["peers"])
    with_limit = result["bandwidth_gigabytes_per_second"] is not None
    titles = ["faces", "batch", "devices", "size", "gan3d"]
    titles += [title for peer in peers for title in (peer, "times faster")]
    titles += ["limit", "over limit"] if with_limit else []
    lines = [[*titles, "compile s"]]
    pair = lambda of, digits: " / ".join(f"{of[name]:.{digits}f}" for name in PASSES)  # noqa: E731
    for row in result["cases"]:
        ours = row["milliseconds"]["gan3d"]
        cells = [str(row[key]) for key in titles[:4]] + [pair(ours, 2)]
        for peer in peers:
            cells += [pair(row["milliseconds"][peer], 2), pair(row["faster_than"][peer], 2)]
        if with_limit:
            limit = row["limit_milliseconds"]
            over = {name: ours[name] / limit[name] for name in PASSES}
            cells += [pair(limit, 4), pair(over, 0)]
        lines.append([*cells, pair(row["compile_seconds"], 1)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    table = [
        "  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in lines
    ]
    table.insert(0, "ms per image, forward / forward + backward, medians")
    for key in result:
        if key.startswith(("growth", "per_image")):
            values = "; ".join(f"{name}: {value:.2f}" for name, value in result[key].items())
            table.append(f"{key.replace('_', ' ')}: {values}")
    return "\n".join(table)


def _machine() -> dict[str, Any]:
    device = jax.devices()[0]
    return {
        "backend": jax.default_backend(),
        "device": device.device_kind,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "jax": jax.__version__,
    }


def _positive_integers(name: str, texts: Sequence[str]) -> list[int]:
    if not texts or not all(text.strip().isdigit() and int(text) > 0 for text in texts):
        raise UsageError(f"--{name} must be a list of positive integers, got {','.join(texts)!r}")
    return [int(text) for text in texts]


def _devices(values: flags.FlagValues) -> list[int]:
    if values.devices is not None:
        numbers = _positive_integers("devices", values.devices)
        cores.make_devices(max(numbers))
        if max(numbers) > jax.device_count():
            raise UsageError(
                f"--devices must be at most the {jax.device_count()} there are, got {max(numbers)}"
            )
        return numbers
    cores.make_devices(cores.available_cores())
    on_cpu = jax.default_backend() == "cpu"
    return sorted({1, jax.device_count()}) if on_cpu else [1]


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    values = _define_flags()
    experiment_flags.parse(values, argv, __doc__)
    lists = [_positive_integers(name, values[name].value) for name in ("faces", "batches", "sizes")]
    devices = _devices(values)
    peers = [name for name in values.peers if name]
    for name in peers:
        if name not in PEERS:
            raise UsageError(f"--peers must be among {', '.join(PEERS)}, got {name!r}")
    if values.repeats < 1:
        raise UsageError(f"--repeats must be at least 1, got {values.repeats}")
    experiment_flags.check_output("json", values.json)
    experiment_flags.check_output("lock", values.lock)
    # A compilation read from disk would not count.
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        result = benchmark(*lists, devices, peers, values.repeats, values.seed, values.lock)
    except (MissingPeerError, ValueError) as error:
        raise UsageError(str(error)) from error
    print(format_table(result))
    if values.json:
        path = pathlib.Path(values.json)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=2) + "\n")
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(experiment_flags.run(main, sys.argv))
