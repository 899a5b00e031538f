"""gan3d: learning generators of textured 3D meshes from photographs alone.

`train` trains what a `Config` describes (`preset` has named ones), and `load` opens what it left:
a `TrainedGenerator` that samples scenes and draws them; `load_pretrained` opens one that comes
with the package. `gan3d.render` stands by itself and needs jax and numpy only; the rest of the
package builds on it. `gan3d.exported` runs a generator that was exported, without its networks.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan3d.config import Config, preset
    from gan3d.trained import Styles, TrainedGenerator, load, load_demo, load_pretrained
    from gan3d.training.loop import train

__version__ = "0.1.0"

# Imported when they are used, so that whoever imports the renderer alone gets no networks.
_HOMES = {
    "Config": "gan3d.config",
    "preset": "gan3d.config",
    "train": "gan3d.training.loop",
    "load": "gan3d.trained",
    "load_demo": "gan3d.trained",
    "load_pretrained": "gan3d.trained",
    "TrainedGenerator": "gan3d.trained",
    "Styles": "gan3d.trained",
}
__all__ = [
    "Config",
    "Styles",
    "TrainedGenerator",
    "load",
    "load_demo",
    "load_pretrained",
    "preset",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
