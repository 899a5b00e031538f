from __future__ import annotations

import jax
import numpy as np

import gan3d
from gan3d.inversion.style_space import style_space


def test_styles_of_other_latents_are_spread_evenly():
    generator = gan3d.load_demo()
    space = style_space(generator)
    w = generator.styles(generator.sample(jax.random.key(1), 4000)).levels[:, 0]
    coordinates = np.asarray(space.encode(w))
    assert np.abs(coordinates.mean(axis=0)).max() < 0.1
    covariance = np.cov(coordinates, rowvar=False)
    assert np.abs(covariance - np.eye(len(covariance))).max() < 0.15
    np.testing.assert_allclose(space.decode(coordinates), w, atol=1e-3)
    assert np.ptp(np.linalg.norm(space.basis, axis=0)) > 1  # w itself is not


def test_directions_that_w_does_not_have_are_left_out(run_dir):
    generator = gan3d.load(run_dir)
    flat = generator.params["mapping"]["Dense_0"]
    # Two of the four entries of w are always equal.
    kernel, bias = (np.array(flat[name]) for name in ("kernel", "bias"))
    kernel[:, 1], bias[1] = kernel[:, 0], bias[0]
    mapping = {"Dense_0": {"kernel": kernel, "bias": bias}}
    params = {**generator.params, "mapping": mapping}
    generator = type(generator)(generator.parts, params, 0, "flat")
    space = style_space(generator)
    assert space.basis.shape == (4, 3)
    w = generator.styles(generator.sample(jax.random.key(1), 5)).levels[:, 0]
    np.testing.assert_allclose(space.decode(space.encode(w)), w, atol=1e-5)
