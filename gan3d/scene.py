"""A scene m = [s, t, b], the viewpoint prior p_v, and the picture R(m, v).

s is a surface map (an image of 3-D points), t a texture, b a background that is larger than the
view and pans with it: an object painted on the background would move against the mesh.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan3d.render import (
    Camera,
    Topology,
    composite,
    interpolate,
    orbit_camera,
    render,
    sample_texture,
    sphere_mesh,
    vertex_normals,
)

if TYPE_CHECKING:
    from jaxtyping import Array, Float

__all__ = [
    "Scene",
    "SceneImage",
    "Stage",
    "View",
    "ViewPrior",
    "make_stage",
    "render_background",
    "render_normals",
    "render_scene",
    "scene_vertices",
    "view_of",
]


class Scene(NamedTuple):
    """m = [s, t, b]; colours in [-1, 1].

    Attributes:
      surface: s, 3-D points in world coordinates over the chart.
      texture: t, over the same chart.
      background: b, covers `Stage.background_scale` times the view's width and height.
    """

    surface: Float[Array, "S S 3"]
    texture: Float[Array, "T T 3"]
    background: Float[Array, "Bh Bw 3"]


_CUT = 2.0  # standard deviations at which a gaussian prior ends


class View(NamedTuple):
    """v: where the camera stands on its orbit, radians.

    >>> view = View(yaw=math.radians(90), pitch=0.0)  # the camera stands to the right of the object
    >>> camera = make_stage(surface_size=4, resolution=8, fov=2 * math.atan(0.5)).camera(view)
    >>> print((-camera.rotation.T @ camera.translation).round(3) + 0.0)
    [2. 0. 0.]
    """

    yaw: Float[Array, ""]
    pitch: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class ViewPrior:
    """p_v: yaw and pitch are independent, both within plus or minus these ranges, radians.

    Attributes:
      yaw_range: of the yaw.
      pitch_range: of the pitch.
      form: "uniform", or "gaussian": a normal distribution cut off at two standard deviations,
        which are the ranges.

    >>> prior = ViewPrior(math.radians(90), math.radians(15))
    >>> view = prior.place(jnp.array([0.5, -1.0]))  # halfway to the right, lowest
    >>> print(f"{math.degrees(view.yaw):.1f} {math.degrees(view.pitch):.1f}")
    45.0 -15.0
    >>> print(prior.sample(jax.random.key(0), (5,)).yaw.shape)
    (5,)
    """

    yaw_range: float
    pitch_range: float
    form: str = "uniform"

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> View:
        """Draws viewpoints; consumes the key."""
        return self.place(draw_quantiles(key, shape))

    def place(self, quantiles: Float[Array, "2 *N"]) -> View:
        """The views that stand at these quantiles of yaw and pitch, in [-1, 1]; 0 = the middle."""
        if self.form == "gaussian":
            edge = math.erf(_CUT / math.sqrt(2))
            quantiles = jax.scipy.special.erfinv(edge * quantiles) * (math.sqrt(2) / _CUT)
        return View(quantiles[0] * self.yaw_range, quantiles[1] * self.pitch_range)


def draw_quantiles(key: Array, shape: tuple[int, ...] = ()) -> Float[Array, "2 *N"]:
    """Uniform quantiles in [-1, 1] for `ViewPrior.place`; consumes the key."""
    return jax.random.uniform(key, (2, *shape), minval=-1.0, maxval=1.0)


DEFAULT_PRIOR = ViewPrior(math.radians(90), math.radians(15))


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """What all scenes of one family share: how a scene becomes a mesh and a picture.

    Compared and hashed by identity, so that jitted functions can be cached per stage; `make_stage`
    and `at_resolution` return one object for the same arguments.

    Attributes:
      topology: of the mesh whose vertices the surface map gives.
      template: unit-sphere vertices of that mesh, the directions of the start shape.
      resolution: height and width of the picture, pixels.
      fov: vertical field of view, radians.
      margin_pixels: soft margin of the renderer; 0 is the crisp renderer.
      prior: p_v; the background's full extent is panned over its ranges.
      background_scale: size of the background relative to the view; 1 = it does not pan.
    """

    topology: Topology
    template: np.ndarray
    resolution: int
    fov: float
    margin_pixels: float
    prior: ViewPrior
    background_scale: float = 1.5

    def camera(self, view: View) -> Camera:
        """The camera at a viewpoint, with the stage's field of view."""
        return orbit_camera(view.yaw, view.pitch, fov=self.fov)

    @property
    def distance(self) -> float:
        """Of the camera from the origin, world units."""
        return 1 / math.tan(self.fov / 2)

    def at_resolution(self, resolution: int) -> Stage:
        """The same stage with pictures of another size."""
        return self if resolution == self.resolution else _at_resolution(self, resolution)


@functools.lru_cache(maxsize=32)
def _at_resolution(stage: Stage, resolution: int) -> Stage:
    return dataclasses.replace(stage, resolution=resolution)


def make_stage(
    surface_size: int,
    resolution: int,
    fov: float,
    margin_pixels: float = 1.0,
    chart: str = "octahedral",
    prior: ViewPrior = DEFAULT_PRIOR,
    background_scale: float = 1.5,
) -> Stage:
    """A stage whose mesh is a grid of (surface_size + 1)^2 vertices.

    >>> stage: Stage = make_stage(surface_size=4, resolution=8, fov=2 * math.atan(0.5))
    >>> print(stage.topology.num_vertices, stage.template.shape, round(stage.distance, 3))
    25 (25, 3) 2.0
    >>> larger = stage.at_resolution(16)
    >>> print(larger.resolution, larger is stage.at_resolution(16))
    16 True
    """
    return _make_stage(surface_size, resolution, fov, margin_pixels, chart, prior, background_scale)


@functools.lru_cache(maxsize=32)
def _make_stage(surface_size, resolution, fov, margin_pixels, chart, prior, background_scale):
    template, topology = sphere_mesh(surface_size + 1, chart)
    return Stage(topology, template, resolution, fov, margin_pixels, prior, background_scale)


class SceneImage(NamedTuple):
    """R(m, v).

    Attributes:
      image: the picture, in [-1, 1].
      alpha: opacity of the object.
      depth: camera-space depth; the distance of the orbit's centre where there is no object.
      vertices: of the mesh, world coordinates.
    """

    image: Float[Array, "H W 3"]
    alpha: Float[Array, "H W"]
    depth: Float[Array, "H W"]
    vertices: Float[Array, "V 3"]


def scene_vertices(surface: Float[Array, "S S 3"], stage: Stage) -> Float[Array, "V 3"]:
    """Mesh vertices: the surface map at their UV, bilinear.

    A mesh vertex lies between four pixels of the map and takes their mean; vertices along a seam
    take the mean of their copies, so a closed chart stays closed for any map.

    >>> print(scene_vertices(scenes.surface[0], stage).shape, stage.topology.num_vertices)
    (25, 3) 25
    """
    topology = stage.topology
    vertices = sample_texture(surface, jnp.asarray(topology.uvs))
    copies = np.bincount(topology.weld, minlength=topology.num_vertices).astype(np.float32)
    total = jnp.zeros_like(vertices).at[topology.weld].add(vertices)
    return (total / np.maximum(copies, 1)[:, None])[topology.weld]


def render_background(
    background: Float[Array, "Bh Bw 3"], view: View, stage: Stage
) -> Float[Array, "H W 3"]:
    """The part of the background that the view sees: it pans against the camera's motion.

    >>> brighter_to_the_right = jnp.broadcast_to(jnp.arange(4.0)[None, :, None], (4, 4, 3))
    >>> for yaw in (-math.pi / 2, 0.0, math.pi / 2):
    ...     picture = render_background(brighter_to_the_right, View(yaw, 0.0), stage)
    ...     print(f"{picture.mean():.2f}")
    2.13
    1.50
    0.88
    """
    size, prior = 1 / stage.background_scale, stage.prior
    slack = (1 - size) / 2
    pan = lambda angle, extent: jnp.clip(angle / max(extent, 1e-6), -1, 1) * slack  # noqa: E731
    centre = (np.arange(stage.resolution) + 0.5) / stage.resolution - 0.5
    u = 0.5 - pan(view.yaw, prior.yaw_range) + size * centre
    v = 0.5 + pan(view.pitch, prior.pitch_range) + size * centre
    return sample_texture(background, jnp.stack(jnp.meshgrid(u, v, indexing="xy"), axis=-1))


def view_of(camera: Camera) -> View:
    """Yaw and pitch of the direction in which a camera looks, wherever it stands, radians.

    >>> from gan3d.render import orbit_camera
    >>> view = view_of(orbit_camera(0.3, -0.2))
    >>> print(f"{view.yaw:.2f} {view.pitch:.2f}")
    0.30 -0.20
    """
    x, y, z = camera.rotation[2]
    return View(jnp.arctan2(-x, z), jnp.arcsin(jnp.clip(y, -1, 1)))


def render_scene(
    scene: Scene, view: View, stage: Stage, camera: Camera | None = None
) -> SceneImage:
    """x = R(m, v) for one scene; `vmap` over scene and view for batches.

    Args:
      scene: m.
      view: v; places the camera, and pans the background.
      stage: how scenes are shown.
      camera: None = that of the stage at this view.

    >>> scene: Scene = jax.tree.map(lambda a: a[0], scenes)
    >>> draw = jax.jit(lambda scene, view: render_scene(scene, view, stage))
    >>> picture: SceneImage = draw(scene, View(0.5, 0.0))
    >>> print(picture.image.shape, picture.alpha.max(), bool(picture.depth.min() < stage.distance))
    (8, 8, 3) 1.0 True
    """
    camera = stage.camera(view) if camera is None else camera
    vertices = scene_vertices(scene.surface, stage)
    background = render_background(scene.background, view, stage)
    picture = _render(vertices, scene.texture, camera, stage, background)
    layers = picture.fragments
    behind = jnp.full((stage.resolution, stage.resolution, 1), stage.distance, vertices.dtype)
    depth, _ = composite(layers.depth[..., None], layers.alpha, behind)
    return SceneImage(picture.color, picture.alpha, depth[..., 0], vertices)


def render_normals(scene: Scene, camera: Camera, stage: Stage) -> Float[Array, "H W 3"]:
    """Normals as colours in [-1, 1]: red right, green up, blue towards the camera; grey behind.

    >>> scene = jax.tree.map(lambda a: a[0], scenes)
    >>> draw = jax.jit(lambda scene, camera: render_normals(scene, camera, stage))
    >>> normals = draw(scene, stage.camera(View(0.0, 0.0)))
    >>> print(normals.shape, bool(normals[4, 4, 2] > 0.5))  # the middle looks into the camera
    (8, 8, 3) True
    """
    return render_with_normals(scene, view_of(camera), stage, camera)[1]


def render_with_normals(
    scene: Scene, view: View, stage: Stage, camera: Camera | None = None
) -> tuple[Float[Array, "H W 3"], Float[Array, "H W 3"]]:
    """The picture and its `render_normals`, of one rendering; arguments as of `render_scene`."""
    camera = stage.camera(view) if camera is None else camera
    vertices = scene_vertices(scene.surface, stage)
    background = render_background(scene.background, view, stage)
    picture = _render(vertices, scene.texture, camera, stage, background)
    normals = vertex_normals(vertices, stage.topology) @ camera.rotation.T
    normals = normals * jnp.array([1.0, -1.0, -1.0])[None, :]
    values = interpolate(normals, picture.fragments, stage.topology)
    behind = jnp.zeros((stage.resolution, stage.resolution, 3), normals.dtype)
    return picture.color, composite(values, picture.fragments.alpha, behind)[0]


def _render(vertices, texture, camera, stage, background):
    return render(
        vertices, stage.topology, texture, camera,
        (stage.resolution, stage.resolution), background, stage.margin_pixels,
    )  # fmt: skip
