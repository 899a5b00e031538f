from __future__ import annotations

import importlib.util
import os
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest

from gan3d.evaluation import features
from gan3d.evaluation.features import MissingFeaturesError, inception_features


def pictures(num: int, size: int = 24) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, size, size, 3), np.uint8)


class StandInNetwork:
    """Features: mean colours and the top left pixel's red, as the network sees them, times 2."""

    trainable_variables = (types.SimpleNamespace(value=np.float32(2)),)
    non_trainable_variables = ()

    def stateless_call(self, trained, other, images, training):
        assert images.shape[1:] == (299, 299, 3) and images.dtype == jnp.float32 and not training
        colors = jnp.concatenate([images.mean(axis=(1, 2)), images[:, 0, 0, :1]], axis=1)
        return trained[0] * colors, other


def stand_in(backend: str = "jax", download_error: Exception | None = None):
    """A module in keras' place; what it is asked for is noted in its `calls`."""
    module = types.ModuleType("keras")
    module.calls = []

    def get_file(name, url, **options):
        module.calls.append((name, url, options))
        if download_error is not None:
            raise download_error
        return f"/models/{name}"

    def network(**options):
        module.calls.append(options)
        return StandInNetwork()

    module.backend = types.SimpleNamespace(backend=lambda: backend)
    module.utils = types.SimpleNamespace(get_file=get_file)
    module.applications = types.SimpleNamespace(InceptionV3=network)
    return module


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """No network is kept from before or left behind, and nothing is written to the home folder."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    features._extractor.cache_clear()
    yield
    features._extractor.cache_clear()


def test_images_reach_the_network_resized_and_scaled(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", stand_in())
    images = pictures(3)
    images[1] = 255
    found = inception_features(images)
    assert found.dtype == np.float32
    # Enlarging keeps the mean up to the weight of the border, and the corner exactly.
    expected = 2 * (images.mean(axis=(1, 2)) / 127.5 - 1)
    np.testing.assert_allclose(found[:, :3], expected, atol=0.01)
    np.testing.assert_allclose(found[:, 3], 2 * (images[:, 0, 0, 0] / 127.5 - 1), atol=1e-5)
    np.testing.assert_allclose(found[1], 2, atol=1e-5)


def test_shrinking_averages(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", stand_in())
    # Columns in turn black and white: without antialiasing, single ones would show.
    stripes = np.zeros((1, 897, 897, 3), np.uint8)
    stripes[:, :, ::2] = 255
    assert abs(inception_features(stripes)[0, 3]) < 0.5


@pytest.mark.parametrize("batch", [1, 3, 7, 100])
def test_batches_do_not_matter(batch, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", stand_in())
    images, done = pictures(7), []
    found = inception_features(images, batch, lambda *counts: done.append(counts))
    one_by_one = [inception_features(image[None])[0] for image in images]
    np.testing.assert_allclose(found, one_by_one, atol=1e-5)
    assert done == [(min(end, 7), 7) for end in range(min(batch, 7), 7 + min(batch, 7), batch)]


def test_the_network_is_the_pretrained_one_without_its_classifier(monkeypatch):
    keras = stand_in()
    monkeypatch.setitem(sys.modules, "keras", keras)
    for _ in range(2):
        inception_features(pictures(1))
    # The network is made once.
    (name, url, download), network = keras.calls
    assert url.startswith("https://") and url.endswith(name) and len(download["file_hash"]) == 32
    assert network["weights"] == f"/models/{name}"
    assert network["include_top"] is False and network["pooling"] == "avg"


def test_without_keras_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(MissingFeaturesError, match=r"need keras: pip install 'gan3d\[fid\]'$"):
        inception_features(pictures(1))


def test_a_keras_that_cannot_start_is_not_called_missing(monkeypatch, tmp_path):
    (tmp_path / "keras.py").write_text("import tensor_library_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with pytest.raises(MissingFeaturesError, match=r"KERAS_BACKEND=tensorflow: .*_not_there"):
        inception_features(pictures(1))


def test_another_backend_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", stand_in(backend="torch"))
    with pytest.raises(MissingFeaturesError, match="got 'torch': set KERAS_BACKEND=jax"):
        inception_features(pictures(1))


@pytest.mark.parametrize("unset", [None, ""])
def test_jax_is_asked_for_unless_something_else_is(unset, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", stand_in())
    if unset is None:
        monkeypatch.delenv("KERAS_BACKEND")
    else:
        monkeypatch.setenv("KERAS_BACKEND", unset)
    inception_features(pictures(1))
    assert os.environ["KERAS_BACKEND"] == "jax"


def test_without_a_network_one_line_says_what_is_missing_and_where(monkeypatch, tmp_path):
    failure = Exception("URL fetch failure: Name or service not known")
    monkeypatch.setitem(sys.modules, "keras", stand_in(download_error=failure))
    with pytest.raises(MissingFeaturesError) as error:
        inception_features(pictures(1))
    message = str(error.value)
    assert "\n" not in message and "Inception-V3" in message and "--features=none" in message
    assert str(tmp_path / "models" / features.WEIGHTS_FILE) in message
    assert features.WEIGHTS_URL in message
    assert error.value.__cause__ is failure


def test_errors_name_argument_and_value():
    images = pictures(2)
    cases = {
        r"images must be \[N, H, W, 3\].*\(24, 24, 3\)": (images[0],),
        r"images must be .* N >= 1, got shape \(0, 24, 24, 3\)": (images[:0],),
        "images must be uint8, got float64": (images / 255,),
        "batch must be at least 1, got 0": (images, 0),
    }
    for message, arguments in cases.items():
        with pytest.raises(ValueError, match=message):
            inception_features(*arguments)


@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="keras is not installed")
def test_the_real_network_with_random_weights():
    images = pictures(3)
    found = inception_features(images, batch=2, _pretrained=False)
    assert found.shape == (3, 2048) and found.dtype == np.float32
    # Random weights shrink what they pass on: differences count in relation to its size.
    assert np.abs(found[0] - found[1]).max() > 1e-3 * np.abs(found).max()
    again = inception_features(images[2:], batch=2, _pretrained=False)
    np.testing.assert_allclose(again[0], found[2], rtol=1e-3, atol=1e-3 * np.abs(found).max())
