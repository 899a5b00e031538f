"""Inception-V3 features of images by Keras on its JAX backend (`pip install 'gan3d[fid]'`).

The weights are those that Keras distributes, trained on ImageNet. The FIDs of the literature come
from another training of the network, the TensorFlow graph of 2015: numbers from here compare among
themselves only.
"""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from gan3d.evaluation.points import Progress

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Float32, UInt8

INPUT_PIXELS = 299
WEIGHTS_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
WEIGHTS_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/" + WEIGHTS_FILE
)
_WEIGHTS_MD5 = "bcbd6486424b2319ff4ef7d526e38f63"


class MissingFeaturesError(Exception):
    """The network or its weights are not to be had; the message says what to do."""


def inception_features(
    images: UInt8[np.ndarray, "N H W 3"],
    batch: int = 32,
    progress: Progress | None = None,
    *,
    _pretrained: bool = True,
) -> Float32[np.ndarray, "N 2048"]:
    """Average-pooled activations of Inception-V3's last convolutional layer.

    Images are resized bilinearly to 299×299, with antialiasing where they shrink. On first use
    Keras downloads the weights, 88 MB, to ~/.keras/models (or $KERAS_HOME/models). Unless
    KERAS_BACKEND says otherwise it is set to "jax", for Keras reads it once, on import.

    Args:
      images: N >= 1.
      batch: images at once, at least 1; the last batch is filled up, so that one program is
        compiled.
      progress: called with the numbers of images done and of all.

    Raises:
      MissingFeaturesError: Keras is missing or runs on another backend, or its weights are
        neither on disk nor can be downloaded.
      ValueError: images of another shape or type, or batch out of range.

    >>> images = np.zeros((4, 64, 64, 3), np.uint8)
    >>> try:
    ...     features = inception_features(images)  # doctest: +SKIP
    ... except MissingFeaturesError as error:
    ...     print(error)  # says what to install, or what to download
    >>> inception_features(images / 255)
    Traceback (most recent call last):
    ValueError: images must be uint8, got float64
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[3] != 3 or not images.size:
        raise ValueError(f"images must be [N, H, W, 3] with N >= 1, got shape {images.shape}")
    if images.dtype != np.uint8:
        raise ValueError(f"images must be uint8, got {images.dtype}")
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    extract = _extractor(_pretrained)
    num, batch = len(images), min(batch, len(images))
    parts = []
    for start in range(0, num, batch):
        part = images[start : start + batch]
        filled = np.pad(part, ((0, batch - len(part)), (0, 0), (0, 0), (0, 0)))
        parts.append(np.asarray(extract(filled), np.float32)[: len(part)])
        if progress is not None:
            progress(start + len(part), num)
    return np.concatenate(parts)


# The network takes long to build and to compile.
@functools.lru_cache(maxsize=1)
def _extractor(pretrained: bool) -> Callable[[UInt8[np.ndarray, "B H W 3"]], Float[Array, "B F"]]:
    keras = _import_keras()
    network = keras.applications.InceptionV3(
        include_top=False,
        weights=_weights_path(keras) if pretrained else None,
        input_shape=(INPUT_PIXELS, INPUT_PIXELS, 3),
        pooling="avg",
    )

    @jax.jit
    def extract(trained: list[Array], other: list[Array], images: Array) -> Array:
        shape = (len(images), INPUT_PIXELS, INPUT_PIXELS, 3)
        resized = jax.image.resize(images.astype(jnp.float32), shape, "bilinear", antialias=True)
        # The network was trained on [-1, 1].
        features, _ = network.stateless_call(trained, other, resized / 127.5 - 1, training=False)
        return features

    # As arguments, because XLA would fold 22 million constants at compile time.
    trained = [jnp.asarray(variable.value) for variable in network.trainable_variables]
    other = [jnp.asarray(variable.value) for variable in network.non_trainable_variables]
    return functools.partial(extract, trained, other)


def _import_keras() -> Any:
    backend = os.environ.get("KERAS_BACKEND") or "jax"
    os.environ["KERAS_BACKEND"] = backend
    try:
        import keras
    except ImportError as error:
        if error.name == "keras":
            raise MissingFeaturesError(
                "Inception features need keras: pip install 'gan3d[fid]'"
            ) from error
        raise MissingFeaturesError(
            f"keras cannot be imported with KERAS_BACKEND={backend}: {error}"
        ) from error
    if keras.backend.backend() != "jax":
        raise MissingFeaturesError(
            f"Inception features need keras on its backend 'jax', got {keras.backend.backend()!r}: "
            "set KERAS_BACKEND=jax, or import keras later"
        )
    return keras


def _weights_path(keras: Any) -> str:
    """The file's place on disk, after a download if it is not there."""
    home = os.environ.get("KERAS_HOME") or "~/.keras"
    expected = pathlib.Path(home).expanduser() / "models" / WEIGHTS_FILE
    if not expected.exists():
        logging.info("downloading the weights of Inception-V3, 88 MB, to %s", expected)
    try:
        return keras.utils.get_file(
            WEIGHTS_FILE, WEIGHTS_URL, cache_subdir="models", file_hash=_WEIGHTS_MD5
        )
    except Exception as error:  # keras turns network errors into bare `Exception`s
        raise MissingFeaturesError(
            f"no sound weights of Inception-V3 are at {expected}, and none could be downloaded "
            f"from {WEIGHTS_URL}; --features=none leaves out the scores that need them"
        ) from error
