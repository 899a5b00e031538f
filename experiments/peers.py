"""Other renderers behind the benchmark's one interface; none is needed to use gan3d."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from experiments.render_workload import FOV, Workload
from gan3d.render import orbit_camera

if TYPE_CHECKING:
    from jaxtyping import Float


class MissingPeerError(Exception):
    """A peer is not installed; the message says how to install it."""


class Peer(Protocol):
    """A renderer set up for one workload.

    Attributes:
      version: name and version.
    """

    version: str

    def cameras(self, views: Float[np.ndarray, "B 2"]) -> list[Any]:
        """The views in the renderer's own form; not timed."""

    def forward(self, cameras: list[Any]) -> Float[np.ndarray, "B H W 3"]:
        """Draws every image."""

    def forward_backward(
        self, cameras: list[Any]
    ) -> tuple[float, Float[np.ndarray, "B U 3"], Float[np.ndarray, "B T T 3"]]:
        """The loss and its gradients in the welded vertices and in the textures."""


class Deodr:
    """DEODR: C++, float64, antialiased silhouettes. https://github.com/martinResearch/DEODR

    Through its own 3-D interface, as its users call it: one image after the other, on one thread.
    The mesh's adjacency, the conversion to float64 and the cameras are made beforehand.
    """

    def __init__(self, workload: Workload):
        try:
            from deodr import differentiable_renderer, triangulated_mesh
        except ImportError as error:
            raise MissingPeerError("deodr is not installed: pip install 'gan3d[bench]'") from error
        self.version = f"deodr {importlib.metadata.version('deodr')}"
        self._camera_class = differentiable_renderer.Camera
        self._size = workload.image_size
        topology = workload.topology
        kept, welded = np.unique(topology.weld, return_inverse=True)
        self._vertices = np.ascontiguousarray(workload.vertices[:, kept], np.float64)
        self._textures = np.ascontiguousarray(workload.textures, np.float64)
        self._weights = np.ascontiguousarray(workload.weights, np.float64)
        # Its texture coordinates count texels, with the centre of the first one at 0.
        texels = np.array(workload.textures.shape[2:0:-1])
        self._mesh = triangulated_mesh.ColoredTriMesh(
            faces=welded.reshape(-1)[topology.faces].astype(np.uint32),
            vertices=self._vertices[0],
            faces_uv=np.asarray(topology.faces, np.uint32),
            uv=np.asarray(topology.uvs, np.float64) * texels - 0.5,
            texture=self._textures[0],
        )
        self._scene = differentiable_renderer.Scene3D(sigma=1, integer_pixel_centers=False)
        self._scene.set_mesh(self._mesh)
        self._scene.set_background_color([0.0, 0.0, 0.0])
        self._scene.set_light(light_directional=None, light_ambient=1.0)

    def cameras(self, views):
        height, width = self._size
        cameras = []
        for yaw, pitch in views:
            camera = orbit_camera(yaw, pitch, fov=FOV)
            extrinsic = np.column_stack([camera.rotation, camera.translation]).astype(np.float64)
            focal = np.broadcast_to(np.asarray(camera.focal, np.float64), 2) * height / 2
            intrinsic = np.array([[focal[0], 0, width / 2], [0, focal[1], height / 2], [0, 0, 1]])
            cameras.append(self._camera_class(extrinsic, intrinsic, height, width))
        return cameras

    def forward(self, cameras):
        return np.stack([self._draw(i, camera) for i, camera in enumerate(cameras)])

    def forward_backward(self, cameras):
        loss, vertices, textures = 0.0, [], []
        for i, camera in enumerate(cameras):
            image = self._draw(i, camera)
            # No np.vdot: its threads would wait for busy cores longer than all the rest takes.
            loss += (image * self._weights).sum()
            # What Scene3D.render_backward does, which raises KeyError on textured meshes.
            self._scene._render_2d_backward(self._weights)
            drawn = self._scene.scene_2d
            stored = self._scene.store_backward_current
            vertices.append(camera.project_points_backward(drawn.ij_b, store_backward=stored))
            textures.append(drawn.texture_b)
        return float(loss), np.stack(vertices), np.stack(textures)

    def _draw(self, index, camera):
        self._mesh.set_vertices(self._vertices[index])
        self._mesh.texture = self._textures[index]
        return self._scene.render(camera)


PEERS = {"deodr": Deodr}
