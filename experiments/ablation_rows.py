"""The rows of the ablation: what each changes against the base."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from gan3d.config import Config

# Of a training's length: the priors and the average follow the clock of images seen, so a shorter
# training needs shorter schedules to be the same training in small.
SCHEDULE = {
    "smoothness_hold_images": 1 / 4,
    "smoothness_halflife_images": 1 / 16,
    "ema_halflife_images": 1 / 20,
    "blur_images": 1 / 6,
    "penalty_decay_images": 1.0,
    "learning_rate_decay_images": 1.0,
}

_NO_SIZE = {"size_weight": 0.0}
_NO_PYRAMID = {"pyramid": False}


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the ablation.

    Attributes:
      about: what it changes, in a few words.
      overrides: fields of the configuration that differ from the base.
    """

    about: str
    overrides: Mapping[str, Any]


ROWS: dict[str, Row] = {
    # Figure 3 of the paper, one ingredient after the other.
    "crisp": Row("crisp renderer", {"margin_pixels": 0.0, **_NO_SIZE, **_NO_PYRAMID}),
    "soft": Row("soft renderer", {**_NO_SIZE, **_NO_PYRAMID}),
    "soft_size": Row("+ size constraint", _NO_PYRAMID),
    "full": Row("+ pyramid: the base", {}),
    "full_120": Row("the base, yaw within 120 degrees", {"yaw_degrees": 120.0}),
    "soft_120": Row(
        "soft renderer alone, yaw within 120 degrees",
        {"yaw_degrees": 120.0, **_NO_SIZE, **_NO_PYRAMID},
    ),
    # One at a time, against "full".
    "crisp_full": Row("crisp, size constraint, pyramid", {"margin_pixels": 0.0}),
    "prior_double": Row("p_v assumed twice as wide as it is", {"heads_yaw_factor": 0.5}),
    "prior_half": Row(
        "p_v assumed half as wide as it is", {"yaw_degrees": 45.0, "heads_yaw_factor": 2.0}
    ),
    "prior_learned": Row(
        "p_v learned, starting twice too wide",
        {"view_prior": "learned", "heads_yaw_factor": 0.5},
    ),
    "prior_matched_45": Row("p_v right, yaw within 45 degrees", {"yaw_degrees": 45.0}),
    "prior_gaussian": Row(
        "p_v gaussian, right", {"view_prior": "gaussian", "heads_view_prior": "gaussian"}
    ),
    "no_smoothness": Row("no smoothness terms", {"laplacian_weight": 0.0, "crease_weight": 0.0}),
    "sliding": Row("points slide along the start shape", {"tangential_weight": 0.0}),
    "mirror_shape": Row("mirror-symmetric shapes", {"mirror_shape": True}),
    "no_panning": Row("background does not pan", {"background_scale": 1.0}),
    "azimuthal": Row("azimuthal chart", {"chart": "azimuthal"}),
    "fov_10": Row("field of view 10 degrees", {"fov_degrees": 10.0}),
    "flat_pyramid": Row("pyramid gains that do not fall", {"pyramid_decay": 1.0}),
    "blur": Row("early images blurred", {"blur_pixels": 2.0}),
    "strong_penalties": Row("penalty weights of 1", {"r1_gamma": 1.0, "r2_gamma": 1.0}),
    "penalty_decay": Row(
        "penalty weights fall from 1 to a tenth",
        {"r1_gamma": 1.0, "r2_gamma": 1.0, "penalty_floor": 0.1},
    ),
    "bfloat16": Row("features in bfloat16", {"precision": "bfloat16"}),
    "nonsaturating": Row(
        "non-saturating loss, R1 alone", {"loss": "nonsaturating", "r2_gamma": 0.0}
    ),
}

MAIN_ROWS = ("crisp", "soft", "soft_size", "full", "full_120")


def row_config(base: Config, row: str, seed: int) -> Config:
    """The configuration of one run: the base, with the row's fields and the seed."""
    overrides = {**ROWS[row].overrides, "seed": seed, "preset": f"{base.preset}/{row}"}
    return dataclasses.replace(base, **overrides)


def scheduled(base: Config, given: set[str]) -> Config:
    """The base with schedules in proportion to its length, but for the fields that were given."""
    lengths = {
        name: max(1, round(part * base.images))
        for name, part in SCHEDULE.items()
        if name not in given
    }
    return dataclasses.replace(base, **lengths)
