"""Networks (flax.linen): written for one example, batched with `jax.vmap`."""

from gan3d.models.discriminator import Discriminator
from gan3d.models.generator import Generator, Maps
from gan3d.models.mapping import MappingNetwork

__all__ = ["Discriminator", "Generator", "MappingNetwork", "Maps"]
