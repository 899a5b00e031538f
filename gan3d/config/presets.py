"""Named presets. What each has reached, with command and hardware, stands in BUILD_NOTES.md."""

from __future__ import annotations

import dataclasses
from typing import Any

from gan3d.config.fields import Config, reject_unknown

PRESETS: dict[str, Config] = {
    "demo": Config(),
    "faces64": Config(
        preset="faces64",
        data="folder:",
        resolution=64,
        mirror=True,
        yaw_degrees=45.0,
        pitch_degrees=15.0,
        images=1_000_000,
        surface_size=32,
        texture_size=64,
        background_size=32,
        smoothness_floor=1.0,
        log_interval_images=640,
        sheet_interval_images=12_800,
        checkpoint_interval_images=12_800,
    ),
}


def preset(name: str, **overrides: Any) -> Config:
    """The named preset, with some fields replaced.

    Raises:
      ValueError: there is no such preset, or no such field.
    """
    if name not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}")
    reject_unknown(overrides)
    return dataclasses.replace(PRESETS[name], **overrides)
