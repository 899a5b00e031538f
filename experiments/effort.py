"""How much an evaluation compares, and the flags that say so."""

from __future__ import annotations

import dataclasses
import importlib.util

from absl import flags

from experiments.flags import UsageError

MIN_POINTS = 24  # neighbours that give a point of a cloud its tangent plane, in the alignment
FEATURES = ("none", "inception")


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is compared; 0 leaves a part out.

    Attributes:
      samples: generated and ground-truth shapes, at least 1.
      clouds: of these, shapes that are compared as point clouds too.
      points: per cloud, at least `MIN_POINTS`.
      pictures: generated and true pictures.
      features: "none", or "inception" for FID and KID.
      pose_steps: training steps of the network that estimates the viewpoint.
    """

    samples: int = 256
    clouds: int = 128
    points: int = 1024
    pictures: int = 1024
    features: str = "none"
    pose_steps: int = 1500


def define_effort_flags(values: flags.FlagValues) -> None:
    """Defines one flag per field of `Effort`."""
    effort = Effort()
    for name, least, text in (
        ("samples", 1, "number of generated and of ground-truth shapes"),
        ("clouds", 0, "number of these that are compared as point clouds too; 0 = none"),
        ("points", MIN_POINTS, "points per cloud"),
        ("pictures", 0, "number of generated and of true pictures that are compared; 0 = none"),
        ("pose_steps", 0, "training steps of the network that estimates viewpoints; 0 = none"),
    ):
        flags.DEFINE_integer(
            name, getattr(effort, name), text, lower_bound=least, flag_values=values
        )
    flags.DEFINE_enum(
        "features",
        effort.features,
        list(FEATURES),
        "what FID and KID are measured on; inception needs pip install 'gan3d[fid]' and downloads "
        "its weights on first use",
        flag_values=values,
    )


def effort_from_flags(values: flags.FlagValues) -> Effort:
    """What the flags ask for.

    Raises:
      UsageError: a package that is needed for it is missing.
    """
    if values.features == "inception" and importlib.util.find_spec("keras") is None:
        raise UsageError("--features=inception needs keras: pip install 'gan3d[fid]'")
    return Effort(**{field.name: values[field.name].value for field in dataclasses.fields(Effort)})
