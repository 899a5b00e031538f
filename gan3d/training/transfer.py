"""A run that begins with the networks of another: other images, or a finer resolution.

G begins as the other run's averaged generator, D as its discriminator; their optimizers and the
clock are new. Networks that grow compute at first what they computed before (as net2net: Chen et
al. 2016): new levels of G add nothing to shape and texture, and new blocks of D pass on the means
of 2 x 2 pixels, so that no fade-in as in Karras et al. 2018, "Progressive growing of GANs", is
needed.
"""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING, Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from gan3d.config import Config
from gan3d.training.assemble import Parts, init_state
from gan3d.training.directory import CHECKPOINTS_NAME
from gan3d.training.run import Run, RunError, flat_parameters, load_run, read_config
from gan3d.training.state import TrainState

if TYPE_CHECKING:
    from jaxtyping import Array, Int

# What G's parameters mean depends on these.
_SAME = (
    "chart",
    "background_size",
    "latent_size",
    "shape_latent_size",
    "background_latent_size",
    "mapping_layers",
    "generator_width",
    "pyramid",
    "pyramid_decay",
    "displacement_gain",
    "start_radius",
)
_OLD = np.iinfo(np.int32).max
_BLOCK_CONVS = 3

_Flat = dict[str, Any]


class TransferError(ValueError):
    """The run that `start_from` names cannot be begun with; one line that says why."""


def network_age(config: Config, images_seen: Int[Array, ""]) -> Int[Array, ""]:
    """Images seen as the schedules of smoothness, penalties, blur and average count them.

    They lead new networks through their beginning, which networks of another run have behind them.
    """
    return jnp.full_like(images_seen, _OLD) if config.start_from else images_seen


def check_start(config: Config, run_dir: str | os.PathLike[str]) -> None:
    """Checks early that a run can begin with the run it names; once it has begun all is well.

    Raises:
      TransferError: there is no such run, or its generator does not fit.
    """
    if not config.start_from or _has_begun(pathlib.Path(run_dir)):
        return
    try:
        other = read_config(config.start_from)
    except RunError as error:
        raise TransferError(f"start_from: {error}") from error
    _check_fits(config, other)


def _check_fits(config: Config, other: Config) -> None:
    # Without the pyramid the finest map alone has a head.
    names = _SAME if config.pyramid else (*_SAME, "surface_size")
    for name in names:
        there, here = getattr(other, name), getattr(config, name)
        if there != here:
            raise TransferError(
                f"start_from: {name} must be that of {config.start_from}, {there}, got {here}"
            )


def first_state(parts: Parts) -> tuple[TrainState, str]:
    """The state before the first step, and a line that says what it begins with, or "".

    Raises:
      TransferError: the run that the configuration names cannot be begun with.
    """
    config = parts.config
    if not config.start_from:
        return init_state(parts, config.seed), ""
    try:
        other = load_run(config.start_from)
    except RunError as error:
        raise TransferError(f"start_from: {error}") from error
    _check_fits(config, other.parts.config)
    state = init_state(parts, config.seed)
    generator = grown_generator(state.generator_params, other.ema_params)
    why_new = _why_discriminator_is_new(config, other)
    discriminator = state.discriminator_params
    if not why_new:
        discriminator = grown_discriminator(discriminator, other.discriminator_params)
    state = state.replace(
        generator_params=generator,
        ema_params=jax.tree.map(jnp.copy, generator),
        discriminator_params=discriminator,
    )
    told = f"new, because {why_new}" if why_new else "with it"
    return state, (
        f"beginning with the generator of {config.start_from} at {other.images_seen:,} images; "
        f"discriminator {told}"
    )


def grown_generator(new: Any, old: Any) -> Any:
    """Parameters of a generator that computes what another one does, on as many or more texels.

    Args:
      new: initial parameters; of levels that `old` lacks all but the heads' are kept.
      old: parameters of a generator of the same widths; levels that `new` lacks are left out.
    """
    new, old = flat_parameters(new), flat_parameters(old)

    def value(name):
        if name in old:
            return jnp.asarray(old[name])
        head, _, rest = name.partition("/")
        is_head = head.startswith(("shape_", "texture_")) and rest in ("kernel", "bias")
        return jnp.zeros_like(new[name]) if is_head else new[name]

    return _nested({name: value(name) for name in new})


def grown_discriminator(new: Any, old: Any) -> Any:
    """Parameters of a discriminator that judges as another one does, after 2 x 2 means.

    Args:
      new: initial parameters, for a resolution that may differ. Where it is smaller, the blocks of
        `old` for the finer ones are left out, and the features of pixels are those of `new`.
      old: parameters of a discriminator of the same width.
    """
    new, old = flat_parameters(new), flat_parameters(old)
    more = (_num_convs(new) - _num_convs(old)) // _BLOCK_CONVS
    # Counted from the coarse end, where networks for different resolutions are alike.
    first_kept = max(1, 1 + _BLOCK_CONVS * more) if more else 0
    values = {}
    for name, initial in new.items():
        is_kept = not name.startswith("Conv_") or _index(name) >= first_kept
        values[name] = old[_shifted(name, -_BLOCK_CONVS * more)] if is_kept else initial
    if more > 0:
        values |= _passing_on(new, old, more)
    return _nested({name: jnp.asarray(values[name]) for name in new})


def _passing_on(new: _Flat, old: _Flat, more: int) -> _Flat:
    """Of the layers before those of `old`: the first three channels carry the mean colours.

    A block adds its residual, at first zero, to its input, and halves their variance.
    """
    kernel = lambda conv: new[f"Conv_{conv}/kernel"]  # noqa: E731
    colours = jnp.eye(3)[None, None]
    values = {
        "Conv_0/kernel": kernel(0).at[..., :3].set(colours * 3**0.5),
        "Conv_0/bias": new["Conv_0/bias"].at[:3].set(0),
    }
    for block in range(more):
        residual, skip = (_BLOCK_CONVS * block + place for place in (2, 3))
        fan_in, features = kernel(skip).shape[2:]
        gain = (2 * fan_in) ** 0.5
        if block < more - 1:
            onward, bias = jnp.eye(3, features)[None, None], jnp.zeros(features)
        else:
            onward = jnp.asarray(old["Conv_0/kernel"]) * 3**-0.5
            bias = jnp.asarray(old["Conv_0/bias"]) * 2**0.5
        for name in (f"Conv_{residual}/kernel", f"Conv_{residual}/bias"):
            values[name] = jnp.zeros_like(new[name])
        values[f"Conv_{skip}/kernel"] = jnp.zeros_like(kernel(skip)).at[:, :, :3].set(onward * gain)
        values[f"Conv_{skip}/bias"] = bias
    return values


def _why_discriminator_is_new(config: Config, other: Run) -> str:
    if other.discriminator_params is None:
        return "exports have none"
    there = other.parts.config
    if there.discriminator_width != config.discriminator_width:
        return f"its width there is {there.discriminator_width}"
    if (there.mbstd_group_size > 1) != (config.mbstd_group_size > 1):
        return f"mbstd_group_size there is {there.mbstd_group_size}"
    return ""


def _has_begun(run_dir: pathlib.Path) -> bool:
    return any(path.name.isdecimal() for path in (run_dir / CHECKPOINTS_NAME).glob("*"))


def _nested(values: _Flat) -> Any:
    return flax.traverse_util.unflatten_dict(values, sep="/")


def _num_convs(params: _Flat) -> int:
    return sum(name.startswith("Conv_") and name.endswith("/kernel") for name in params)


def _index(name: str) -> int:
    return int(name.partition("/")[0].removeprefix("Conv_"))


def _shifted(name: str, by: int) -> str:
    """The name of the same parameter of a convolution that comes `by` places later."""
    if not name.startswith("Conv_"):
        return name
    return f"Conv_{_index(name) + by}/{name.partition('/')[2]}"
