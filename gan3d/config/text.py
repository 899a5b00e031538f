"""Configurations as text, and what makes two of them different runs."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from gan3d.config.fields import Config, field_types, reject_unknown


def to_json(config: Config) -> str:
    """Text for config.json; `from_json` reads it back.

    >>> config = preset("demo", seed=3)
    >>> print(from_json(to_json(config)) == config)
    True
    """
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str) -> Config:
    """Reads what `to_json` wrote; fields that were not there then are as they were without them.

    Raises:
      ValueError: the text is no JSON object of known fields of the right types.

    >>> config = from_json('{"seed": 3}')
    >>> print(config.batch == Config().batch, config.tangential_weight, Config().tangential_weight)
    True 0.0 30.0
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"the configuration must be JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"the configuration must be a JSON object, got {type(values).__name__}")
    reject_unknown(values)
    types = field_types()
    for name, value in values.items():
        if types[name] is float and type(value) is int:
            values[name] = float(value)
        elif type(value) is not types[name]:
            raise ValueError(f"{name} must be of type {types[name].__name__}, got {value!r}")
    before = {field.name: field.metadata["before"] for field in dataclasses.fields(Config)}
    return Config(**{**before, **values})


def differences(old: Config, new: Config) -> list[tuple[str, Any, Any]]:
    """(field, old value, new value) wherever a change makes it another run.

    The length of the run and the intervals may change when a run is resumed, so they are left out.

    >>> differences(preset("demo"), preset("demo", seed=3, images=500))
    [('seed', 0, 3)]
    """
    names = [f.name for f in dataclasses.fields(Config) if not f.metadata["may_change"]]
    pairs = [(name, getattr(old, name), getattr(new, name)) for name in names]
    return [pair for pair in pairs if pair[1] != pair[2]]
