"""Training images: where they come from, and in which order.

Three families of sources behind one function, `open_source`: the procedural heads with known truth;
folders of images; prepared TensorFlow datasets, read without TensorFlow. `batches` makes an endless
stream of any of them: a pure function of seed and position, so that it can start anywhere, and be
shared out among processes.

Of images that lie in files, the decoded pixels are kept on disk from one start to the next: in
$GAN3D_CACHE, or else $XDG_CACHE_HOME/gan3d, or else ~/.cache/gan3d; GAN3D_CACHE= (empty) turns that
off. The folder can be deleted at any time.

`gan3d.data.builders` (not imported here, it needs tensorflow-datasets) writes FFHQ and the heads as
TensorFlow datasets.
"""

from __future__ import annotations

from gan3d.data.encoded import UnreadableImageError
from gan3d.data.folder import FolderSource
from gan3d.data.heads import HeadsSource, head_scene, head_scenes, head_view
from gan3d.data.pipeline import Batches, batches
from gan3d.data.sources import ImageSource, open_source
from gan3d.data.tfds_source import TfdsSource

__all__ = [
    "Batches",
    "FolderSource",
    "HeadsSource",
    "ImageSource",
    "TfdsSource",
    "UnreadableImageError",
    "batches",
    "head_scene",
    "head_scenes",
    "head_view",
    "open_source",
]
