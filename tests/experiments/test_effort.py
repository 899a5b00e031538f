"""How much is compared: flags, defaults and limits agree."""

from __future__ import annotations

import dataclasses

from absl import flags

from experiments.effort import MIN_POINTS, Effort, define_effort_flags, effort_from_flags
from gan3d.evaluation.alignment import PLANE_POINTS


def parsed(*arguments: str) -> Effort:
    values = flags.FlagValues()
    define_effort_flags(values)
    values(["program", *arguments])
    return effort_from_flags(values)


def test_points_suffice_for_the_alignment():
    assert MIN_POINTS == PLANE_POINTS


def test_without_flags_it_is_the_default():
    assert parsed() == Effort()


def test_every_field_has_its_flag():
    changed = {"features": "none"}
    for field in dataclasses.fields(Effort):
        if field.name != "features":
            changed[field.name] = getattr(Effort(), field.name) + 1
    arguments = [f"--{name}={value}" for name, value in changed.items()]
    assert parsed(*arguments) == Effort(**changed)
