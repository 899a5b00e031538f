"""What `experiments.fit` reconstructs: a procedural head, or a folder of posed photographs."""

from __future__ import annotations

import json
import math
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, UnidentifiedImageError

from gan3d.data.heads import MAP_SIZE, head_scene
from gan3d.fitting import Fit, PosedViews, photograph
from gan3d.render import Camera, Topology, orbit_camera
from gan3d.scene import make_stage, scene_vertices

FOV = math.radians(20.0)
PITCH_RANGE = math.radians(40.0)
HOLD_OUT_EVERY = 8  # of the photographs of a folder
BACKGROUND = 0.0  # grey behind the heads, whose hair may be as dark or as bright as can be


class DataError(Exception):
    """The data cannot be used; the message says why."""


class Problem(NamedTuple):
    """Views to fit to, views to judge by, the sphere to start from, and the truth if known.

    Attributes:
      center: of the sphere, world coordinates.
      radius: of the sphere.
      truth: the true mesh and its faces, or None.
    """

    training: PosedViews
    held_out: PosedViews
    center: np.ndarray
    radius: float
    truth: tuple[Fit, Topology] | None


def procedural_problem(
    index: int, num_views: int = 24, num_held_out: int = 8, size: int = 64
) -> Problem:
    """Head number `index` of family 0 from all sides, pitch within +-40 degrees, grey behind.

    The pictures are supersampled crisp ones, so that they favour no margin.
    """
    stage = make_stage(MAP_SIZE, size, FOV)
    scene = head_scene(0, index)
    truth = Fit(scene_vertices(scene.surface, stage), scene.texture)
    background = jnp.full(3, BACKGROUND)

    def shoot(first: int, num: int) -> PosedViews:
        cameras = _cameras_around(first, num)
        images, alphas = photograph(truth, stage.topology, cameras, (size, size), background)
        return PosedViews(images, alphas, cameras, background)

    training, held_out = shoot(0, num_views), shoot(num_views, num_held_out)
    return Problem(training, held_out, np.zeros(3), 0.6, (truth, stage.topology))


def folder_problem(folder: str | pathlib.Path, size: int | None = None) -> Problem:
    """A folder with transforms.json as NeRF's and the photographs it names.

    Photographs have an alpha channel or a plain background, whose colour is taken from their
    borders. Every eighth is held out. The sphere stands where the optical axes (nearly) meet and
    fills half of the picture. World axes stay those of the file.

    Args:
      folder: with transforms.json, or else transforms_train.json.
      size: height of the pictures in pixels, to which they are reduced. None: as they are.

    Raises:
      DataError: a file is missing or cannot be read, or there are too few photographs.
    """
    from gan3d.render import cameras_from_transforms

    folder = pathlib.Path(folder)
    described = _read_transforms(folder)
    frames = described.get("frames", [])
    if len(frames) < 4:
        raise DataError(f"{folder} must have at least 4 frames, got {len(frames)}")
    pictures = [_open_image(_find_image(folder, frame["file_path"]), size) for frame in frames]
    if len({picture.shape for picture in pictures}) > 1:
        raise DataError(f"the photographs of {folder} differ in size or in having alpha")
    cameras, _ = cameras_from_transforms(described, pictures[0].shape[:2])
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *cameras)
    views = _views(np.stack(pictures), stacked)
    held_out = np.arange(len(frames)) % HOLD_OUT_EVERY == 0
    center, radius = _meeting_point(stacked)
    training = views.select(np.flatnonzero(~held_out))
    return Problem(training, views.select(np.flatnonzero(held_out)), center, radius, None)


def _cameras_around(first: int, num: int) -> Camera:
    """Number first to first + num - 1 of a sequence of views that fills the band evenly."""
    # Source: Roberts 2018, "The unreasonable effectiveness of quasirandom sequences": R2.
    golden = 1.32471795724474602596
    steps = np.arange(first, first + num)[:, None] * [1 / golden, 1 / golden**2]
    yaw, pitch = ((0.5 + steps) % 1 * 2 - 1).T
    angles = jnp.asarray(np.stack([math.pi * yaw, PITCH_RANGE * pitch], 1), jnp.float32)
    return jax.vmap(lambda angle: orbit_camera(angle[0], angle[1], fov=FOV))(angles)


def _read_transforms(folder: pathlib.Path) -> dict[str, Any]:
    for name in ("transforms.json", "transforms_train.json"):
        if (folder / name).is_file():
            try:
                return json.loads((folder / name).read_text())
            except json.JSONDecodeError as error:
                raise DataError(f"{folder / name} is no JSON: {error}") from error
    raise DataError(f"there is no transforms.json in {folder}")


def _find_image(folder: pathlib.Path, file_path: str) -> pathlib.Path:
    """The file may be named without its ending, as in NeRF's synthetic scenes."""
    for suffix in ("", ".png", ".jpg", ".jpeg"):
        path = folder / f"{file_path}{suffix}"
        if path.is_file():
            return path
    raise DataError(f"there is no photograph {folder / file_path}")


def _open_image(path: pathlib.Path, size: int | None) -> np.ndarray:
    """[H, W, 3] or, with alpha, [H, W, 4]; in [0, 1]."""
    try:
        image = Image.open(path)
        has_alpha = "A" in image.getbands() or "transparency" in image.info
        image = image.convert("RGBA" if has_alpha else "RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{path} is no picture: {error}") from error
    if size is not None and size != image.height:
        width = round(image.width * size / image.height)
        image = image.resize((width, size), Image.Resampling.BOX)
    return np.asarray(image, np.float32) / 255


def _views(pictures: np.ndarray, cameras: Camera) -> PosedViews:
    colors = pictures[..., :3] * 2 - 1
    if pictures.shape[-1] == 4:
        alphas = pictures[..., 3]
        background = np.full(3, BACKGROUND, np.float32)
        colors = colors * alphas[..., None] + background * (1 - alphas[..., None])
        return PosedViews(*map(jnp.asarray, (colors, alphas)), cameras, jnp.asarray(background))
    borders = [colors[:, 0], colors[:, -1], colors[:, :, 0], colors[:, :, -1]]
    background = np.median(np.concatenate([b.reshape(-1, 3) for b in borders]), axis=0)
    return PosedViews(jnp.asarray(colors), None, cameras, jnp.asarray(background))


def _meeting_point(cameras: Camera) -> tuple[np.ndarray, float]:
    """The point closest to all optical axes, and a quarter of the picture's height there."""
    rotation = np.asarray(cameras.rotation, np.float64)
    eyes = -np.einsum("nij,ni->nj", rotation, np.asarray(cameras.translation, np.float64))
    axes = rotation[:, 2]
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    center = np.linalg.lstsq(across.sum(0), np.einsum("nij,nj->i", across, eyes), rcond=None)[0]
    distance = np.linalg.norm(eyes - center, axis=-1).mean()
    focal = float(np.asarray(cameras.focal)[..., -1].mean())
    return center, float(0.5 * distance / focal)
