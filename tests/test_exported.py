"""A generator that was exported: opened without networks, and as a run."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import pickle
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from saved_run import TINY

import gan3d
from experiments import export_model
from experiments import flags as experiment_flags
from gan3d import exported, trained
from gan3d.config import preset, to_json
from gan3d.data import head_scenes
from gan3d.deploy import DeployError, in_blocks, published, rounded
from gan3d.export import save_mesh
from gan3d.exported import ExportError, load_exported, read_arrays
from gan3d.training.run import RunError, flat_parameters

RESOLUTION = 16
# Blocks the libraries of training, and gan3d itself: the loader is a file of its own.
STANDALONE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in "gan3d flax optax orbax absl PIL tensorflow_datasets".split():
            raise ImportError(f"{name} is not installed here")
sys.meta_path.insert(0, Blocked())
import jax, numpy as np
from exported import load_exported
generator = load_exported(sys.argv[1])
z = generator.sample(jax.random.key(1), 3)
scene = generator.scene(z, truncation=0.5)
pictures = generator.render(scene, generator.camera(np.array([-0.8, 0.1, 0.6]), 0.1))
one = type(scene)(*(a[1] for a in scene))
turned = generator.render(one, generator.camera(np.array([0.9, 0.1, 0.5]), 0.1))
views = generator.views(jax.random.key(2), 5)
np.savez(sys.argv[2], z, *scene, *pictures, turned.image, *views)
"""


def command(*arguments: str) -> int:
    return experiment_flags.run(export_model.main, ["export_model", *arguments])


@pytest.fixture(scope="module")
def directory(run_dir):
    """Exported programs; that they draw the run's pictures is what the tests below find out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_model, "compare", lambda *arguments: None)
        export_model.export_model(run_dir, resolutions=[RESOLUTION], batch=2, report=lambda _: None)
    return run_dir / "exported"


@pytest.fixture(scope="module")
def generator(run_dir):
    return gan3d.load(run_dir)


@pytest.fixture(scope="module")
def half(run_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("half") / "tiny16"
    assert command(f"--run={run_dir}", f"--out={out}", "--dtype=float16", "--noprograms") == 0
    return out


@pytest.fixture(scope="module")
def standalone(directory, tmp_path_factory):
    """What a fresh interpreter computes that has the loader's file, jax and numpy."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "exported.py").write_text(pathlib.Path(exported.__file__).read_text())
    script = folder / "use.py"
    script.write_text(STANDALONE)
    subprocess.run([sys.executable, script, directory, folder / "out.npz"], check=True, cwd=folder)
    return list(read_arrays(folder / "out.npz").values())


def test_without_networks_it_draws_what_the_run_draws(generator, standalone):
    z, surface, texture, background, vertices, image, alpha, depth, turned, yaw, pitch = standalone
    np.testing.assert_allclose(z, generator.sample(jax.random.key(1), 3), atol=1e-6)
    scene = generator.scene(generator.styles(z, truncation=0.5))
    for actual, right in zip((surface, texture, background), scene, strict=True):
        np.testing.assert_allclose(actual, right, atol=1e-5)
    np.testing.assert_allclose(vertices, generator.vertices(scene), atol=1e-5)
    camera = generator.camera(jnp.array([-0.8, 0.1, 0.6]), 0.1)
    right = generator.render(scene, camera, RESOLUTION)
    assert image.shape == (3, RESOLUTION, RESOLUTION, 3) and 0.05 < alpha.mean() < 0.95
    np.testing.assert_allclose(image, right.image, atol=1e-4)
    np.testing.assert_allclose(alpha, right.alpha, atol=1e-4)
    np.testing.assert_allclose(depth, right.depth, atol=1e-4)
    np.testing.assert_allclose(turned[1], image[1], atol=1e-5)  # one scene, three cameras
    assert np.abs(turned[0] - turned[2]).max() > 0.01
    views = generator.views(jax.random.key(2), 5)
    np.testing.assert_allclose((yaw, pitch), views, atol=1e-6)


@pytest.fixture(scope="module")
def loaded(directory):
    """With programs that only pass on what they are given, for nothing is compiled for them."""
    loaded = load_exported(directory)
    assert repr(loaded) == "<ExportedGenerator tiny, 320 images seen>"
    scene = lambda parameters, z, truncation: (z[:, :, None, None],) * 4  # noqa: E731
    render = lambda surface, texture, background, yaw, pitch: (surface, yaw, pitch)  # noqa: E731
    return dataclasses.replace(loaded, programs={"scene": scene, f"render_{RESOLUTION}": render})


def test_one_example_has_no_axis_of_its_own(loaded):
    z = loaded.sample(jax.random.key(0), 2)
    assert loaded.scene(z[1]).surface.shape == (6, 1, 1)
    np.testing.assert_array_equal(loaded.scene(z).surface[1], loaded.scene(z[1]).surface)
    scene, many = loaded.scene(z[0]), loaded.scene(z)
    one = loaded.render(scene, loaded.camera(0.6, 0.1))
    assert one.image.shape == (6, 1, 1) and one.alpha == np.float32(0.6)
    np.testing.assert_array_equal(one.image, scene.surface)
    from_two_sides = loaded.render(scene, loaded.camera(jnp.array([0.3, 0.6]), 0.1))
    np.testing.assert_array_equal(from_two_sides.image, jnp.stack([scene.surface] * 2))
    two_from_one = loaded.render(many, loaded.camera(0.6, 0.1))
    np.testing.assert_array_equal(two_from_one.image, many.surface)
    np.testing.assert_array_equal(two_from_one.depth, np.float32([0.1, 0.1]))


@pytest.mark.parametrize(
    "misuse, message",
    [
        (lambda g, s: g.scene(jnp.zeros((2, 5))), r"\[6\] or \[N, 6\], got \(2, 5\)"),
        (lambda g, s: g.sample(jax.random.key(0), 0), "num must be at least 1, got 0"),
        (lambda g, s: g.render(s, g.camera(), resolution=32), r"exported \(16\), got 32"),
        (lambda g, s: g.render(s, g.camera(jnp.zeros(2))), "one length, got 3 and 2"),
    ],
)
def test_misuse(loaded, misuse, message):
    with pytest.raises(ValueError, match=message):
        misuse(loaded, loaded.scene(jnp.zeros((3, 6))))


def test_the_command_compares_pictures():
    def drawing(value):
        picture = types.SimpleNamespace(image=np.full((4, 4, 3), value))
        return types.SimpleNamespace(
            resolutions=(16,),
            sample=lambda key, num: np.zeros((num, 6)),
            scene=lambda z: None,
            camera=lambda *angles: None,
            render=lambda *arguments: picture,
        )

    lines = []
    export_model.compare(drawing(0.5), drawing(0.50001), lines.append)
    assert "differs from the generator's by at most 1e-05" in lines[0]
    for wrong in (0.6, np.nan):
        with pytest.raises(RuntimeError, match="draw another picture than the generator"):
            export_model.compare(drawing(0.5), drawing(wrong), lines.append)


def test_meshes_are_those_of_the_run(loaded, generator, standalone, tmp_path):
    scene = exported.Scene(*(a[0] for a in standalone[1:5]))
    loaded.save_mesh(tmp_path / "exported" / "a.glb", scene)
    save_mesh(tmp_path / "a.glb", scene.vertices, generator.parts.stage.topology, scene.texture)
    assert (tmp_path / "exported" / "a.glb").read_bytes() == (tmp_path / "a.glb").read_bytes()


def test_programs_are_for_all_platforms_and_take_the_parameters(directory):
    manifest = json.loads((directory / "exported.json").read_text())
    assert manifest["platforms"] == ["cpu", "cuda", "tpu"] and manifest["jax"] == jax.__version__
    programs = {
        name: export.deserialize(bytearray((directory / f"{name}.jax_export").read_bytes()))
        for name in ("scene", "views", f"render_{RESOLUTION}")
    }
    assert {program.platforms for program in programs.values()} == {("cpu", "cuda", "tpu")}
    arrays = read_arrays(directory / "parameters.npz")
    assert arrays.pop("images_seen") == 320
    *parameters, _, truncation = programs["scene"].in_avals
    shapes = sorted(a.shape for a in arrays.values())
    assert sorted(a.shape for a in parameters) == shapes and truncation.shape == ()
    # None of them was replaced by a constant.
    assert len(programs["scene"].module_kept_var_idx) == len(shapes) + 2


def test_blocks_are_filled_up_and_cut():
    function = lambda x, y: (x * y, x.sum())  # noqa: E731
    x, y = jnp.arange(15.0).reshape(5, 3), jnp.arange(5.0)
    for size in (1, 2, 5, 8):
        product, total = in_blocks(function, size)(x, y)
        np.testing.assert_array_equal(product, x * y[:, None])
        np.testing.assert_array_equal(total, x.sum(1))


def test_load_opens_an_export(run_dir, directory, generator):
    again = gan3d.load(directory)
    assert again.images_seen == 320
    assert (directory / "config.json").read_bytes() == (run_dir / "config.json").read_bytes()
    assert jax.tree.all(jax.tree.map(np.array_equal, again.params, generator.params))


def test_half_precision_is_half_the_size_and_rounds_once(half, directory, generator, tmp_path):
    assert sorted(path.name for path in half.iterdir()) == ["config.json", "parameters.npz"]
    sizes = [(d / "parameters.npz").stat().st_size for d in (half, directory)]
    assert sizes[0] < 0.75 * sizes[1]  # zip entries take a large part of so small a file
    again = gan3d.load(half)
    for a, b in zip(jax.tree.leaves(again.params), jax.tree.leaves(generator.params), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, rtol=2**-11, atol=2**-24)
    arguments = (f"--run={half}", f"--out={tmp_path}", "--dtype=float16", "--noprograms")
    assert command(*arguments) == 0
    once, twice = (read_arrays(d / "parameters.npz") for d in (half, tmp_path))
    assert all(np.array_equal(once[name], twice[name]) for name in once)
    assert all(a.dtype == np.float16 for n, a in once.items() if n in flat_parameters(again.params))


def test_parameters_out_of_range_are_not_stored(generator):
    large = jax.tree.map(lambda a: a + 1e6, generator.params)
    with pytest.raises(DeployError, match="float16: some are too large"):
        rounded(gan3d.TrainedGenerator(generator.parts, large, 0, "large"), "float16")


def test_a_generator_comes_with_the_package_or_the_error_says_so(half, monkeypatch, tmp_path):
    (tmp_path / "demo").symlink_to(half, target_is_directory=True)
    monkeypatch.setattr(trained, "ASSETS", tmp_path)
    assert gan3d.load_demo().images_seen == 320
    monkeypatch.setattr(trained, "ASSETS", tmp_path / "none")
    with pytest.raises(RunError, match=r"no generator in .*demo: train one with"):
        gan3d.load_demo()
    with pytest.raises(RunError, match=r"no generator in .*heads64: train one with") as error:
        gan3d.load_pretrained("heads64")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="name must be one of demo, heads64, got 'head'"):
        gan3d.load_pretrained("head")


def broken(directory: pathlib.Path, tmp_path: pathlib.Path, name: str, data: bytes) -> pathlib.Path:
    copy = tmp_path / name
    copy.mkdir()
    for path in directory.iterdir():
        (copy / path.name).write_bytes(data if path.name == name else path.read_bytes())
    return copy


def test_damaged_exports_give_one_line(directory, tmp_path):
    whole = lambda name: (directory / name).read_bytes()  # noqa: E731
    cases = {
        "exported.json": (b'{"format": 9}', "format 9; this version reads format 1"),
        "parameters.npz": (whole("parameters.npz")[:200], "no file of arrays, or is damaged"),
        "mesh.npz": (whole("parameters.npz"), "is incomplete: 'faces' is missing"),
        "scene.jax_export": (whole("scene.jax_export")[:500], "is damaged, or jax .* cannot read"),
    }
    for name, (data, message) in cases.items():
        with pytest.raises(ExportError, match=message) as error:
            load_exported(broken(directory, tmp_path, name, data))
        assert "\n" not in str(error.value)
    with pytest.raises(ExportError, match=r"has no exported\.json: python -m experiments"):
        load_exported(tmp_path)


def test_nothing_is_unpickled(half, tmp_path):
    class Trap:
        def __reduce__(self):
            return (pathlib.Path.touch, (tmp_path / "sprung",))

    np.savez(tmp_path / "parameters.npz", np.array([Trap()], object))
    (tmp_path / "config.json").write_bytes((half / "config.json").read_bytes())
    for data in ((tmp_path / "parameters.npz").read_bytes(), pickle.dumps(Trap())):
        (tmp_path / "parameters.npz").write_bytes(data)
        with pytest.raises(RunError, match="no file of arrays, or is damaged"):
            gan3d.load(tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_parameters_of_another_configuration_give_one_line(half, tmp_path):
    other = to_json(TINY).replace('"latent_size": 4', '"latent_size": 5')
    copy = broken(half, tmp_path, "config.json", other.encode())
    with pytest.raises(RunError, match=r"parameters\.npz does not fit config\.json: .* has shape"):
        gan3d.load(copy)


def test_mistakes_give_one_line_and_exit_code_2(run_dir, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    run = f"--run={run_dir}"
    cases = {
        (f"--run={tmp_path}/none",): "there is no run",
        (run, f"--out={run_dir}"): "is a training run: choose another directory",
        (run, f"--out={tmp_path}/file/out"): "cannot write --out",
        (run, "--resolutions=32,4"): "--resolutions must be numbers from 8 to 2048, got '4'",
        (run, "--platforms=cpu,abacus"): "--platforms must be of cpu,cuda,tpu, got 'cpu,abacus'",
        (run, "--batch=0"): "--batch",
        (run, "--dtype=int8"): "--dtype",
    }
    for arguments, message in cases.items():
        assert command(*arguments, "--noprograms") == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, arguments
    assert command("--help") == 0
    assert "--noprograms" in capsys.readouterr().out


def test_where_photographs_lie_is_not_told():
    photographs = published(preset("faces64", data="folder:/home/me/photographs"))
    assert photographs.data == "folder:"
    heads = preset("demo")
    assert published(heads) == heads


def test_the_shipped_demo_draws_heads():
    heads = gan3d.load_demo()
    assert heads.images_seen == heads.parts.config.images
    truth = head_scenes(1, jnp.arange(64))
    scenes = heads.scene(heads.sample(jax.random.key(0), 64))
    silhouettes = [
        heads.render(family, heads.camera(), resolution=32).alpha.mean(0)
        for family in (scenes, truth)
    ]
    overlap = jnp.minimum(*silhouettes).sum() / jnp.maximum(*silhouettes).sum()
    assert overlap > 0.9
    # Skin is redder than it is blue.
    middle = heads.render(scenes, heads.camera(), resolution=32).image[:, 12:20, 12:20]
    assert float((middle[..., 0] > middle[..., 2]).mean()) > 0.9
