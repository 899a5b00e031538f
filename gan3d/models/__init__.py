"""Networks (flax.linen): written for one example, batched with `jax.vmap`."""

from gan3d.models.discriminator import GROUP_AXIS, Discriminator, judge_in_groups
from gan3d.models.generator import Generator, Maps, Randomness
from gan3d.models.mapping import MappingNetwork
from gan3d.models.view_quantiles import ViewQuantiles

__all__ = [
    "GROUP_AXIS",
    "Discriminator",
    "Generator",
    "MappingNetwork",
    "Maps",
    "Randomness",
    "ViewQuantiles",
    "judge_in_groups",
]
