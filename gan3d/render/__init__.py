"""A differentiable soft rasterizer in plain JAX, on its own: it needs jax, and the numpy and scipy
that come with it, and nothing else of gan3d.

    vertices, topology = sphere_mesh(33)
    picture = render(0.7 * vertices, topology, texture, orbit_camera(yaw=0.3), (128, 128))

**One scene is the unit.** Every function draws one mesh; `jax.vmap` makes batches, nested ones too,
and gives what a loop gives. Different meshes share a batch after `stack_meshes`. All functions work
under `jit`, `grad` and `vmap`. Shapes, dtypes and ranges of Python numbers are checked: a mistake
is a ValueError that names the argument, the rule and the value. Values inside arrays are not looked
at: degenerate and edge-on faces, empty meshes and points behind the camera give finite pictures and
gradients.

**Axes.** World and camera axes are OpenCV's: x right, y down, z forward, right-handed. The outward
normal of a face (a, b, c) is (b - a) x (c - a); a front face has negative signed area on the screen
(x right, y down). Templates face the camera (front is -z) at yaw = pitch = 0.

**Cameras.** An orbiting camera looks at the origin; with field of view fov (radians, vertical) its
default distance is 1 / tan(fov / 2), so that the unit ball's great disc just fits the picture. yaw,
pitch and roll are radians. Depth is the camera-space z; faces are drawn between `near` and `far`
and clipped at `near`. Cameras of other programs are converted (`camera_from_opengl`,
`cameras_from_transforms`, `camera_from_pytorch3d`, `camera_from_colmap`,
`camera_from_intrinsics`); the world axes stay those of the file.

**Pixels.** NDC [-1, 1] spans the borders of the image height. Pixel (row i, column j) has its
centre at x = j + 0.5, y = i + 0.5. Images and textures are [H, W, C], row 0 on top; texel centres
are at half-integers, UV in [0, 1], v down. A closed mesh has no holes: a pixel centre on a shared
edge belongs to one of its two faces.

**Colours** are any number of channels in any range, not premultiplied. Background alpha is 0.
Geometry keeps the dtype of its input, float32 or float64.

**Layers.** A pixel shows, front to back, a *margin* and a *surface*. The surface is the nearest
face at the pixel's centre, opaque. The margin is a thin band, `margin_pixels` wide, outside of
every silhouette edge, where the object fades out over what lies behind it, background or another
part of itself: at distance d from the edge alpha = 1 - d / margin_pixels, and every attribute is
that of the closest point of the edge. A mesh of several connected components has two margins, so
that where the silhouettes of two objects cross, each fades on its own. With `num_surfaces` = K
there are K times these layers: the K nearest surfaces and the margins between them.

    composite:  color = a0 c0 + (1 - a0) (a1 c1 + (1 - a1) (... background))

The upper left corner of a triangle at (1.2, 1.4), with the outlines of its alpha along the border:

>>> import jax, jax.numpy as jnp, numpy as np
>>> corner = np.array([[1.2, 1.4, 1.0], [1.2, 99.0, 1.0], [99.0, 1.4, 1.0]])
>>> triangle = make_topology(np.array([[0, 1, 2]]))
>>> draw = lambda points: rasterize(points, triangle, (4, 5)).alpha
>>> margin, surface = jax.jit(draw)(corner)
>>> print(np.round(margin, 1))
[[0.  0.1 0.1 0.1 0.1]
 [0.3 0.  0.  0.  0. ]
 [0.3 0.  0.  0.  0. ]
 [0.3 0.  0.  0.  0. ]]
>>> print(surface)
[[0. 0. 0. 0. 0.]
 [0. 1. 1. 1. 1.]
 [0. 1. 1. 1. 1.]
 [0. 1. 1. 1. 1.]]

`experiments/figures/margin.png` shows such a corner enlarged, `experiments/figures/renderer.png` a
mesh that occludes itself, and its derivative beside finite differences.

**Gradients.** The picture is a continuous function of the vertices, at outlines before the
background and at self-occlusions, so its gradient is that of the picture, silhouettes included.
`margin_pixels=0` is the crisp renderer, whose pictures jump there and whose gradient does not see
it. Reverse mode works twice (`jax.grad` of `jax.grad`, where the picture is smooth). Forward mode,
`jax.jvp`, raises JAX's TypeError for custom_vjp functions; the derivative of every pixel by a
scalar t is two transpositions instead:

>>> def forward_derivative(function, t):
...     picture, pull_back = jax.vjp(function, t)
...     _, push = jax.vjp(lambda cotangent: pull_back(cotangent)[0], jnp.zeros_like(picture))
...     return push(jnp.ones_like(t))[0]
>>> margin_of_moved = lambda x: draw(jnp.asarray(corner).at[:, 0].add(x))[0]
>>> derivative = jax.jit(lambda x: forward_derivative(margin_of_moved, x))
>>> print(np.round(derivative(0.0), 2) + 0.0)
[[ 0.  0.  0.  0.  0.]
 [-1.  0.  0.  0.  0.]
 [-1.  0.  0.  0.  0.]
 [-1.  0.  0.  0.  0.]]

**Several devices** share a batch by `jax.shard_map`, in which all of this works, too: GPUs, TPUs,
or the cores of a CPU. There a batch is drawn scene by scene, and one program makes little of a
second core; `jax.config.update("jax_num_cpu_devices", 2)`, before anything else of jax, makes two
cores two devices. What all scenes share (`PartitionSpec()`) gets the sum of their gradients.

>>> from jax.sharding import AxisType, PartitionSpec
>>> devices = jax.make_mesh((jax.device_count(),), ("scene",), (AxisType.Auto,))
>>> scenes = dict(in_specs=PartitionSpec("scene"), out_specs=PartitionSpec("scene"))
>>> draw_moved = lambda x: draw(jnp.asarray(corner).at[:, 0].add(x))
>>> draw_batch = jax.jit(jax.shard_map(jax.vmap(draw_moved), mesh=devices, **scenes))
>>> print(draw_batch(jnp.arange(8.0)).shape)
(8, 2, 4, 5)

**What stays discontinuous** by nature: a face at the silhouette that turns from front to back
changes the edge that bounds the object (the colour of the margin may step by the difference across
that face), and where a mesh intersects itself the visible boundary is no mesh edge. Where one
component's silhouette crosses itself, the closest edge takes the one margin there is: beside such a
crossing the colour of a pixel may step. Gradients do not see these events.

**Where to read on.** `pipeline.py` is the renderer in one function: `visibility.py` finds what each
pixel sees, `shading.py` colours it from the faces of `layers.py` and the edges of `edges.py`, where
the gradients are; `rasterize.py` gives the same layers as arrays; `reference.py` is the slow
obvious twin.
"""

from gan3d.render.buffers import Buffers, render_buffers
from gan3d.render.camera import (
    Camera,
    camera_from_world,
    look_at_camera,
    orbit_camera,
    orthographic_camera,
    project,
    weak_perspective,
)
from gan3d.render.camera_formats import (
    camera_from_colmap,
    camera_from_intrinsics,
    camera_from_opengl,
    camera_from_pytorch3d,
    cameras_from_transforms,
    intrinsics,
)
from gan3d.render.composite import composite
from gan3d.render.derivatives import screen_derivatives, uv_derivatives
from gan3d.render.fragments import Fragments
from gan3d.render.interpolate import interpolate, interpolate_uv
from gan3d.render.lighting import DirectionalLights, lambert, spherical_harmonics
from gan3d.render.normals import face_normals, vertex_normals
from gan3d.render.padding import pad_topology, stack_meshes
from gan3d.render.pipeline import Rendering, render
from gan3d.render.rasterize import rasterize
from gan3d.render.smoothness import (
    edge_length_term,
    laplacian_term,
    normal_consistency_term,
    uniform_laplacian,
)
from gan3d.render.templates import (
    cube,
    icosphere,
    octahedral_direction,
    sheet,
    sphere_mesh,
    uv_sphere,
)
from gan3d.render.texture import make_mipmaps, sample_texture
from gan3d.render.topology import Topology, make_topology, with_vertex_uvs

__all__ = [
    "Buffers",
    "Camera",
    "DirectionalLights",
    "Fragments",
    "Rendering",
    "Topology",
    "camera_from_colmap",
    "camera_from_intrinsics",
    "camera_from_opengl",
    "camera_from_pytorch3d",
    "camera_from_world",
    "cameras_from_transforms",
    "composite",
    "cube",
    "edge_length_term",
    "face_normals",
    "icosphere",
    "interpolate",
    "interpolate_uv",
    "intrinsics",
    "lambert",
    "laplacian_term",
    "look_at_camera",
    "make_mipmaps",
    "make_topology",
    "normal_consistency_term",
    "octahedral_direction",
    "orbit_camera",
    "orthographic_camera",
    "pad_topology",
    "project",
    "rasterize",
    "render",
    "render_buffers",
    "sample_texture",
    "screen_derivatives",
    "sheet",
    "sphere_mesh",
    "spherical_harmonics",
    "stack_meshes",
    "uniform_laplacian",
    "uv_derivatives",
    "uv_sphere",
    "vertex_normals",
    "weak_perspective",
    "with_vertex_uvs",
]
