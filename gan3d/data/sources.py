"""Where training images come from: the protocol of a source, and how one is opened by name.

Shape letters: N number of images asked for, R resolution.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from gan3d.data.folder import FolderSource
from gan3d.data.heads import HeadsSource
from gan3d.data.tfds_source import FORM, TfdsSource
from gan3d.scene import ViewPrior

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8


class ImageSource(Protocol):
    """A finite, ordered set of square images, all of one resolution.

    Position i is the same image at every opening, as long as what it is read from has not changed.
    A source may also have `batch(indices int [N]) -> uint8 [N, R, R, 3]`, when it is faster at many
    images at once.

    Attributes:
      name: what it was opened from, for the log.

    >>> class Greys:
    ...     name = "greys"
    ...
    ...     def __len__(self):
    ...         return 4
    ...
    ...     def __getitem__(self, index):
    ...         return np.full((8, 8, 3), 50 * index, np.uint8)
    >>> source: ImageSource = Greys()  # for `batches`, or for gan3d.train(config, run, source)
    >>> with batches(source, batch_size=2, seed=0) as stream:
    ...     print(next(stream).shape)
    (2, 8, 8, 3)
    """

    name: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "R R 3"]: ...


def open_source(
    spec: str,
    resolution: int,
    *,
    seed: int = 0,
    yaw_degrees: float = 90.0,
    pitch_degrees: float = 15.0,
    fov_degrees: float = 20.0,
    view_prior: str = "uniform",
    num_heads: int = 16384,
) -> ImageSource:
    """Opens a source of training images.

    Args:
      spec: "heads", the procedural heads; "folder:PATH", the images in and below a folder;
        "tfds:NAME[/CONFIG][:SPLIT][:FEATURE]", the images of a prepared TensorFlow dataset; "ffhq",
        short for "tfds:ffhq".
      resolution: height and width of the images, in pixels.
      seed: which family of heads; heads only, as all that follow.
      yaw_degrees: viewpoints have yaw uniform in +-this.
      pitch_degrees: viewpoints have pitch uniform in +-this.
      fov_degrees: vertical field of view.
      view_prior: form of the distribution of the viewpoints, see `ViewPrior`.
      num_heads: number of heads.

    Returns:
      The source.

    Raises:
      ValueError: `spec` is of none of these forms, or there is no such folder or dataset, or no
        usable image in it.

    >>> source = open_source("heads", resolution=32, num_heads=100)
    >>> print(source.name, len(source))
    heads 100
    >>> open_source("cats", resolution=32)
    Traceback (most recent call last):
    ValueError: data must be 'heads', 'ffhq', 'folder:PATH' or ..., got 'cats'
    """
    if spec == "heads":
        prior = ViewPrior(math.radians(yaw_degrees), math.radians(pitch_degrees), view_prior)
        return HeadsSource(
            resolution, seed=seed, num_heads=num_heads, prior=prior, fov_degrees=fov_degrees
        )
    kind, _, path = spec.partition(":")
    if kind == "folder":
        return FolderSource(path, resolution)
    if kind == "tfds":
        return TfdsSource(spec, resolution)
    if spec == "ffhq":
        return TfdsSource("tfds:ffhq", resolution)
    raise ValueError(f"data must be 'heads', 'ffhq', 'folder:PATH' or '{FORM}', got {spec!r}")
