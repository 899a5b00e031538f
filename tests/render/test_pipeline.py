"""The options of `render`, on flat sheets whose pictures are known in closed form."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from render_scenes import IMAGE_SIZE, SCENES, compile_quickly

from gan3d.render import (
    composite,
    interpolate_uv,
    make_topology,
    orbit_camera,
    orthographic_camera,
    project,
    rasterize,
    render,
    sample_texture,
    sheet,
    uv_derivatives,
)

SIZE = (8, 8)
BACKGROUND = np.linspace(0, 1, 8 * 8 * 3, dtype=np.float32).reshape(8, 8, 3)


def tilted_sheet(angle: float = 0.9):
    """Turned about the vertical axis: its right side is far away."""
    vertices, topology = sheet()
    x, y, _ = vertices.T
    return np.stack([x * np.cos(angle), y, x * np.sin(angle)], axis=1), topology


def ramp_texture(height: int = 2, width: int = 64) -> np.ndarray:
    """u itself at every texel, so that a picture shows its texture coordinates."""
    u = (np.arange(width, dtype=np.float32) + 0.5) / width
    return np.broadcast_to(u[None, :, None], (height, width, 1))


def test_defaults_are_bilinear_and_opaque():
    texture = np.random.default_rng(0).uniform(size=(5, 7, 3)).astype(np.float32)
    vertices, topology = tilted_sheet()

    @compile_quickly
    def draw(vertices):
        picture = render(vertices, topology, texture, orbit_camera(0.0), SIZE, BACKGROUND)
        layers = sample_texture(texture, interpolate_uv(picture.fragments, topology))
        return picture, composite(layers, picture.fragments.alpha, BACKGROUND)

    picture, (color, alpha) = draw(0.7 * vertices)
    np.testing.assert_allclose(picture.color, color, atol=1e-6)
    np.testing.assert_allclose(picture.alpha, alpha, atol=1e-6)
    assert set(np.unique(picture.fragments.alpha[-1])) == {0, 1}


def test_colour_and_its_gradients_are_those_of_the_parts():
    """`render` shades without fragments; more margin pixels than fit one of its lists."""
    shot, topology = SCENES["blobs"]().shot, SCENES["blobs"]().topology
    margin_pixels = 3.0

    def whole(shot, uvs, opacity):
        mesh, camera = dataclasses.replace(topology, uvs=uvs), orbit_camera(shot.yaw, 0.15)
        return render(
            shot.vertices, mesh, shot.texture, camera, IMAGE_SIZE, shot.background,
            margin_pixels, opacity=opacity, mipmaps=True,
        ).color  # fmt: skip

    def from_parts(shot, uvs, opacity):
        mesh, camera = dataclasses.replace(topology, uvs=uvs), orbit_camera(shot.yaw, 0.15)
        points = project(shot.vertices, camera, IMAGE_SIZE)
        fragments = rasterize(points, mesh, IMAGE_SIZE, margin_pixels)
        footprint = uv_derivatives(fragments, points, mesh)
        uv = interpolate_uv(fragments, mesh)
        layers = sample_texture(shot.texture, uv, derivatives=footprint)
        alpha = opacity * fragments.alpha
        return composite(layers, alpha, shot.background)[0], (fragments.alpha[:-1] > 0).sum()

    @compile_quickly
    def compare(*arguments):
        color, pull_back = jax.vjp(whole, *arguments)
        expected, pull_back_parts, in_margins = jax.vjp(from_parts, *arguments, has_aux=True)
        cotangent = jnp.cos(7 * expected)
        return (color, pull_back(cotangent)), (expected, pull_back_parts(cotangent)), in_margins

    arguments = jax.tree.map(np.float32, (shot, topology.uvs, 0.6))
    actual, expected, in_margins = compare(*arguments)
    assert in_margins > 2 * sum(IMAGE_SIZE)
    for a, b in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        assert np.abs(b).max() > 0
        np.testing.assert_allclose(a, b, atol=2e-4 * np.abs(b).max())


def test_an_orthographic_camera_shows_a_tilted_ramp_as_a_ramp():
    """With parallel rays u is linear in x; by perspective it is not, on the tilted sheet."""
    vertices, topology = tilted_sheet()
    camera = orthographic_camera(distance=3.0)
    seen = compile_quickly(
        lambda v: render(v, topology, ramp_texture(), camera, SIZE, margin_pixels=0).color
    )
    row = seen(vertices)[4, :, 0]
    # The sheet spans cos(0.9) of the picture's half: 4 +- 4 cos(0.9) pixels.
    u = 0.5 + (np.arange(8) + 0.5 - 4) / (8 * np.cos(0.9))
    inside = (u > 0) & (u < 1)
    assert inside.sum() == 4
    np.testing.assert_allclose(row[inside], u[inside], atol=1e-5)


def two_sheets(depths=(0.5, -0.5)):
    """Two parallel sheets as one mesh; the first is the far one, its texture the left half."""
    vertices, topology = sheet()
    positions = np.concatenate([vertices + np.float32([0, 0, z]) for z in depths])
    faces = np.concatenate([topology.faces, topology.faces + 4])
    uvs = np.repeat([[0.0, 0.5], [1.0, 0.5]], 4, axis=0)
    return positions, make_topology(faces, uvs)


def test_opacity_mixes_the_surfaces_over_one_another():
    """o c1 + (1 - o) (o c2 + (1 - o) background), and its derivative in o."""
    vertices, topology = two_sheets()
    near, far = np.float32([0.9, 0.1, 0.2]), np.float32([0.2, 0.7, 1.0])
    texture = jnp.stack([far, near])[None]

    def seen(opacity):
        return render(
            vertices, topology, texture, orthographic_camera(distance=3.0), SIZE, BACKGROUND,
            num_surfaces=2, opacity=opacity,
        )  # fmt: skip

    def center(opacity):
        picture = seen(opacity)
        return picture.color[3, 4], (picture.color[3, 4], picture.alpha[3, 4])

    slope, (color, alpha) = compile_quickly(jax.jacrev(center, has_aux=True))(0.3)
    behind = 0.3 * far + 0.7 * BACKGROUND[3, 4]
    np.testing.assert_allclose(color, 0.3 * near + 0.7 * behind, rtol=1e-5)
    np.testing.assert_allclose(alpha, 1 - 0.7**2, rtol=1e-6)
    np.testing.assert_allclose(slope, near - behind + 0.7 * (far - BACKGROUND[3, 4]), rtol=1e-4)


def test_culling_and_the_depth_range():
    """Seen from behind, a sheet at depth 3 is there without culling, until far cuts it away."""
    vertices, topology = sheet()
    camera = orthographic_camera(np.pi, distance=3.0)

    def opacity(**options):
        def draw(vertices):
            return render(
                vertices, topology, ramp_texture(), camera, SIZE, margin_pixels=0, **options
            ).alpha

        return compile_quickly(draw)(0.5 * vertices).max()

    assert opacity() == 0
    assert opacity(cull=False) == 1
    assert opacity(cull=False, far=2.9) == 0
    assert opacity(cull=False, near=3.1) == 0


def test_mipmaps_average_a_texture_seen_reduced():
    """A chequered texture, eight texels to a pixel, is grey; without mipmaps it is aliased."""
    chequered = (np.indices((72, 72)).sum(axis=0) % 2).astype(np.float32)[..., None]
    vertices, topology = tilted_sheet(0.0)

    def seen(mipmaps):
        camera, options = orthographic_camera(distance=3.0), dict(margin_pixels=0, mipmaps=mipmaps)
        return compile_quickly(
            lambda v: render(v, topology, chequered, camera, SIZE, **options).color
        )(0.97 * vertices)

    np.testing.assert_allclose(seen(True)[1:-1, 1:-1], 0.5, atol=1e-6)
    assert np.abs(seen(False)[1:-1, 1:-1] - 0.5).max() > 0.2


def test_wrap_repeats_the_texture():
    """UVs from 0 to 2: the far half of a row or column shows the near one, or its mirror image."""
    vertices, topology = sheet()
    topology = dataclasses.replace(topology, uvs=2 * topology.uvs)
    camera = orthographic_camera(distance=3.0)
    u, v = ramp_texture(64, 64), np.swapaxes(ramp_texture(64, 64), 0, 1)
    texture = np.concatenate([u, v], axis=-1)

    def seen(wrap):
        options = dict(margin_pixels=0, wrap=wrap)
        draw = lambda v: render(v, topology, texture, camera, SIZE, **options).color  # noqa: E731
        return compile_quickly(draw)(vertices)

    ramp = (np.arange(4) + 0.5) / 4
    picture = seen("mirror")
    np.testing.assert_allclose(picture[4, :, 0], [*ramp, *ramp[::-1]], atol=1e-5)
    picture = seen(("repeat", "clamp"))
    np.testing.assert_allclose(picture[4, :, 0], np.tile(ramp, 2), atol=1e-5)
    np.testing.assert_allclose(picture[4:, 4, 1], texture[-1, 0, 1], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(vertices=np.zeros((2, 4, 3))), r"vertices must have shape \[4, 3\].*\[2, 4, 3\]"),
        (dict(vertices=np.zeros((5, 3))), r"vertices must have shape \[4, 3\].*\[5, 3\]"),
        (dict(background=np.zeros((8, 9, 1))), r"background must.*\[8, 8, 1\].*\[8, 9, 1\]"),
        (dict(background=np.zeros((8, 8, 3))), r"background must.*\[8, 8, 1\].*\[8, 8, 3\]"),
        (dict(texture=np.zeros((4, 4))), r"texture must.*\[4, 4\]"),
        (dict(opacity=1.5), "opacity must.*1.5"),
        (dict(wrap="tile"), "wrap must.*'tile'"),
        (dict(num_surfaces=0), "num_surfaces must.*0"),
        (dict(near=2.0, far=1.0), "near and far must.*2.0 and 1.0"),
        (dict(image_size=(0, 8)), r"image_size must.*\(0, 8\)"),
    ],
)
def test_mistakes_are_named(change, message):
    vertices, topology = sheet()
    right = dict(vertices=vertices, texture=ramp_texture(), image_size=SIZE)
    wrong = {**right, **change}
    arguments = [wrong.pop(name) for name in ("vertices", "texture", "image_size")]
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(
            lambda: render(
                arguments[0], topology, arguments[1], orbit_camera(0.0), arguments[2], **wrong
            )
        )
