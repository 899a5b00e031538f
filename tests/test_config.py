"""The configuration: presets, ranges, JSON, and what makes it another run."""

from __future__ import annotations

import dataclasses
import json

import pytest

from gan3d import config as config_lib
from gan3d.config import PRESETS, Config


@pytest.mark.parametrize("name", PRESETS)
def test_presets_carry_their_name_and_are_valid(name):
    config = config_lib.preset(name)
    assert config.preset == name
    if config.data == "folder:":
        config = dataclasses.replace(config, data="folder:photographs")
    config_lib.validate(config, num_devices=2)


def test_every_field_has_help_and_a_default_of_its_type():
    types = config_lib.field_types()
    for field in dataclasses.fields(Config):
        assert field.metadata["help"], field.name
        assert type(field.default) is types[field.name], field.name


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip(name):
    config = config_lib.preset(name, seed=3)
    assert config_lib.from_json(config_lib.to_json(config)) == config


def test_json_of_an_older_version_is_that_of_its_run():
    # Runs of before the tangential term did not have it.
    assert config_lib.from_json('{"seed": 3}') == Config(seed=3, tangential_weight=0.0)


def test_json_whole_numbers_may_stand_for_floats():
    config = config_lib.from_json(json.dumps({"yaw_degrees": 45}))
    assert config.yaw_degrees == 45.0
    assert type(config.yaw_degrees) is float


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"resolution": 48}, "resolution must be one of 32, 64, 128, 256, got 48"),
        ({"resolution": 16}, "resolution must be one of"),
        ({"images": -1}, "images must be at least 1, got -1"),
        ({"yaw_degrees": 181.0}, "yaw_degrees must be at most 180, got 181.0"),
        ({"pitch_degrees": -1.0}, "pitch_degrees must be at least 0"),
        ({"fov_degrees": float("nan")}, "fov_degrees must be finite, got nan"),
        ({"loss": "hinge"}, "loss must be one of relativistic, nonsaturating, got 'hinge'"),
        ({"batch": 3}, "batch must be divisible by the number of devices, 2, got 3"),
        ({"microbatches": 3}, "microbatches must divide the 8 images of a device, got 3"),
        (
            {"microbatches": 2, "mbstd_group_size": 8},
            "mbstd_group_size must divide the 4 images that a device judges at once, got 8",
        ),
        ({"size_min": 0.9, "size_max": 0.5}, "size_min must be at most size_max"),
        (
            {"shape_latent_size": 64},
            "shape_latent_size must be less than latent_size, got 64 >= 64",
        ),
        ({"data": "folder:"}, "data must name a folder"),
        ({"view_prior": "normal"}, "view_prior must be one of uniform, gaussian, learned"),
        ({"heads_yaw_factor": 2.5}, "heads_yaw_factor * yaw_degrees must be at most 180, got 2.5 "),
        ({"background_scale": 0.5}, "background_scale must be at least 1, got 0.5"),
    ],
)
def test_validate_names_field_rule_and_value(overrides, message):
    with pytest.raises(ValueError) as error:
        config_lib.validate(config_lib.preset("demo", **overrides), num_devices=2)
    assert message in str(error.value)


def test_unknown_preset_and_field():
    with pytest.raises(ValueError, match=r"preset must be one of demo, .*, got 'x'"):
        config_lib.preset("x")
    with pytest.raises(ValueError, match="unknown configuration fields: colour"):
        config_lib.preset("demo", colour=1)


def test_differences_leave_out_what_may_change():
    old = config_lib.preset("demo")
    new = dataclasses.replace(old, preset="mine", images=1, log_interval_images=1, batch=8)
    assert config_lib.differences(old, new) == [("batch", old.batch, 8)]
