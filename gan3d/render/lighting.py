"""Light on a matt surface: ambient, directional, and order-2 spherical harmonics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp

from gan3d.render.normals import unit_vectors

if TYPE_CHECKING:
    from jaxtyping import Array, Float

# Real spherical harmonics without Condon-Shortley phase, orthonormal on the unit sphere:
# Y_00, Y_1m = c1 (y, z, x), Y_2m = c2 (xy, yz, ., xz, .), Y_20 = c20 (3 z^2 - 1),
# Y_22 = c22 (x^2 - y^2).
_Y0 = 0.5 * math.sqrt(1 / math.pi)
_Y1 = 0.5 * math.sqrt(3 / math.pi)
_Y2 = 0.5 * math.sqrt(15 / math.pi)
_Y20 = 0.25 * math.sqrt(5 / math.pi)
_Y22 = 0.25 * math.sqrt(15 / math.pi)
# The clamped cosine's coefficients per order: irradiance = sum of A_l L_lm Y_lm.
_A0, _A1, _A2 = math.pi, 2 * math.pi / 3, math.pi / 4


class DirectionalLights(NamedTuple):
    """N lights infinitely far away.

    Attributes:
      direction: towards each light, in the frame of the normals; any length but zero.
      color: what a white surface facing the light sends back, per channel.
    """

    direction: Float[Array, "N 3"]
    color: Float[Array, "N C"]


def lambert(
    normals: Float[Array, "... 3"],
    albedo: Float[Array, "... C"],
    ambient: Float[Array, "C"] | float,
    lights: DirectionalLights | None = None,
) -> Float[Array, "... C"]:
    """albedo (ambient + sum over lights of color max(0, n . l)): Lambert's cosine law.

    No shadows. The factor 1 / pi of a physical reflectance is part of the lights' colours.

    Args:
      normals: outward normals, world or camera frame; any length, as interpolation leaves them.
        A zero normal gets the ambient light alone.
      albedo: colour of the surface in white light.
      ambient: light from everywhere, per channel or one number for all.
      lights: directions towards the lights, in the frame of the normals, and colours. None: none.

    Returns:
      Reflected colour. Differentiable in every argument; the gradient at a zero normal is zero.

    Raises:
      ValueError: on a wrong shape.

    >>> lights = DirectionalLights(jnp.array([[0.0, 0.0, -2.0]]), jnp.array([[0.5]]))
    >>> facing_and_averted = jnp.array([[0.0, 0.0, -1.0], [0.0, 0.0, 3.0]])
    >>> print(lambert(facing_and_averted, jnp.ones((2, 1)), 0.25, lights))
    [[0.75]
     [0.25]]
    """
    _validate_normals(normals)
    if albedo.shape[:-1] != normals.shape[:-1]:
        raise ValueError(
            "albedo must have shape [..., C] with the axes of normals [..., 3], "
            f"got {list(albedo.shape)} and {list(normals.shape)}"
        )
    light = jnp.broadcast_to(jnp.asarray(ambient), albedo.shape[-1:])
    light = light.reshape((1,) * (albedo.ndim - 1) + light.shape)
    if lights is not None:
        direction, color = (jnp.asarray(a) for a in lights)
        if direction.shape != (len(color), 3) or color.shape[1:] != albedo.shape[-1:]:
            raise ValueError(
                f"lights must have direction [N, 3] and color [N, {albedo.shape[-1]}], "
                f"got {list(direction.shape)} and {list(color.shape)}"
            )
        cosine = jnp.einsum(
            "...i,ni->...n", unit_vectors(normals), unit_vectors(direction), precision="highest"
        )
        light = light + jnp.matmul(jnp.maximum(cosine, 0), color, precision="highest")
    return albedo * light


def spherical_harmonics(
    normals: Float[Array, "... 3"], coefficients: Float[Array, "9 C"]
) -> Float[Array, "... C"]:
    """Irradiance at a surface from distant light given by its first nine harmonics.

    E(n) = sum_lm A_l L_lm Y_lm(n) with A = (pi, 2 pi / 3, pi / 4): the light's radiance convolved
    with the clamped cosine, of which higher orders carry about 1%. A matt surface of albedo a
    reflects a E / pi. Source: Ramamoorthi & Hanrahan 2001, "An efficient representation for
    irradiance environment maps".

    Args:
      normals: outward normals in the frame of the coefficients; any length. A zero normal gets
        the constant term alone.
      coefficients: L_lm of the radiance in the order (0, 0), (1, -1), (1, 0), (1, 1), (2, -2),
        (2, -1), (2, 0), (2, 1), (2, 2), for Y = 0.282095; 0.488603 (y, z, x);
        1.092548 (xy, yz), 0.315392 (3 z^2 - 1), 1.092548 xz, 0.546274 (x^2 - y^2).

    Returns:
      Irradiance per channel. Differentiable in both; the gradient at a zero normal is zero.

    Raises:
      ValueError: on a wrong shape.

    >>> white = jnp.zeros((9, 1)).at[0].set(1 / 0.282095)  # radiance 1 from everywhere
    >>> print(f"{spherical_harmonics(jnp.array([0.0, 1.0, 0.0]), white)[0]:.3f}")
    3.142
    """
    _validate_normals(normals)
    coefficients = jnp.asarray(coefficients)
    if coefficients.ndim != 2 or coefficients.shape[0] != 9:
        raise ValueError(f"coefficients must have shape [9, C], got {list(coefficients.shape)}")
    unit = unit_vectors(normals)
    x, y, z = (unit[..., i] for i in range(3))
    basis = [
        jnp.full_like(x, _A0 * _Y0),
        *(_A1 * _Y1 * a for a in (y, z, x)),
        *(_A2 * _Y2 * a for a in (x * y, y * z)),
        # 3 z^2 - 1 on the unit sphere; vanishes at a zero normal.
        _A2 * _Y20 * (2 * z * z - x * x - y * y),
        _A2 * _Y2 * x * z,
        _A2 * _Y22 * (x * x - y * y),
    ]
    return jnp.matmul(jnp.stack(basis, axis=-1), coefficients, precision="highest")


def _validate_normals(normals):
    if normals.ndim == 0 or normals.shape[-1] != 3:
        raise ValueError(f"normals must have shape [..., 3], got {list(normals.shape)}")
