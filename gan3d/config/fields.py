"""The configuration of one training run: a flat, typed, frozen dataclass.

Every field carries its help text and its range, so that command line flags and their errors are
generated from here and can never disagree with it.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Sequence
from typing import Any

_RESOLUTIONS = (32, 64, 128, 256)
_COUNT = 2**31 - 1  # the images clock is an int32


def _field(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[Any] | None = None,
    may_change: bool = False,
    before: Any = None,
) -> Any:
    """A dataclass field with help, range, and whether it may change when a run is resumed.

    `before` is what runs did that were started before there was the field, if not the default.
    """
    metadata = dict(
        help=help,
        minimum=minimum,
        maximum=maximum,
        choices=choices,
        may_change=may_change,
        before=default if before is None else before,
    )
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
    """One run. The defaults are those of the demo: procedural heads, 32x32, on a CPU.

    `python -m experiments.train --helpfull` explains every field.

    >>> config = Config(resolution=64, seed=1)
    >>> print(config.data, config.resolution, f"{config.images:,}")
    heads 64 96,000
    """

    preset: str = _field("demo", "named preset this configuration started from", may_change=True)

    data: str = _field(
        "heads",
        "training images: 'heads' (procedural), 'folder:PATH', "
        "'tfds:NAME[/CONFIG][:SPLIT][:FEATURE]' (a prepared TensorFlow dataset) or 'ffhq'",
    )
    num_heads: int = _field(
        16384, "number of different procedural heads", minimum=1, maximum=_COUNT
    )
    mirror: bool = _field(False, "mirror half of the training images at random")
    resolution: int = _field(32, "height and width of the images, in pixels", choices=_RESOLUTIONS)
    seed: int = _field(
        0, "seed of initial parameters, data order and latents", minimum=0, maximum=_COUNT
    )
    images: int = _field(
        96000, "length of the training, in images seen", minimum=1, maximum=_COUNT, may_change=True
    )
    batch: int = _field(16, "images per step, over all devices", minimum=1, maximum=65536)
    microbatches: int = _field(
        1,
        "parts of a batch that go through a device one after the other, for less memory; same "
        "step, but for rounding",
        minimum=1,
        maximum=65536,
        may_change=True,
    )

    start_from: str = _field(
        "",
        "run directory, or export, whose trained networks this run begins with, its schedules of "
        "smoothness, penalties and blur at their ends; '' = new networks",
    )

    yaw_degrees: float = _field(
        90.0, "viewpoint prior: yaw uniform in +-this", minimum=0, maximum=180
    )
    pitch_degrees: float = _field(
        15.0, "viewpoint prior: pitch uniform in +-this", minimum=0, maximum=89
    )
    view_prior: str = _field(
        "uniform",
        "viewpoint prior's form: uniform; gaussian, whose two standard deviations are the ranges; "
        "learned, within the ranges, with the generator",
        choices=("uniform", "gaussian", "learned"),
    )
    heads_yaw_factor: float = _field(
        1.0,
        "range of yaw of the procedural heads' cameras over yaw_degrees; 1 = the prior is right",
        minimum=0.01,
        maximum=100,
    )
    heads_view_prior: str = _field(
        "uniform",
        "form of the distribution of the procedural heads' cameras",
        choices=("uniform", "gaussian"),
    )
    fov_degrees: float = _field(20.0, "vertical field of view", minimum=1, maximum=120)
    margin_pixels: float = _field(
        1.0, "width of the soft object boundary; 0 = crisp renderer", minimum=0, maximum=16
    )

    chart: str = _field(
        "octahedral", "UV chart of the surface map", choices=("octahedral", "azimuthal")
    )
    surface_size: int = _field(
        32,
        "surface map height and width; the mesh has (size + 1)^2 vertices",
        minimum=4,
        maximum=512,
    )
    texture_size: int = _field(32, "texture height and width", minimum=4, maximum=2048)
    background_size: int = _field(16, "background map height and width", minimum=4, maximum=1024)
    background_scale: float = _field(
        1.5,
        "size of the background relative to the view; 1 = it does not pan",
        minimum=1,
        maximum=8,
    )

    latent_size: int = _field(64, "size of the object's latent z", minimum=1, maximum=4096)
    shape_latent_size: int = _field(
        0,
        "of these, leading entries that the shape depends on alone: the others can only paint; "
        "0 = all of them do both",
        minimum=0,
        maximum=4096,
    )
    background_latent_size: int = _field(
        16, "size of the background's latent", minimum=1, maximum=4096
    )
    mapping_layers: int = _field(2, "layers of the mapping network", minimum=0, maximum=16)
    style_mixing: float = _field(
        0.0, "share of the images with the styles of two latents", minimum=0, maximum=1
    )
    noise: bool = _field(False, "noise inputs in the generator, as in StyleGAN")
    pyramid: bool = _field(
        True, "shape as a sum of displacement maps; off = the finest map alone, at full gain"
    )
    mirror_shape: bool = _field(
        False, "left half of every shape the mirror image of the right one; paint is free"
    )
    mirror_texture: bool = _field(
        False,
        "left half of every texture the mirror image of the right one, but for shading: what 4x4 "
        "texels can show",
    )
    displacement_gain: float = _field(
        0.25, "world units per unit of the coarsest displacement map", minimum=0
    )
    pyramid_decay: float = _field(
        0.5, "gain of each displacement map relative to the next coarser one", minimum=0, maximum=1
    )
    generator_width: int = _field(32, "base channels of the generator", minimum=4, maximum=4096)
    discriminator_width: int = _field(
        32, "base channels of the discriminator", minimum=4, maximum=4096
    )

    mbstd_group_size: int = _field(
        1,
        "images over which the discriminator sees the standard deviation of its features, so that "
        "a lack of variety shows; 1 = off",
        minimum=1,
        maximum=65536,
    )

    precision: str = _field(
        "float32",
        "type of the networks' features; geometry, penalties and optimizer are float32",
        choices=("float32", "bfloat16"),
    )

    loss: str = _field(
        "relativistic", "adversarial loss", choices=("relativistic", "nonsaturating")
    )
    r1_gamma: float = _field(0.1, "weight of the R1 penalty (real images); 0 = off", minimum=0)
    r2_gamma: float = _field(0.1, "weight of the R2 penalty (rendered images); 0 = off", minimum=0)
    penalty_floor: float = _field(
        1.0,
        "part of the penalty weights that is left in the end; 1 = they never fall",
        minimum=1e-6,
        maximum=1,
    )
    penalty_decay_images: int = _field(
        96000, "images seen until they have fallen to it", minimum=1, maximum=_COUNT
    )
    penalty_interval: int = _field(4, "steps between gradient penalties; 1 = every step", minimum=1)
    blur_pixels: float = _field(
        0.0,
        "standard deviation of the blur of all images that the discriminator sees at the start",
        minimum=0,
        maximum=32,
    )
    blur_images: int = _field(
        16000, "images seen until this blur has faded", minimum=1, maximum=_COUNT
    )
    augment_target: float = _field(
        0.0,
        "for small sets: all images that the discriminator sees are augmented, as often as keeps "
        "the mean sign of D(real) - D(rendered) at this, such as 0.6; 0 = off",
        minimum=0,
        maximum=1,
    )
    augment_images: int = _field(
        500_000,
        "images over which the probability of the augmentations can rise from 0 to 1",
        minimum=1,
        maximum=_COUNT,
    )

    start_radius: float = _field(
        0.6, "radius of the start shape, a sphere; 1 just fits the picture", minimum=0.05, maximum=2
    )
    size_weight: float = _field(10.0, "weight of the size constraint; 0 = off", minimum=0)
    size_min: float = _field(
        0.55, "least mean radius, in units of the ball that just fits", minimum=0, maximum=2
    )
    size_max: float = _field(0.85, "greatest mean radius, same unit", minimum=0, maximum=2)
    laplacian_weight: float = _field(4.0, "weight of the Laplacian smoothness; 0 = off", minimum=0)
    crease_weight: float = _field(100.0, "weight of the crease penalty; 0 = off", minimum=0)
    tangential_weight: float = _field(
        30.0,
        "weight of what keeps points from sliding along the start shape; 0 = off",
        minimum=0,
        before=0.0,
    )
    fold_weight: float = _field(
        0.0, "weight of the hinge on faces that turn inwards, which stays; 0 = off", minimum=0
    )
    smoothness_hold_images: int = _field(
        24000,
        "images seen until the Laplacian, crease and tangential weights begin to fall",
        minimum=0,
        maximum=_COUNT,
    )
    smoothness_halflife_images: int = _field(
        6000, "half-life of these weights from then on, in images", minimum=1, maximum=_COUNT
    )
    smoothness_floor: float = _field(
        0.05, "part of these weights that stays for good; 1 = they never fall", minimum=0, maximum=1
    )

    generator_learning_rate: float = _field(2e-3, "Adam step of the generator", minimum=0)
    discriminator_learning_rate: float = _field(4e-3, "Adam step of the discriminator", minimum=0)
    learning_rate_floor: float = _field(
        1.0,
        "part of both steps that is left in the end; 1 = they never fall",
        minimum=1e-6,
        maximum=1,
    )
    learning_rate_decay_images: int = _field(
        96000,
        "images seen until they have fallen to it, along a cosine",
        minimum=1,
        maximum=_COUNT,
    )
    adam_beta2: float = _field(0.99, "Adam second-moment decay", minimum=0, maximum=0.99999)
    ema_halflife_images: int = _field(
        5000, "half-life of the averaged generator, in images", minimum=1
    )

    nan_policy: str = _field(
        "stop",
        "when a loss or a parameter is not finite: stop; or rollback, to the newest checkpoint, "
        "and on from there with other randomness",
        choices=("stop", "rollback"),
        may_change=True,
    )
    log_interval_images: int = _field(
        640, "images between progress lines", minimum=1, may_change=True
    )
    sheet_interval_images: int = _field(
        6400, "images between sample sheets", minimum=1, may_change=True
    )
    checkpoint_interval_images: int = _field(
        6400, "images between checkpoints", minimum=1, may_change=True
    )


def field_types() -> dict[str, type]:
    """Type of every field, in order.

    >>> print(field_types()["seed"], field_types()["mirror"])
    <class 'int'> <class 'bool'>
    """
    hints = typing.get_type_hints(Config)
    return {field.name: hints[field.name] for field in dataclasses.fields(Config)}


def validate(config: Config, num_devices: int = 1) -> None:
    """Checks everything that can be known before the data is opened.

    Raises:
      ValueError: names the field, the rule and the value.

    >>> validate(Config(batch=15), num_devices=2)
    Traceback (most recent call last):
    ValueError: batch must be divisible by the number of devices, 2, got 15
    """
    for field in dataclasses.fields(config):
        _validate_field(field, getattr(config, field.name))
    if config.batch % num_devices:
        raise ValueError(
            f"batch must be divisible by the number of devices, {num_devices}, got {config.batch}"
        )
    on_device = config.batch // num_devices
    if on_device % config.microbatches:
        raise ValueError(
            f"microbatches must divide the {on_device} images of a device, "
            f"got {config.microbatches}"
        )
    if on_device // config.microbatches % config.mbstd_group_size:
        raise ValueError(
            f"mbstd_group_size must divide the {on_device // config.microbatches} images that a "
            f"device judges at once, got {config.mbstd_group_size}"
        )
    if config.size_min > config.size_max:
        raise ValueError(
            f"size_min must be at most size_max, got {config.size_min} > {config.size_max}"
        )
    if config.shape_latent_size >= config.latent_size:
        raise ValueError(
            "shape_latent_size must be less than latent_size, "
            f"got {config.shape_latent_size} >= {config.latent_size}"
        )
    if config.heads_yaw_factor * config.yaw_degrees > 180:
        raise ValueError(
            "heads_yaw_factor * yaw_degrees must be at most 180, "
            f"got {config.heads_yaw_factor} * {config.yaw_degrees}"
        )
    if config.data == "folder:":
        raise ValueError("data must name a folder, as in folder:PATH, got 'folder:'")


def _validate_field(field: dataclasses.Field, value: Any) -> None:
    minimum, maximum = field.metadata["minimum"], field.metadata["maximum"]
    choices = field.metadata["choices"]
    if choices is not None and value not in choices:
        raise ValueError(
            f"{field.name} must be one of {', '.join(map(str, choices))}, got {value!r}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{field.name} must be finite, got {value}")
    if minimum is not None and value < minimum:
        raise ValueError(f"{field.name} must be at least {minimum}, got {value}")
    if maximum is not None and value > maximum:
        raise ValueError(f"{field.name} must be at most {maximum}, got {value}")


def reject_unknown(values: dict[str, Any]) -> None:
    """Raises ValueError if a name is no field of `Config`."""
    unknown = sorted(set(values) - set(field_types()))
    if unknown:
        raise ValueError(f"unknown configuration fields: {', '.join(unknown)}")
