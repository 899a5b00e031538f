"""A trained generator as an object: `load`, then `sample`, `scene`, `render`, `save_mesh`.

    generator = gan3d.load("runs/demo")
    z = generator.sample(jax.random.key(0), 4)
    scenes = generator.scene(z)
    pictures = generator.render(scenes, generator.camera(yaw=0.5), resolution=256).image
    generator.save_mesh("head.glb", generator.scene(z[0]))

Every method takes one example or a batch with one leading axis, is compiled on its first call, and
may be differentiated and used inside other jitted functions.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from gan3d import export
from gan3d.models import MappingNetwork
from gan3d.render import Camera, orbit_camera
from gan3d.scene import (
    Scene,
    SceneImage,
    View,
    render_normals,
    render_scene,
    scene_vertices,
    view_of,
)
from gan3d.training.assemble import Parts, draw_views, generate, latent_size
from gan3d.training.run import RunError, load_run

if TYPE_CHECKING:
    from jaxtyping import Array, Float

ASSETS = pathlib.Path(__file__).parent / "assets"
PRETRAINED = ("demo", "heads64")
"""Names of the trained generators that come with the package."""
_MEAN_LATENTS = 10_000  # as StyleGAN takes for the centre of truncation


class Styles(NamedTuple):
    """What synthesis starts from: a point of W+, and the background's latent.

    Attributes:
      levels: w of every level, from coarse to fine.
      background: the background's entries of z.

    >>> a, b = generator.styles(generator.sample(jax.random.key(0), 2)).levels
    >>> mixed = Styles(jnp.concatenate([a[:1], b[1:]]), jnp.zeros(2))  # the coarsest level is a's
    >>> print(a.shape, generator.scene(mixed).surface.shape)
    (3, 4) (16, 16, 3)
    """

    levels: Float[Array, "*N L W"]
    background: Float[Array, "*N B"]


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedGenerator:
    """G with trained parameters, and the stage it was trained on.

    Attributes:
      parts: what `assemble` builds from the configuration it was trained with.
      params: averaged parameters of the generator.
      images_seen: images seen in training.
      name: of the run, for captions.

    >>> z = generator.sample(jax.random.key(0), 2)
    >>> scenes = generator.scene(generator.styles(z, truncation=0.7))
    >>> print(z.shape, scenes.texture.shape, generator.vertices(scenes).shape)
    (2, 6) (2, 16, 16, 3) (2, 289, 3)
    >>> paths = generator.save_mesh(folder / "a.glb", generator.scene(z[0]))
    >>> camera = generator.camera(yaw=math.radians(30))
    >>> picture = generator.render(scenes, camera, resolution=8)
    >>> print(picture.image.shape, generator.normals(scenes, camera, resolution=8).shape)
    (2, 8, 8, 3) (2, 8, 8, 3)
    >>> views = generator.views(jax.random.key(1), 5)  # as training draws them
    >>> print(generator.camera(views.yaw, views.pitch).translation.shape)
    (5, 3)
    >>> print(generator.num_levels, generator.mean_style.shape)
    3 (4,)
    """

    parts: Parts
    params: Any
    images_seen: int
    name: str

    def __repr__(self) -> str:
        return f"<TrainedGenerator {self.name}, {self.images_seen:,} images seen>"

    @property
    def num_levels(self) -> int:
        """Levels of the synthesis, from 4 x 4 up: the first axis of a style."""
        return self.parts.generator.num_levels

    def sample(self, key: Array, num: int) -> Float[Array, "N Z"]:
        """`num` latents z ~ N(0, I); consumes the key.

        Raises:
          ValueError: num is not positive.
        """
        if num < 1:
            raise ValueError(f"num must be at least 1, got {num}")
        return jax.random.normal(key, (num, latent_size(self.parts)))

    def views(self, key: Array, num: int) -> View:
        """`num` viewpoints from p_v, as far as it has been learned; consumes the key."""
        return draw_views(self.parts, self.params, key, num)

    def styles(self, z: Float[Array, "*N Z"], truncation: float = 1.0) -> Styles:
        """w of every level, drawn towards the mean: w_mean + truncation (w - w_mean).

        Args:
          z: one latent or a batch.
          truncation: psi of StyleGAN. 1 = none, 0 = the mean object. Of the object alone; the
            background stays that of z.

        Raises:
          ValueError: z has not the generator's number of entries.
        """
        self._check_latents(z)
        return _styles(self.parts, self.params, self.mean_style, jnp.asarray(z), truncation)

    def scene(self, latents: Float[Array, "*N Z"] | Styles) -> Scene:
        """m = G(z): surface map, texture and background.

        Args:
          latents: z, or styles; one or a batch.

        Raises:
          ValueError: z has not the generator's number of entries.
        """
        if not isinstance(latents, Styles):
            latents = self.styles(latents)
        return _scene(self.parts, self.params, latents)

    def camera(self, yaw: float = 0.0, pitch: float = 0.0) -> Camera:
        """A camera with the lens and the distance of training; radians, as `orbit_camera`.

        Arrays of yaws and pitches, of one shape [N], give a batch of cameras.
        """
        yaw, pitch = jnp.broadcast_arrays(jnp.asarray(yaw, float), jnp.asarray(pitch, float))
        make = lambda y, p: orbit_camera(y, p, fov=self.parts.stage.fov)  # noqa: E731
        return make(yaw, pitch) if yaw.ndim == 0 else jax.vmap(make)(yaw, pitch)

    def render(self, scene: Scene, camera: Camera, resolution: int | None = None) -> SceneImage:
        """R(m, v): picture, opacity, depth and vertices.

        Args:
          scene: one or a batch.
          camera: one or a batch; the background pans with the direction it looks in. If both are
            batches, camera i looks at scene i; one of either serves all of the other.
          resolution: side of the picture in pixels, None = that of training. The mesh has no
            resolution: pictures may be larger than those it was trained on.

        Raises:
          ValueError: resolution is not positive, or the batches differ in length.
        """
        return self._over_views(_render_image, scene, camera, resolution)

    def normals(
        self, scene: Scene, camera: Camera, resolution: int | None = None
    ) -> Float[Array, "*N H W 3"]:
        """Normals as colours, see `render_normals`; arguments and errors as of `render`."""
        return self._over_views(render_normals, scene, camera, resolution)

    def save_mesh(self, path: str | os.PathLike[str], scene: Scene) -> list[pathlib.Path]:
        """Writes one scene's textured mesh, as GLB or OBJ by the suffix; see `gan3d.export`.

        Returns:
          The paths written, the mesh first: an OBJ has its MTL and PNG beside it.

        Raises:
          MissingTrimeshError: if trimesh is not installed.
          ValueError: the suffix is another one, or the scene a batch.
        """
        if scene.surface.ndim != 3:
            raise ValueError(f"scene must be one, got a batch of {scene.surface.shape[0]}")
        topology = self.parts.stage.topology
        return export.save_mesh(path, self.vertices(scene), topology, scene.texture)

    def vertices(self, scene: Scene) -> Float[Array, "*N V 3"]:
        """Of the mesh, world coordinates; its topology is `parts.stage.topology`."""
        one = lambda surface: scene_vertices(surface, self.parts.stage)  # noqa: E731
        return one(scene.surface) if scene.surface.ndim == 3 else jax.vmap(one)(scene.surface)

    @functools.cached_property
    def mean_style(self) -> Float[Array, "W"]:
        """The mean of w, the centre of truncation; over latents that never change."""
        # Now, even if it is a program under way that asks first: its tracers must not be kept.
        with jax.ensure_compile_time_eval():
            return _mean_style(self.parts, self.params)

    def _over_views(self, draw, scene, camera, resolution):
        resolution = self.parts.stage.resolution if resolution is None else resolution
        if resolution < 1:
            raise ValueError(f"resolution must be at least 1 pixel, got {resolution}")
        lengths = [
            None if array.ndim == ndim else array.shape[0]
            for array, ndim in ((scene.surface, 3), (camera.rotation, 2))
        ]
        if None not in lengths and lengths[0] != lengths[1]:
            raise ValueError(
                f"scene and camera must be batches of one length, got {lengths[0]} and {lengths[1]}"
            )
        return _draw(draw, self.parts.stage.at_resolution(resolution), scene, camera)

    def _check_latents(self, z) -> None:
        expected = latent_size(self.parts)
        if jnp.ndim(z) not in (1, 2) or jnp.shape(z)[-1] != expected:
            raise ValueError(
                f"z must have shape [{expected}] or [N, {expected}], got {jnp.shape(z)}"
            )


def map_latent(parts: Parts, params: Any, z: Float[Array, "Z"]) -> Float[Array, "W"]:
    """w of one latent."""
    config = parts.config
    network = MappingNetwork(config.latent_size, config.mapping_layers, config.shape_latent_size)
    variables = {"params": params.get("mapping", {})}  # none without layers
    return network.apply(variables, z[: config.latent_size])


def styles_of(
    parts: Parts,
    params: Any,
    mean_style: Float[Array, "W"],
    z: Float[Array, "Z"],
    truncation: float | Float[Array, ""],
) -> Styles:
    """Truncated styles of one latent, see `TrainedGenerator.styles`."""
    w = mean_style + truncation * (map_latent(parts, params, z) - mean_style)
    levels = jnp.broadcast_to(w, (parts.generator.num_levels, mean_style.size))
    return Styles(levels, z[parts.config.latent_size :])


def scene_of(parts: Parts, params: Any, styles: Styles) -> Scene:
    """m of one example's styles."""
    z = jnp.pad(styles.background, (parts.config.latent_size, 0))
    return generate(parts, params, z, styles=styles.levels)


# Programs of the parts, not of one generator: a run that is opened again, or after more training,
# is not compiled again; they live until `jax.clear_caches()`. Parameters are arguments: as
# constants they would be compiled.
@functools.partial(jax.jit, static_argnums=0)
def _mean_style(parts, params):
    z = jax.random.normal(jax.random.key(0), (_MEAN_LATENTS, parts.config.latent_size))
    return jax.vmap(lambda z: map_latent(parts, params, z))(z).mean(0)


@functools.partial(jax.jit, static_argnums=0)
def _styles(parts, params, mean_style, z, truncation):
    return _each(lambda z: styles_of(parts, params, mean_style, z, truncation), z, 1)


@functools.partial(jax.jit, static_argnums=0)
def _scene(parts, params, styles):
    return _each(lambda styles: scene_of(parts, params, styles), styles, 2)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _draw(function, stage, scene, camera):
    axes = (0 if scene.surface.ndim == 4 else None, 0 if camera.rotation.ndim == 3 else None)
    one = lambda scene, camera: function(scene, camera, stage)  # noqa: E731
    return (jax.vmap(one, axes) if axes != (None, None) else one)(scene, camera)


def _render_image(scene, camera, stage):
    return render_scene(scene, view_of(camera), stage, camera)


def _each(function, tree, ndim: int):
    """One example, or a batch if the first leaf has an axis more than one example has."""
    leaf = jax.tree.leaves(tree)[0]
    return function(tree) if leaf.ndim == ndim else jax.vmap(function)(tree)


def load(run: str | os.PathLike[str]) -> TrainedGenerator:
    """Loads the averaged generator of a run, finished or interrupted, or of an exported one.

    Args:
      run: directory of a training run, or one that `python -m experiments.export_model` wrote: its
        config.json and parameters.npz are enough.

    Raises:
      RunError: there is no such run, its configuration is unreadable, or it has no checkpoint yet.

    >>> generator: TrainedGenerator = load(run)
    >>> print(generator)
    <TrainedGenerator tiny, 320 images seen>
    """
    opened = load_run(run)
    name = pathlib.Path(run).resolve().name
    return TrainedGenerator(opened.parts, opened.ema_params, opened.images_seen, name)


def load_pretrained(name: str) -> TrainedGenerator:
    """Loads one of the trained generators that come with the package; nothing is downloaded.

    "demo" saw 96,000 procedural heads at 32 x 32; its networks are twice as wide as those of the
    preset of that name, and `inversion.load_demo_encoder` goes with it. "heads64" saw 528,896 of
    them at 64 x 64, with the preset of that name; its faces have finer relief.

    Args:
      name: one of `PRETRAINED`.

    Raises:
      ValueError: there is no such generator.
      RunError: this installation has none.

    >>> print(load_pretrained("heads64").parts.config.resolution)
    64
    """
    if name not in PRETRAINED:
        raise ValueError(f"name must be one of {', '.join(PRETRAINED)}, got {name!r}")
    if not (ASSETS / name).is_dir():
        raise RunError(
            f"this installation of gan3d has no generator in {ASSETS / name}: train one with "
            f"python -m experiments.train --preset={name}, and open it with "
            f"gan3d.load('runs/{name}')"
        )
    return load(ASSETS / name)


def load_demo() -> TrainedGenerator:
    """`load_pretrained("demo")`.

    Raises:
      RunError: this installation has none.

    >>> heads = load_demo()
    >>> scene = heads.scene(heads.sample(jax.random.key(0), 1))
    """
    return load_pretrained("demo")
