"""Named presets.

| preset   | data             | size | for | images     | state                                   |
|----------|------------------|------|-----|------------|-----------------------------------------|
| demo     | procedural heads | 32   | CPU | 96,000     | 9 to 17 minutes on two cores; 3 seeds:  |
|          |                  |      |     |            | IoU .968 / .969, MAD 8.8 / 4.9 degrees  |
| heads32  | procedural heads | 32   | CPU | 384,000    | 70 minutes on two cores; seed 0:        |
|          |                  |      |     |            | IoU .983 / .976, MAD 6.2 / 2.9 degrees, |
|          |                  |      |     |            | 1-NNA .83                               |
| heads64  | procedural heads | 64   | GPU | 530,000    | 6 minutes on an H100, shared; seed 0:   |
|          |                  |      |     |            | IoU .984 / .982, MAD 3.0 / 2.5 degrees, |
|          |                  |      |     |            | 1-NNA .68                               |
| heads128 | procedural heads | 128  | GPU | 5,000,000  | not yet trained; of the same widths, in |
|          |                  |      |     |            | float32: 1,882 images/s on an H100      |
| faces64  | photographs      | 64   | GPU | 300,000    | 7 minutes on an H100, shared; relief;   |
|          |                  |      |     |            | 19% of 64 samples fill the picture      |
| ffhq128  | FFHQ thumbnails  | 128  | GPU | 25,000,000 | not yet trained: no FFHQ was at hand;   |
|          |                  |      |     |            | scaled to 32x32, on other photographs   |
|          |                  |      |     |            | and with other penalty weights: 0 or 2  |
|          |                  |      |     |            | of 64 samples degenerate, SWD 26 or 32  |
| paper128 | FFHQ thumbnails  | 128  | GPU | 25,000,000 | not yet trained; scaled likewise: 0 of  |
|          |                  |      |     |            | 64, SWD 39; as the demo, on heads: IoU  |
|          |                  |      |     |            | .967 / .961, MAD 11.1 / 5.3 degrees     |

The command is `python -m experiments.train --preset=NAME`; scores are explained, with commands and
hardware, in BUILD_NOTES.md.

All but paper128 have the relativistic loss with R1 and R2 (R3GAN: Huang et al. 2024), with penalty
weights that grow with the number of pixels as theirs do (that of ffhq128 is a guess between
what two smaller sizes suggest). paper128 is nearer to the paper, whose generator and loss are
StyleGAN's: eight mapping layers, noise, style mixing, non-saturating loss, R1 every sixteenth step
(Karras et al. 2020). FFHQ has to be prepared once, see `experiments.prepare`. Widths, mesh sizes
and schedules are our choice.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from gan3d.config.fields import Config, reject_unknown

_DEMO = Config()

# What makes good heads at any size: no sides to choose between, and a discriminator that compares
# images, with penalties that fall.
_HEADS: dict[str, Any] = dict(
    mbstd_group_size=8,
    mirror_shape=True,
    mirror_texture=True,
    penalty_floor=0.1,
    fold_weight=100.0,
)

# What the demo had when the others were trained; what it has now was not tried with them.
_FORMER: dict[str, Any] = dict(discriminator_learning_rate=2e-3, smoothness_hold_images=48_000)

_HEADS32 = dataclasses.replace(
    _DEMO,
    **_HEADS,
    **_FORMER,
    preset="heads32",
    images=384_000,
    discriminator_width=64,
    num_heads=65_536,
    penalty_decay_images=240_000,
    ema_halflife_images=20_000,
    log_interval_images=3_200,
    sheet_interval_images=24_000,
    checkpoint_interval_images=24_000,
)

# What the presets for a GPU share.
_GPU = dataclasses.replace(
    _DEMO,
    **_FORMER,
    resolution=64,
    batch=32,
    surface_size=64,
    texture_size=64,
    background_size=32,
    generator_width=64,
    tangential_weight=0.0,  # not tried at these sizes
    log_interval_images=6_400,
    sheet_interval_images=64_000,
    checkpoint_interval_images=64_000,
)

_HEADS64 = dataclasses.replace(
    _GPU,
    **_HEADS,
    preset="heads64",
    images=530_000,
    latent_size=128,
    discriminator_width=256,
    precision="bfloat16",
    num_heads=131_072,
    r1_gamma=0.4,
    r2_gamma=0.4,
    penalty_decay_images=300_000,
    smoothness_hold_images=80_000,
    smoothness_halflife_images=10_000,
    ema_halflife_images=50_000,
    log_interval_images=12_800,
)

# What heads64 and faces64 become with four times the pixels.
_AT_128: dict[str, Any] = dict(
    resolution=128,
    texture_size=128,
    background_size=64,
    latent_size=256,
    generator_width=256,
    discriminator_width=256,
    precision="bfloat16",
    ema_halflife_images=50_000,
    sheet_interval_images=128_000,
    checkpoint_interval_images=128_000,
)

# heads64 with four times the pixels, and so four times its penalty weights. Heads of this size are
# large: as many as there would take 6.4 GB.
_HEADS128 = dataclasses.replace(
    _HEADS64,
    **_AT_128,
    preset="heads128",
    images=5_000_000,
    num_heads=65_536,
    r1_gamma=1.6,
    r2_gamma=1.6,
    penalty_decay_images=1_000_000,
    smoothness_hold_images=200_000,
    smoothness_halflife_images=25_000,
)

_FACES64 = dataclasses.replace(
    _GPU,
    preset="faces64",
    data="folder:",
    mirror=True,
    mirror_shape=True,
    mirror_texture=True,
    view_prior="gaussian",
    yaw_degrees=30.0,
    pitch_degrees=12.0,
    images=300_000,
    discriminator_width=64,
    r1_gamma=1.0,
    r2_gamma=1.0,
    smoothness_floor=1.0,
    fold_weight=100.0,
    size_max=0.7,
    ema_halflife_images=20_000,
    sheet_interval_images=30_000,
    checkpoint_interval_images=30_000,
)

# faces64 with four times the pixels. The views are those that pi-GAN (Chan et al. 2021) assumes of
# such photographs: standard deviations of 0.3 and 0.155 radians. Penalty weights of 1, which
# serve at 64x64 and at 32x32, would be 4 or 16 here if they grew with the number of pixels.
_FFHQ128 = dataclasses.replace(
    _FACES64,
    **_AT_128,
    preset="ffhq128",
    data="ffhq",
    images=25_000_000,
    r1_gamma=10.0,
    r2_gamma=10.0,
    yaw_degrees=34.0,
    pitch_degrees=18.0,
)

# The paper's: StyleGAN's generator and loss, uniform views, no symmetry. The hinge, which the paper
# does not name, stays: without it three of four fold at 32x32.
_PAPER128 = dataclasses.replace(
    _FFHQ128,
    preset="paper128",
    mirror_shape=False,
    mirror_texture=False,
    view_prior="uniform",
    yaw_degrees=45.0,
    pitch_degrees=15.0,
    size_max=Config().size_max,
    precision="float32",
    mapping_layers=8,
    noise=True,
    style_mixing=0.9,
    loss="nonsaturating",
    r2_gamma=0.0,
    penalty_interval=16,
)

PRESETS: dict[str, Config] = {
    config.preset: config
    for config in (_DEMO, _HEADS32, _HEADS64, _HEADS128, _FACES64, _FFHQ128, _PAPER128)
}
"""The named configurations; the table above says what each is for."""


def preset(name: str, **overrides: Any) -> Config:
    """The named preset, with some fields replaced.

    Raises:
      ValueError: there is no such preset, or no such field.

    >>> from gan3d.config import PRESETS
    >>> print(*PRESETS)
    demo heads32 heads64 heads128 faces64 ffhq128 paper128
    >>> config = preset("faces64", data="folder:photographs", batch=8)
    >>> print(config.resolution, config.yaw_degrees, config.batch)
    64 30.0 8
    """
    if name not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}")
    reject_unknown(overrides)
    return dataclasses.replace(PRESETS[name], **overrides)
