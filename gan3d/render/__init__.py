"""A differentiable soft rasterizer in plain JAX; needs jax and numpy only.

Conventions, stated once:

* World and camera axes are OpenCV's: x right, y down, z forward, right-handed. The outward normal
  of a face (a, b, c) is (b - a) x (c - a); a front face has negative signed area on the screen.
* Cameras orbit the origin; with field of view fov (radians, vertical) the default distance is
  1 / tan(fov / 2), so that the unit ball's great disc just fits the picture. yaw, pitch and roll
  are radians. Templates face the camera (front is -z) at yaw = pitch = 0.
* NDC [-1, 1] spans the borders of the image height. Pixel (row i, column j) has its centre at
  x = j + 0.5, y = i + 0.5. Images and textures are [H, W, C], row 0 on top; texel centres are at
  half-integers, UV in [0, 1], v down.
* Geometry keeps the dtype of its input, float32 or float64. Background alpha is 0; colours are
  not premultiplied.

What stays discontinuous by nature: a face at the silhouette that turns from front to back changes
the edge that bounds the object (the colour of the margin may step by the difference across that
face), and where a mesh intersects itself the visible boundary is no mesh edge. Where silhouettes of
two connected components cross, each fades on its own; where one component's silhouette crosses
itself, the closest edge takes the one margin there is: beside such a crossing the colour of a pixel
may step.
"""

from gan3d.render.camera import Camera, camera_from_world, orbit_camera, project
from gan3d.render.composite import composite
from gan3d.render.interpolate import interpolate
from gan3d.render.mesh import (
    Topology,
    face_normals,
    make_topology,
    octahedral_direction,
    sphere_mesh,
    vertex_normals,
)
from gan3d.render.pipeline import Rendering, render
from gan3d.render.rasterize import Fragments, rasterize
from gan3d.render.texture import sample_texture

__all__ = [
    "Camera",
    "Fragments",
    "Rendering",
    "Topology",
    "camera_from_world",
    "composite",
    "face_normals",
    "interpolate",
    "make_topology",
    "octahedral_direction",
    "orbit_camera",
    "project",
    "rasterize",
    "render",
    "sample_texture",
    "sphere_mesh",
    "vertex_normals",
]
