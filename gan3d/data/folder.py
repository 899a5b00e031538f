"""Images of a folder: any mix of formats, sizes and colour modes."""

from __future__ import annotations

import os
from pathlib import Path

from gan3d.data.cache import Identity
from gan3d.data.encoded import MEMORY_BYTES, EncodedSource

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")


class FolderSource(EncodedSource):
    """The images in a folder and its subfolders, in the order of their paths.

    Attributes:
      name: "folder:PATH".
      skipped: (path below the folder, reason) of every file that has an image's extension and is
        not used.

    >>> from gan3d.visualize import save_png
    >>> for level in (0, 255):
    ...     save_png(folder / f"{level}.png", np.full((20, 30, 3), level, np.uint8))
    >>> source = FolderSource(folder, resolution=16)
    >>> print(len(source), source[1].shape, source[1].mean())
    2 (16, 16, 3) 255.0
    """

    def __init__(
        self, path: str | os.PathLike, resolution: int, *, memory_bytes: int = MEMORY_BYTES
    ):
        """Opens a folder.

        Args:
          path: the folder.
          resolution: height and width of the images, in pixels.
          memory_bytes: memory that decoded images may take, where there is no cache.

        Raises:
          ValueError: there is no such folder, or no usable image in it.
        """
        name = f"folder:{os.fspath(path)}"
        root = Path(path).expanduser()
        if not os.fspath(path) or not root.is_dir():
            raise ValueError(f"data must name an existing folder, got {name!r}")
        identities = image_files(root)
        if not identities:
            extensions = ", ".join(EXTENSIONS)
            raise ValueError(f"data must name a folder with {extensions} files, got {name!r}")
        super().__init__(
            name,
            [root / identity[0] for identity in identities],
            identities,
            resolution,
            location=os.fspath(root.resolve()),
            memory_bytes=memory_bytes,
        )


def image_files(root: Path) -> list[Identity]:
    """Files below `root` that have an image's extension in any case, sorted by path.

    Returns:
      Path below `root` with forward slashes, size and time of last change of each; of a link to
      nothing the latter are -1.
    """
    identities = []
    for folder, _, names in os.walk(root):
        below = Path(folder).relative_to(root)
        for name in names:
            if os.path.splitext(name)[1].lower() in EXTENSIONS:
                try:
                    status = os.stat(os.path.join(folder, name))
                    identity = (status.st_size, status.st_mtime_ns)
                except OSError:
                    identity = (-1, -1)
                identities.append(((below / name).as_posix(), *identity))
    return sorted(identities)
