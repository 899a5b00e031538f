"""Everything that a training run carries from step to step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flax.struct
import optax

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


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
      augment_probability: of each transformation of what the discriminator sees, see
        `training.augment`; None where nothing is augmented, which is no leaf: such states, and
        their checkpoints, are as they were before there was augmentation.
    """

    images_seen: Int[Array, ""]
    generator_params: Any
    discriminator_params: Any
    ema_params: Any
    generator_opt: optax.OptState
    discriminator_opt: optax.OptState
    augment_probability: Float[Array, ""] | None = None
