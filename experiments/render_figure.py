"""Draws the pictures of the renderer's documentation.

    python -m experiments.render_figure   # about a minute; writes into experiments/figures

renderer.png: a trefoil knot, one connected mesh that occludes itself. Above: image, alpha, depth,
normals. Below: how the image changes when the knot moves to the right (red: brighter, blue:
darker): the gradient of the soft renderer, central finite differences of its pictures, central
differences of crisp pictures of many samples per pixel, and the crisp renderer's gradient, which
misses every silhouette. margin.png: the margin of a triangle, pixel by pixel, with its alpha.

Prints what the four say about one number, d(sum over pixels of x times image) / d(shift), x from -1
to 1 across the picture: for a plain object over a plain background this is its contrast times its
area, and the margin adds half a pixel all around.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from PIL import Image, ImageDraw, ImageFont

from experiments import flags as experiment_flags
from gan3d.render import (
    Buffers,
    Camera,
    DirectionalLights,
    Topology,
    composite,
    interpolate,
    interpolate_uv,
    lambert,
    make_topology,
    orbit_camera,
    project,
    rasterize,
    render_buffers,
    sample_texture,
    vertex_normals,
)
from gan3d.visualize import image_grid, save_png

if TYPE_CHECKING:
    from jaxtyping import Array, Float, UInt8

BACKGROUND = 0.93
LIGHTS = DirectionalLights(np.float32([[-1.0, -2.0, -2.0]]), np.full((1, 3), 0.75, np.float32))
AMBIENT = 0.3
# Half the width of central differences, pixels. The soft picture is continuous with kinks; the
# other one moves by whole samples.
SOFT_STEP, SAMPLED_STEP = 0.01, 0.25
TITLES = (
    ("image", "alpha", "depth", "normals"),
    ("soft: gradient", "soft: differences", "many samples: differences", "crisp: gradient"),
)
ENLARGEMENT = 56  # of the margin's pixels
TRIANGLE = np.float32([[1.4, 1.3, 1.0], [2.6, 5.7, 1.0], [7.4, 2.8, 1.0]])


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    folder = "experiments/figures"
    flags.DEFINE_string("out", folder, "folder to write to", flag_values=values)
    whole = functools.partial(flags.DEFINE_integer, lower_bound=1, flag_values=values)
    whole("size", 192, "side of each picture in pixels", upper_bound=1024)
    whole("samples", 8, "samples along a pixel's side of the crisp reference", upper_bound=16)
    return values


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is drawn: a mesh, its texture, and the camera that sees it."""

    vertices: Float[np.ndarray, "V 3"]
    topology: Topology
    texture: Float[np.ndarray, "Th Tw 3"]
    camera: Camera


@dataclasses.dataclass(frozen=True)
class Derivatives:
    """d image / d shift [H, W, 3], colours per pixel of motion, by four means."""

    soft: np.ndarray
    soft_differences: np.ndarray
    sampled_differences: np.ndarray
    crisp: np.ndarray


def trefoil(around: int = 160, across: int = 16, thickness: float = 0.15):
    """A closed tube along a trefoil knot in the unit ball, clear of itself; u around, v across."""
    u, v = np.arange(around + 1) / around, np.arange(across + 1) / across
    t = 2 * np.pi * u
    center = np.stack([np.sin(t) + 2 * np.sin(2 * t), np.cos(t) - 2 * np.cos(2 * t)], axis=1)
    center = np.concatenate([center, -1.4 * np.sin(3 * t)[:, None]], axis=1) / 4
    tangent = np.stack([np.cos(t) + 4 * np.cos(2 * t), 4 * np.sin(2 * t) - np.sin(t)], axis=1)
    tangent = np.concatenate([tangent, -4.2 * np.cos(3 * t)[:, None]], axis=1)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    # Any direction that goes round with the curve will do for a frame: here the knot's own centre.
    first = center - (center * tangent).sum(1, keepdims=True) * tangent
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(tangent, first)
    angle = 2 * np.pi * v[None, :, None]
    ring = np.cos(angle) * first[:, None] + np.sin(angle) * second[:, None]
    vertices = (center[:, None] + thickness * ring)[:-1, :-1].reshape(-1, 3)
    i, j = (a.reshape(-1) for a in np.meshgrid(range(around), range(across), indexing="ij"))

    def quads(rows, columns):
        at = lambda di, dj: (i + di) % rows * columns + (j + dj) % columns  # noqa: E731
        a, b, c, d = at(0, 0), at(1, 0), at(1, 1), at(0, 1)
        return np.stack([a, c, b, a, d, c], axis=1).reshape(-1, 3)

    uvs = np.stack(np.meshgrid(u, v, indexing="ij"), axis=-1).reshape(-1, 2)
    uv_faces = quads(around + 1, across + 1)
    topology = make_topology(quads(around, across), uvs, None, len(vertices), uv_faces)
    return vertices.astype(np.float32), topology


def make_subject() -> Subject:
    """The knot with a smooth texture of stripes, seen obliquely."""
    vertices, topology = trefoil()
    u, v = (np.arange(256) + 0.5) / 256, (np.arange(16) + 0.5) / 16
    phase = 2 * np.pi * np.array([0.0, 0.12, 0.3])
    hue = 0.65 + 0.3 * np.cos(2 * np.pi * u[None, :, None] + phase[None, None, :])
    stripes = 0.85 + 0.15 * np.cos(2 * np.pi * (24 * u[None, :, None] + v[:, None, None]))
    texture = (hue * stripes).astype(np.float32)
    return Subject(vertices, topology, texture, orbit_camera(0.35, pitch=0.4))


def draw(
    subject: Subject,
    shift: Float[Array, ""],
    size: int,
    margin_pixels: float = 1.0,
    samples: int = 1,
) -> tuple[Float[Array, "H W 3"], Float[Array, "H W"], Buffers]:
    """(image in [0, 1], alpha, buffers), the buffers with all samples.

    Args:
      subject: what to draw.
      shift: motion to the right, pixels of the picture at the origin's depth.
      size: side of the picture.
      margin_pixels: in samples.
      samples: along a pixel's side; the image and alpha are their means.
    """
    topology, camera = subject.topology, subject.camera
    # The picture is two world units high at the origin.
    vertices = subject.vertices + shift * (2 / size) * camera.rotation[:1]
    fine = (size * samples, size * samples)
    fragments = rasterize(project(vertices, camera, fine), topology, fine, margin_pixels)
    normals = interpolate(vertex_normals(vertices, topology), fragments, topology)
    albedo = sample_texture(subject.texture, interpolate_uv(fragments, topology))
    # Light from over the camera's shoulder: in its frame, like the normals.
    facing = jnp.matmul(normals, camera.rotation.T, precision="highest")
    colors = lambert(facing, albedo, AMBIENT, LIGHTS)
    image, alpha = composite(colors, fragments.alpha, jnp.full((*fine, 3), BACKGROUND))
    buffers = render_buffers(vertices, topology, camera, fragments)
    mean = lambda a: a.reshape(size, samples, size, samples, -1).mean((1, 3))  # noqa: E731
    return mean(image), mean(alpha)[..., 0], buffers


def forward_derivative(function: Callable[[Array], Array], at: Array) -> Array:
    """d function / d scalar, by transposing the reverse mode, which is linear in its cotangent."""
    value, pull_back = jax.vjp(function, at)
    _, push = jax.vjp(lambda cotangent: pull_back(cotangent)[0], jnp.zeros_like(value))
    return push(jnp.ones_like(at))[0]


def differentiate(subject: Subject, size: int, samples: int) -> Derivatives:
    """The four derivatives of the image at shift 0."""

    def image(shift, margin_pixels=1.0, samples=1):
        return draw(subject, shift, size, margin_pixels, samples)[0]

    def gradient(margin_pixels):
        function = functools.partial(image, margin_pixels=margin_pixels)
        return jax.jit(lambda at: forward_derivative(function, at))(jnp.float32(0))

    def differences(step, **options):
        function = jax.jit(functools.partial(image, **options))
        ends = [function(jnp.float32(sign * step)) for sign in (-1, 1)]
        return (ends[1] - ends[0]) / (2 * step)

    found = Derivatives(
        soft=gradient(1.0),
        soft_differences=differences(SOFT_STEP),
        sampled_differences=differences(SAMPLED_STEP, margin_pixels=0.0, samples=samples),
        crisp=gradient(0.0),
    )
    return Derivatives(*(np.asarray(getattr(found, f.name)) for f in dataclasses.fields(found)))


def moments(derivatives: Derivatives) -> dict[str, float]:
    """d(sum of x image) / d shift of each, x in (-1, 1) from left to right, mean of the colours."""
    size = derivatives.soft.shape[0]
    x = (2 * np.arange(size) + 1) / size - 1
    names = [field.name for field in dataclasses.fields(derivatives)]
    return {name: float((getattr(derivatives, name).mean(-1) * x).sum()) for name in names}


def sheet(subject: Subject, derivatives: Derivatives) -> UInt8[np.ndarray, "H W 3"]:
    """Two rows of four pictures with titles."""
    size = derivatives.soft.shape[0]
    image, alpha, buffers = jax.jit(lambda s: draw(subject, s, size))(jnp.float32(0))
    alpha = np.asarray(alpha)[..., None]
    seen = buffers.depth[alpha[..., 0] > 0]
    depth = 1 - 0.8 * (buffers.depth - seen.min()) / (seen.max() - seen.min())
    # Towards the viewer is blue, right is red, up is green: as normal maps are painted.
    normals = (np.asarray(buffers.normals) * np.float32([1, -1, -1]) + 1) / 2
    over_white = lambda a: alpha * np.asarray(a) + 1 - alpha  # noqa: E731
    upper = [
        image,
        np.tile(alpha, 3),
        over_white(np.tile(np.asarray(depth)[..., None], 3)),
        over_white(normals),
    ]
    scale = np.quantile(np.abs(derivatives.sampled_differences.mean(-1)), 0.995)
    fields = dataclasses.fields(derivatives)
    lower = [_signed(getattr(derivatives, f.name).mean(-1) / scale) for f in fields]
    bytes_of = lambda a: np.uint8(np.rint(255 * np.clip(np.asarray(a), 0, 1)))  # noqa: E731
    rows = zip((upper, lower), TITLES, strict=True)
    return np.concatenate([image_grid([[*map(bytes_of, row)]], size, t) for row, t in rows])


def _signed(values: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H W 3"]:
    """Red above zero, blue below, white at zero; full colour at one."""
    strength = np.clip(np.abs(values), 0, 1)[..., None]
    color = np.where(values[..., None] > 0, [0.75, 0.05, 0.1], [0.05, 0.2, 0.75])
    return 1 - strength * (1 - color)


def margin_picture() -> UInt8[np.ndarray, "H W 3"]:
    """A triangle over white: each pixel in its colour, its alpha written into it."""
    height, width = 7, 9
    topology = make_topology(np.array([[0, 1, 2]]))
    layers = jax.jit(lambda points: rasterize(points, topology, (height, width)).alpha)(TRIANGLE)
    alpha = np.asarray(composite(layers[..., None], layers)[1])
    color = 255 - alpha[..., None] * (255 - np.array([240, 150, 40]))
    canvas = Image.fromarray(np.uint8(np.rint(color)).repeat(ENLARGEMENT, 0).repeat(ENLARGEMENT, 1))
    ink = ImageDraw.Draw(canvas)
    for i in range(height):
        for j in range(width):
            box = [j * ENLARGEMENT, i * ENLARGEMENT, (j + 1) * ENLARGEMENT, (i + 1) * ENLARGEMENT]
            ink.rectangle(box, outline=(215, 215, 215))
            x, y = (j + 0.5) * ENLARGEMENT, (i + 0.5) * ENLARGEMENT
            ink.ellipse([x - 2, y - 2, x + 2, y + 2], fill=(90, 90, 90))
            text = f"{alpha[i, j]:.2f}" if alpha[i, j] else "0"
            font = ImageFont.load_default()
            ink.text((x - font.getlength(text) / 2, y + 6), text, fill=(60, 60, 60), font=font)
    outline = [tuple(float(a) * ENLARGEMENT for a in corner[:2]) for corner in TRIANGLE]
    ink.line([*outline, outline[0]], fill=(20, 20, 20), width=2)
    return np.asarray(canvas)


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    values = _define_flags()
    experiment_flags.parse(values, argv, __doc__)
    experiment_flags.check_output("out", values.out, folder=True)
    out = pathlib.Path(values.out)
    subject = make_subject()
    derivatives = differentiate(subject, values.size, values.samples)
    save_png(out / "renderer.png", sheet(subject, derivatives))
    save_png(out / "margin.png", margin_picture())
    for name, value in moments(derivatives).items():
        print(f"{name:20} {value:9.2f}")
    print(f"{out / 'renderer.png'}  {out / 'margin.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(experiment_flags.run(main, sys.argv))
