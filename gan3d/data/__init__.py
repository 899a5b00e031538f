"""Training images: procedural heads with known truth, folders of images, the input pipeline."""

from __future__ import annotations

from gan3d.data.folder import FolderSource
from gan3d.data.heads import HeadsSource, head_scene, head_scenes, head_view
from gan3d.data.pipeline import Batches, batches
from gan3d.data.sources import ImageSource, open_source

__all__ = [
    "Batches",
    "FolderSource",
    "HeadsSource",
    "ImageSource",
    "batches",
    "head_scene",
    "head_scenes",
    "head_view",
    "open_source",
]
