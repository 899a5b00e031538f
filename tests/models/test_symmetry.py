"""What mirror symmetry does to the generator's maps."""

from __future__ import annotations

import jax
import numpy as np

from gan3d.models.symmetry import symmetric_texture


def test_symmetric_paint_differs_between_left_and_right_in_shading_alone():
    texture = jax.random.normal(jax.random.key(0), (32, 32, 3))
    painted = np.asarray(symmetric_texture(texture, "octahedral"))
    one_sided = painted - painted[:, ::-1]
    assert np.abs(one_sided).max() > 0.05
    # Of the difference nothing is left but what 4 x 4 texels show: it has no finer detail.
    blocks = one_sided.reshape(4, 8, 4, 8, 3).mean((1, 3))
    shading = (texture - texture[:, ::-1]).reshape(4, 8, 4, 8, 3).mean((1, 3))
    assert np.corrcoef(blocks.ravel(), np.asarray(shading).ravel())[0, 1] > 0.9
    second = np.abs(np.diff(one_sided, 2, axis=0)).max()
    assert second < 0.1 * np.abs(np.diff(np.asarray(texture - texture[:, ::-1]), 2, axis=0)).max()


def test_symmetric_paint_that_is_symmetric_stays_as_it_is():
    texture = jax.random.normal(jax.random.key(0), (8, 8, 3))
    texture = texture + texture[:, ::-1]
    np.testing.assert_allclose(symmetric_texture(texture, "octahedral"), texture, atol=1e-6)
