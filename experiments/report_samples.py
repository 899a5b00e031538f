"""Samples of a trained generator as the report's viewer reads them: small arrays and pictures.

What the samples share is sent once: faces, texture coordinates, welded vertices, the camera. A
sample has its vertices, 16 bits per coordinate over its bounding box, its texture and its
background as PNG, and still pictures. Arrays are base64 of little-endian numbers.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from gan3d.render import Topology, with_vertex_uvs
from gan3d.trained import TrainedGenerator
from gan3d.visualize import CANONICAL_YAW_DEGREES, to_uint8

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Shaped, UInt8, UInt16

LEVELS = 2**16 - 1  # steps of a quantised coordinate
START = (math.radians(25.0), math.radians(8.0))  # yaw and pitch that show a shape best
STILL_PIXELS = 160
STILL_QUALITY = 88  # of WebP


class Quantised(NamedTuple):
    """Points on a grid over their bounding box: low + step * levels.

    Attributes:
      levels: 0 to `LEVELS`.
      low: corner of the box.
      step: of the grid; no coordinate is further than half of it from the truth.
    """

    levels: UInt16[np.ndarray, "V 3"]
    low: Float[np.ndarray, "3"]
    step: Float[np.ndarray, "3"]


def quantise(points: Float[np.ndarray, "V 3"]) -> Quantised:
    """Rounds points to 16 bits per coordinate."""
    points = np.asarray(points, np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    step = (high - low) / LEVELS
    levels = np.rint((points - low) / np.where(step > 0, step, 1))
    return Quantised(levels.astype(np.uint16), low, step)


def encode_samples(
    generator: TrainedGenerator, num: int, seed: int, truncation: float
) -> dict[str, Any]:
    """The viewer's data, ready for JSON; `experiments.sample` draws the same latents of a seed.

    Args:
      generator: of the run.
      num: number of samples.
      seed: of the latents.
      truncation: 1 = none, 0 = the mean object.
    """
    latent_key, _ = jax.random.split(jax.random.key(seed))
    scenes = generator.scene(generator.styles(generator.sample(latent_key, num), truncation))
    topology, source = with_vertex_uvs(generator.parts.stage.topology)
    vertices = np.asarray(generator.vertices(scenes))[:, source]
    textures, backgrounds = (to_uint8(a) for a in (scenes.texture, scenes.background))
    stills = [_stills(generator, jax.tree.map(lambda a: a[i], scenes)) for i in range(num)]  # noqa: B023
    samples = [
        _encode_sample(vertices[i], textures[i], backgrounds[i], stills[i]) for i in range(num)
    ]
    return {**_encode_topology(topology), "stage": _encode_stage(generator), "samples": samples}


def _encode_topology(topology: Topology) -> dict[str, Any]:
    wide = topology.num_vertices > 2**16
    index = np.dtype("<u4" if wide else "<u2")
    return {
        "index_bytes": index.itemsize,
        "faces": encode_array(np.asarray(topology.faces).astype(index)),
        "weld": encode_array(np.asarray(topology.weld).astype(index)),
        "uvs": encode_array(np.rint(np.asarray(topology.uvs) * LEVELS).astype("<u2")),
    }


def _encode_stage(generator: TrainedGenerator) -> dict[str, Any]:
    stage = generator.parts.stage
    return {
        "focal": 1 / math.tan(stage.fov / 2),
        "distance": stage.distance,
        "start": START,
        "views_degrees": CANONICAL_YAW_DEGREES,
        "background_scale": stage.background_scale,
        "pan_range": [stage.prior.yaw_range, stage.prior.pitch_range],
    }


def _encode_sample(
    vertices: Float[np.ndarray, "V 3"],
    texture: UInt8[np.ndarray, "T T 3"],
    background: UInt8[np.ndarray, "Bh Bw 3"],
    stills: Sequence[UInt8[np.ndarray, "H W 4"]],
) -> dict[str, Any]:
    quantised = quantise(vertices)
    return {
        "vertices": encode_array(quantised.levels.astype("<u2")),
        "low": quantised.low.tolist(),
        "step": quantised.step.tolist(),
        "texture": picture_uri(texture),
        "background": picture_uri(background),
        "thumbnail": picture_uri(stills[0], STILL_QUALITY),
        "stills": [picture_uri(still, STILL_QUALITY) for still in stills[1:]],
    }


def _stills(generator: TrainedGenerator, scene: Any) -> list[UInt8[np.ndarray, "H W 4"]]:
    """The object alone, transparent around it: as the viewer starts, and the canonical views."""
    yaw = jnp.radians(jnp.array([math.degrees(START[0]), *CANONICAL_YAW_DEGREES]))
    pitch = jnp.zeros_like(yaw).at[0].set(START[1])
    plain = scene._replace(background=jnp.zeros_like(scene.background))
    pictures = generator.render(plain, generator.camera(yaw, pitch), STILL_PIXELS)
    alpha = np.asarray(pictures.alpha)[..., None]
    # What shines through is the background's zero.
    colors = to_uint8(np.asarray(pictures.image) / np.maximum(alpha, 1e-3))
    opacity = np.rint(255 * np.clip(alpha, 0, 1)).astype(np.uint8)
    return list(np.concatenate([colors, opacity], axis=-1))


def encode_array(array: Shaped[Array, "*shape"]) -> str:
    """Base64 of the numbers in C order, in the array's own byte order."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def picture_uri(picture: UInt8[np.ndarray, "H W C"] | Image.Image, quality: int = 0) -> str:
    """A data: address; PNG, or WebP if a quality up to 100 is given."""
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    kind, options = ("webp", {"quality": quality}) if quality else ("png", {"optimize": True})
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def thumbnails(samples: Mapping[str, Any]) -> str:
    """The choice between the samples."""
    return "".join(
        f'<label><input type="radio" name="sample" value="{i}"{" checked" * (i == 0)}>'
        f'<img src="{sample["thumbnail"]}" alt="sample {i + 1}"></label>'
        for i, sample in enumerate(samples["samples"])
    )


def view_buttons(samples: Mapping[str, Any]) -> str:
    """Buttons that turn the camera to the canonical views."""
    return "".join(
        f'<button type="button" data-yaw="{yaw:g}" aria-pressed="false">{_degrees(yaw)}</button>'
        for yaw in samples["stage"]["views_degrees"]
    )


def stills(samples: Mapping[str, Any]) -> str:
    """Still pictures for print, and for browsers that cannot turn the samples."""
    views = [_degrees(yaw) for yaw in samples["stage"]["views_degrees"]]
    return "".join(
        "<figure>"
        + "".join(
            f'<img src="{uri}" alt="sample {number} from {view}">'
            for uri, view in zip(sample["stills"], views, strict=True)
        )
        + "</figure>"
        for number, sample in enumerate(samples["samples"], start=1)
    )


def _degrees(yaw: float) -> str:
    return f"{yaw:+.0f}°".replace("-", "&minus;") if yaw else "0°"
