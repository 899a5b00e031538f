"""Everything that a training run carries from step to step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flax.struct
import optax

if TYPE_CHECKING:
    from jaxtyping import Array, Int


@flax.struct.dataclass
class TrainState:
    """A pytree of arrays; restoring it restores the run exactly.

    Attributes:
      images_seen: real images shown so far, the only clock.
      generator_params: of the generator.
      discriminator_params: of the discriminator.
      ema_params: exponential moving average of the generator's; what is sampled and evaluated.
      generator_opt: state of the generator's optimizer.
      discriminator_opt: state of the discriminator's optimizer.
    """

    images_seen: Int[Array, ""]
    generator_params: Any
    discriminator_params: Any
    ema_params: Any
    generator_opt: optax.OptState
    discriminator_opt: optax.OptState
