"""An encoder as a file: arrays alone, nothing that is executed when it is read."""

from __future__ import annotations

import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from gan3d.exported import ExportError, read_arrays
from gan3d.inversion.encoder import Encoder, EncoderNetwork
from gan3d.inversion.style_space import StyleSpace
from gan3d.trained import ASSETS
from gan3d.training.directory import replace_arrays
from gan3d.training.run import flat_parameters

_PARAMS, _SPACE = "params/", "space/"
_NETWORK = ("num_levels", "style_size", "background_size", "width", "stem")


class EncoderError(Exception):
    """A file that holds no usable encoder, in one line meant for the person who named it."""


def save_encoder(
    path: str | os.PathLike[str], encoder: Encoder, dtype: str = "float32"
) -> pathlib.Path:
    """Writes an encoder as .npz, so that a reader sees the old file or the whole new one.

    Args:
      path: of the file.
      encoder: what to write.
      dtype: of the network's parameters, "float32" or "float16".

    >>> encoder = train_encoder(generator, config=EncoderConfig(steps=1, batch=1, width=4, stem=4))
    >>> path = save_encoder(folder / "encoder.npz", encoder)
    >>> print(load_encoder(path).size)
    32
    >>> try:
    ...     load_encoder(folder / "other.npz")
    ... except EncoderError:
    ...     print("there is none")
    there is none
    """
    path = pathlib.Path(path)
    arrays = {name: np.int64(getattr(encoder.network, name)) for name in _NETWORK}
    arrays["size"] = np.int64(encoder.size)
    arrays["generator"] = np.str_(encoder.generator)
    for name, leaf in flat_parameters(encoder.params).items():
        arrays[_PARAMS + name] = np.asarray(leaf, dtype)
    for name, leaf in encoder.space._asdict().items():
        arrays[_SPACE + name] = np.asarray(leaf)
    path.parent.mkdir(parents=True, exist_ok=True)
    return replace_arrays(path, arrays)


def load_encoder(path: str | os.PathLike[str]) -> Encoder:
    """Reads an encoder.

    Raises:
      EncoderError: there is no such file, it is damaged, or holds no encoder.
    """
    path = pathlib.Path(path)
    try:
        arrays = read_arrays(path)
    except ExportError as error:
        raise EncoderError(str(error)) from error
    try:
        network = EncoderNetwork(**{name: int(arrays[name]) for name in _NETWORK})
        size, generator = int(arrays["size"]), str(arrays["generator"])
        space = StyleSpace(*(jnp.asarray(arrays[_SPACE + name]) for name in StyleSpace._fields))
        wanted = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((size, size, 3)))
        leaves = [arrays[_PARAMS + name] for name in flat_parameters(wanted["params"])]
    except (KeyError, ValueError, TypeError) as error:
        raise EncoderError(f"{path} holds no encoder of this version: {error}") from error
    templates, structure = jax.tree.flatten(wanted["params"])
    for leaf, template in zip(leaves, templates, strict=True):
        if leaf.shape != template.shape:
            raise EncoderError(
                f"{path} holds no encoder of this version: "
                f"an array has shape {leaf.shape}, not {template.shape}"
            )
    params = structure.unflatten([jnp.asarray(leaf, jnp.float32) for leaf in leaves])
    return Encoder(network, params, space, size, generator)


def load_demo_encoder() -> Encoder:
    """Reads the encoder of `gan3d.load_demo()`, which comes with the package.

    Raises:
      EncoderError: this installation has none.

    >>> heads, encoder = gan3d.load_demo(), load_demo_encoder()
    >>> styles, view = encoder.encode(np.zeros((32, 32, 3), np.uint8))
    >>> print(styles.levels.shape, encoder.check(heads))
    (4, 64) None
    """
    return load_encoder(ASSETS / "demo" / "encoder.npz")
