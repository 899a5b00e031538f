"""A trained generator, opened and used."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from saved_run import TINY, save_run

import gan3d
from gan3d.mesh_files import load_mesh
from gan3d.scene import View, render_scene, view_of
from gan3d.training.assemble import generate

BATCH = 3


def saved_and_opened(directory, config=TINY):
    save_run(directory, config)
    generator = gan3d.load(directory)
    # Random parameters are as good as no mapping, whose layers have a slow rate.
    mapping = jax.tree.map(lambda a: 100 * a, generator.params["mapping"])
    return dataclasses.replace(generator, params={**generator.params, "mapping": mapping})


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return saved_and_opened(tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="module")
def z(generator):
    return generator.sample(jax.random.key(0), BATCH)


@pytest.fixture(scope="module")
def scenes(generator, z):
    return generator.scene(z)


def test_it_knows_its_run(generator):
    assert repr(generator) == "<TrainedGenerator tiny, 320 images seen>"


def test_scenes_are_those_of_training(generator, z, scenes):
    expected = jax.jit(lambda one: generate(generator.parts, generator.params, one))(z[1])
    for actual, right in zip(scenes, expected, strict=True):
        np.testing.assert_allclose(actual[1], right, atol=1e-5)


def test_shape_latents_alone_move_the_shape(tmp_path):
    apart = dataclasses.replace(TINY, shape_latent_size=2)
    generator = saved_and_opened(tmp_path / "apart", apart)
    z = generator.sample(jax.random.key(0), 1)[0]
    scene, painted = generator.scene(z), generator.scene(z.at[2:].multiply(-1))
    expected = jax.jit(lambda one: generate(generator.parts, generator.params, one))(z)
    for actual, right in zip(scene, expected, strict=True):
        np.testing.assert_allclose(actual, right, atol=1e-5)
    np.testing.assert_array_equal(painted.surface, scene.surface)
    assert np.abs(painted.texture - scene.texture).max() > 0.01


def test_one_scene_is_that_of_the_batch(generator, z, scenes):
    for one, batch in zip(generator.scene(z[2]), scenes, strict=True):
        np.testing.assert_allclose(one, batch[2], atol=1e-5)


def test_truncation_moves_the_object_to_the_mean_and_leaves_the_background(generator, z, scenes):
    half, none = (generator.styles(z, psi) for psi in (0.5, 0.0))
    full = generator.styles(z)
    np.testing.assert_allclose(half.levels, (full.levels + none.levels) / 2, atol=1e-5)
    mean = generator.scene(none)
    np.testing.assert_allclose(mean.surface[0], mean.surface[1], atol=1e-5)
    assert float(jnp.abs(scenes.surface[0] - scenes.surface[1]).max()) > 1e-3
    np.testing.assert_allclose(mean.background, scenes.background, atol=1e-5)


def test_the_mean_style_is_the_mean(generator):
    z = generator.sample(jax.random.key(5), 4000)
    w = generator.styles(z).levels[:, 0]
    error = np.abs(w.mean(0) - generator.mean_style)
    assert (error / np.std(w, 0)).max() < 0.1


def test_pictures_are_those_of_training(generator, scenes):
    camera = generator.camera(jnp.array([0.3, -0.5, 0.0]), 0.1)
    pictures = generator.render(scenes, camera)
    view = View(jnp.asarray(-0.5), jnp.asarray(0.1))
    expected = jax.jit(lambda scene: render_scene(scene, view, generator.parts.stage))(
        jax.tree.map(lambda a: a[1], scenes)
    )
    np.testing.assert_allclose(pictures.image[1], expected.image, atol=1e-4)


def test_many_views_of_one_scene_at_another_resolution(generator, scenes):
    one = jax.tree.map(lambda a: a[0], scenes)
    pictures = generator.render(one, generator.camera(jnp.linspace(-1, 1, 4)), resolution=48)
    assert pictures.image.shape == (4, 48, 48, 3)
    small = generator.render(one, generator.camera(-1.0), resolution=24)
    coarse = pictures.alpha[0].reshape(24, 2, 24, 2).mean((1, 3))
    assert float(jnp.abs(coarse - small.alpha).mean()) < 0.03


def test_normals_face_the_camera(generator, scenes):
    normals = generator.normals(scenes, generator.camera())
    alpha = generator.render(scenes, generator.camera()).alpha
    assert float(normals[..., 2][alpha == 1].mean()) > 0.3


def test_pictures_are_differentiable(generator, z):
    def loss(z):
        return generator.render(generator.scene(z), generator.camera(0.4)).image.mean()

    assert float(jnp.abs(jax.jit(jax.grad(loss))(z[0])).max()) > 0


def test_a_program_that_asks_first_for_the_mean_style_keeps_nothing_of_it(generator, z):
    fresh = dataclasses.replace(generator)
    jax.eval_shape(fresh.scene, z)
    np.testing.assert_array_equal(fresh.mean_style, generator.mean_style)


def test_a_run_that_is_opened_again_later_is_not_compiled_again(generator, z, tmp_path):
    save_run(tmp_path / "again", images_seen=640)
    again = gan3d.load(tmp_path / "again")
    doubled = dataclasses.replace(again, params=jax.tree.map(lambda a: 2 * a, again.params))
    draw = lambda of: of.render(of.scene(z), of.camera(0.1)).image  # noqa: E731
    first, compiled = draw(generator), []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **more: compiled.append(event) if "compile" in event else None
    )
    second, before = draw(doubled), len(compiled)
    assert np.abs(second - first).max() > 1e-3
    assert before == 0
    jax.jit(lambda x: 3 * x + 1)(jnp.zeros(5))
    assert len(compiled) > 0  # it would have been noticed


@pytest.mark.parametrize("kind", ["glb", "obj"])
def test_a_saved_mesh_is_closed_and_where_the_pictures_have_it(generator, scenes, kind, tmp_path):
    scene = jax.tree.map(lambda maps: maps[0], scenes)
    written = generator.save_mesh(tmp_path / f"head.{kind}", scene)
    assert sorted(written) == sorted(tmp_path.iterdir())
    loaded = trimesh.load(written[0], process=False, maintain_order=True)
    (mesh,) = loaded.geometry.values() if kind == "glb" else (loaded,)
    right = np.asarray(generator.vertices(scene)) * [1, -1, -1]
    np.testing.assert_allclose(mesh.vertices, right, atol=1e-6)
    closed = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    closed.merge_vertices()
    assert closed.is_watertight and closed.is_winding_consistent and closed.volume > 0
    assert closed.euler_number == 2
    again = load_mesh(written[0])
    colors = (np.asarray(scene.texture) - again.texture) / 2 * 255
    assert np.abs(colors).max() < 0.501


@pytest.mark.parametrize("yaw, pitch, roll", [(0.3, -0.2, 0.0), (-2.0, 0.5, 1.0), (3.0, 0.0, 0.1)])
def test_view_of_a_camera(yaw, pitch, roll):
    view = view_of(gan3d.render.orbit_camera(yaw, pitch, roll))
    np.testing.assert_allclose(view, (yaw, pitch), atol=1e-6)


@pytest.mark.parametrize(
    "misuse, message",
    [
        (lambda g, s: g.scene(jnp.zeros(9)), r"z must have shape \[6\] or \[N, 6\], got \(9,\)"),
        (lambda g, s: g.sample(jax.random.key(0), 0), "num must be at least 1, got 0"),
        (lambda g, s: g.save_mesh("head.glb", s), "scene must be one, got a batch of 3"),
        (lambda g, s: g.render(s, g.camera(), resolution=0), "at least 1 pixel, got 0"),
        (lambda g, s: g.render(s, g.camera(jnp.zeros(2))), "one length, got 3 and 2"),
    ],
)
def test_misuse(generator, scenes, misuse, message):
    with pytest.raises(ValueError, match=message):
        misuse(generator, scenes)


def test_heads64_is_what_its_preset_trains():
    shipped = gan3d.load_pretrained("heads64").parts.config
    # The precision, too: nobody looks at samples in bfloat16, which CPUs only imitate.
    free = ("images", "sheet_interval_images", "checkpoint_interval_images", "precision")
    same = {name: getattr(shipped, name) for name in free}
    assert gan3d.preset("heads64", **same) == shipped


def test_heads64_has_noses():
    heads = gan3d.load_pretrained("heads64")
    vertices = heads.vertices(heads.scene(heads.sample(jax.random.key(1), 8)))
    for mesh in np.asarray(vertices):
        tip = mesh[np.argmin(mesh[:, 2])]  # what stands out most towards -z, the front
        across, down = np.abs(mesh - tip)[:, :2].T
        beside = (down < 0.06) & (across > 0.1) & (across < 0.16) & (mesh[:, 2] < 0)
        # A ball of this size falls away by 0.014 there.
        assert (mesh[beside, 2] - tip[2]).mean() > 0.05
        assert np.abs(tip[0]) < 0.1
