"""gan3d: learning generators of textured 3D meshes from photographs alone.

`gan3d.load` opens a trained run. `gan3d.render` stands by itself and needs jax and numpy only; the
rest of the package builds on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan3d.trained import Styles, TrainedGenerator, load

__version__ = "0.1.0"
__all__ = ["Styles", "TrainedGenerator", "load"]


def __getattr__(name: str) -> Any:
    # Late, so that whoever imports the renderer alone does not import the networks.
    if name in __all__:
        from gan3d import trained

        return getattr(trained, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
