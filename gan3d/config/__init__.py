"""The configuration of a training run: its fields, named presets, and its text form."""

from gan3d.config.fields import Config as Config
from gan3d.config.fields import field_types as field_types
from gan3d.config.fields import validate as validate
from gan3d.config.presets import PRESETS as PRESETS
from gan3d.config.presets import preset as preset
from gan3d.config.text import differences as differences
from gan3d.config.text import from_json as from_json
from gan3d.config.text import to_json as to_json

__all__ = [
    "PRESETS",
    "Config",
    "differences",
    "field_types",
    "from_json",
    "preset",
    "to_json",
    "validate",
]
