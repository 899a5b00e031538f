"""gan3d: learning generators of textured 3D meshes from photographs alone.

`gan3d.render` stands by itself and needs jax and numpy only; the rest of the package builds on it.
"""

__version__ = "0.1.0"
