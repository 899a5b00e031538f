"""The dashboard of degeneracy in training: the same latents looked at again and again.

Losses do not tell whether the shapes are sound: a hollow face or an object painted on the
background can fool the discriminator just as well. So at every sheet a fixed set of samples of the
averaged generator is measured by `evaluation.dashboard`, logged, and put into words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from gan3d.evaluation.dashboard import degeneracy
from gan3d.evaluation.failures import LIMITS, Limit
from gan3d.evaluation.views import scene_views
from gan3d.scene import scene_vertices
from gan3d.training.assemble import Parts, sample_scenes
from gan3d.training.metrics import Distribution, MetricsWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float

PREFIX = "dashboard/"
NUM_SAMPLES = 32
MAX_RESOLUTION = 64
COVERAGE_EDGES = tuple(np.linspace(0, 1, 11).tolist())
# Folded into the seed's key: another stream than the sheets', the largest, and those of the steps,
# which fold in images seen and stay below 2**31.
_STREAM = 2**32 - 2


class Alarm(NamedTuple):
    """What to say where the samples are beyond a limit.

    Attributes:
      limit: on the samples' mean.
      symptom: what the shapes look like then; formatted with the value.
      advice: what to try.
    """

    limit: Limit
    symptom: str
    advice: str


ALARMS = (
    Alarm(
        LIMITS["vanished"], "objects vanish (coverage {:.0%})",
        "a larger --size_min or --size_weight",
    ),
    Alarm(
        LIMITS["filling"], "objects fill the picture (coverage {:.0%})",
        "a smaller --size_max or a larger --size_weight",
    ),
    Alarm(
        LIMITS["flat"], "fronts are flat (depth {:.2f} of the width)",
        "a --yaw_degrees as wide as that of the photographs",
    ),
    Alarm(
        LIMITS["hollow"], "fronts look hollow ({:.0%} of them)",
        "more smoothness (--crease_weight, --laplacian_weight) or --margin_pixels=1",
    ),
    Alarm(
        LIMITS["folded"], "the mesh is folded ({:.1%} of the faces flipped)",
        "a larger --crease_weight or a longer --smoothness_hold_images",
    ),
    Alarm(
        LIMITS["collapsed"], "faces collapse ({:.1%} of them)", "a larger --laplacian_weight"
    ),
    Alarm(
        LIMITS["spiky"], "the mesh has spikes (longest edges {:.1f}x the median)",
        "a larger --laplacian_weight",
    ),
    Alarm(
        LIMITS["camouflaged"], "objects melt into the background (contrast {:.2f})",
        "a --yaw_degrees as wide as that of the photographs, or --margin_pixels=1",
    ),
    # By default the size term permits 0.92 to 1.42.
    Alarm(
        Limit("size_against_start", 0.5, 2.0), "the size drifts ({:.2f}x the start)",
        "a larger --size_weight",
    ),
)  # fmt: skip

_WORDS = {
    "front_depth_to_width": "depth {:.2f} of the width",
    "convexity": "convexity {:.2f}",
    "hollow_share": "hollow fronts {:.0%}",
    "flipped_faces": "flipped faces {:.1%}",
    "degenerate_faces": "degenerate faces {:.1%}",
    "edge_ratio": "longest edges {:.1f}x the median",
    "object_contrast": "contrast {:.2f}",
    "size_against_start": "size {:.2f}x the start",
}


class Reading(NamedTuple):
    """What the samples look like.

    Attributes:
      measures: of `evaluation.dashboard.degeneracy`, by name; nan where undefined.
      coverage: mean alpha of every sample, in [0, 1].
    """

    measures: dict[str, float]
    coverage: Float[np.ndarray, " N"]


def dashboard_reader(parts: Parts) -> Callable[[Any], Reading]:
    """Returns the function from generator parameters, as host arrays, to a `Reading`.

    The latents are functions of the run's seed alone. The samples are seen from the front at the
    run's resolution, at most 64. Compiled on the first call.
    """
    key = jax.random.fold_in(jax.random.key(parts.config.seed), _STREAM)
    resolution = min(parts.stage.resolution, MAX_RESOLUTION)
    stage = parts.stage.at_resolution(resolution)

    @jax.jit
    def draw(params):
        scenes = sample_scenes(parts, params, key, NUM_SAMPLES)
        return scenes, jax.vmap(lambda surface: scene_vertices(surface, stage))(scenes.surface)

    def read(params: Any) -> Reading:
        scenes, vertices = draw(params)
        views = scene_views([scenes], stage)
        measures = degeneracy(views, vertices, stage.topology, parts.config.start_radius)
        return Reading(measures, views.alpha.mean(axis=(1, 2)))

    return read


def log_reading(writer: MetricsWriter, images_seen: int, reading: Reading) -> None:
    """Writes a row of its own, and prints one line about the shapes and one per warning."""
    scalars = {PREFIX + name: value for name, value in reading.measures.items()}
    coverage = Distribution(reading.coverage, COVERAGE_EDGES)
    writer.write(images_seen, scalars, {PREFIX + "coverage_histogram": coverage})
    print(f"shapes at {images_seen:,} images: {describe(reading.measures)}", flush=True)
    # Nothing has been learned at the start, so that there is nothing to advise.
    for line in advise(reading.measures) if images_seen else []:
        print(f"warning: {line}", flush=True)


def describe(measures: Mapping[str, float]) -> str:
    """The measures in plain words, in one line."""
    coverage = (measures[f"coverage_{which}"] for which in ("median", "low", "high"))
    words = (_in_words(text, measures[name]) for name, text in _WORDS.items())
    return ", ".join(["coverage {:.0%} ({:.0%} to {:.0%})".format(*coverage), *words])


def advise(measures: Mapping[str, float]) -> list[str]:
    """One line for every limit that is crossed; `failures.LIMITS` has the reasons."""
    values = [(alarm, measures[alarm.limit.measure]) for alarm in ALARMS]
    return [
        f"{alarm.symptom.format(value)}: try {alarm.advice}"
        for alarm, value in values
        if alarm.limit.crossed(value)
    ]


def _in_words(text: str, value: float) -> str:
    """Unknown if nan: where objects have vanished there is no front to measure."""
    return f"{text[: text.index('{')]}unknown" if math.isnan(value) else text.format(value)
