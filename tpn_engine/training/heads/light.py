"""Light around the head: real spherical harmonics up to degree two, and up to three lamps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tpn_engine.training.heads.geometry import fibonacci_sphere, unit

# Convolution of each harmonic with the clamped cosine, divided by pi (Ramamoorthi and Hanrahan
# 2001), so that light of radiance one from everywhere gives irradiance one.
COSINE_LOBE = np.array([1, 2 / 3, 2 / 3, 2 / 3, 0.25, 0.25, 0.25, 0.25, 0.25])

# Directions of skin that a camera in front sees; their mean irradiance is brought to one.
SEEN_NORMALS = np.array([[0, 0, 1.0], [0.5, 0.2, 0.84], [-0.5, 0.2, 0.84], [0, 0.5, 0.86]])


@dataclass(frozen=True)
class Light:
    """Linear RGB light.

    `harmonics` [9,3] are the radiance's coefficients in the order of `harmonics_basis`.
    `directions` [3,3] toward the lamps and their `colors` [3,3] (zero: no lamp) are for highlights
    only: the lamps' diffuse light is in the harmonics.
    """

    harmonics: np.ndarray
    directions: np.ndarray
    colors: np.ndarray


def harmonics_basis(directions: np.ndarray) -> np.ndarray:
    """The nine real harmonics at unit vectors [N,3], [N,9]: 1, y, z, x, xy, yz, 3z^2-1, xz, x^2-y^2."""
    x, y, z = directions[:, 0], directions[:, 1], directions[:, 2]
    return np.stack(
        [
            np.full(len(directions), 0.282095),
            0.488603 * y,
            0.488603 * z,
            0.488603 * x,
            1.092548 * x * y,
            1.092548 * y * z,
            0.315392 * (3 * z * z - 1),
            1.092548 * x * z,
            0.546274 * (x * x - y * y),
        ],
        1,
    )


def irradiance(normals: np.ndarray, harmonics: np.ndarray) -> np.ndarray:
    """Unshadowed irradiance over pi, [N,3], at unit normals [N,3] under `harmonics` [9,3]."""
    return (harmonics_basis(normals) * COSINE_LOBE) @ harmonics


def sample_light(rng: np.random.Generator) -> Light:
    """Draw a light: a sky above a ground, and one to three lamps, the last of them behind the head."""
    ambient = rng.uniform(0.25, 0.9)
    sky = 1 + rng.normal(0, 0.05, 3)
    ground = np.array([1, 0.95, 0.88]) * rng.uniform(0.25, 0.8)
    sphere = fibonacci_sphere(512)
    solid_angle = 4 * np.pi / len(sphere)
    height = sphere[:, 1:2]
    radiance = ambient * (sky * (0.5 + 0.5 * height) + ground * (0.5 - 0.5 * height))
    lamp_count = rng.integers(1, 4)
    directions, colors = [], []
    for lamp in range(3):
        azimuth = rng.uniform(-1.9, 1.9) if lamp else rng.uniform(-1.2, 1.2)
        elevation = rng.uniform(-0.15, 1.15)
        direction = np.array(
            [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
        )
        if lamp == 2:
            direction = unit(np.array([np.sign(rng.normal()) * 0.8, 0.3, -0.5]) + rng.normal(0, 0.15, 3))
        warmth = rng.uniform(-1, 1)
        strength = (rng.uniform(0.6, 2.0) if lamp < lamp_count else 0.0) * (0.55 if lamp else 1.0)
        color = np.array([1 + 0.16 * warmth, 1.0, 1 - 0.2 * warmth]) * strength
        sharpness = np.exp(rng.uniform(np.log(2.5), np.log(18)))
        lobe = np.exp(sharpness * (sphere @ direction - 1))
        lobe /= lobe.sum() * solid_angle
        radiance += 1.2 * color * lobe[:, None]
        directions.append(direction)
        colors.append(1.1 * color)
    harmonics = harmonics_basis(sphere).T @ radiance * solid_angle
    exposure = 1 / irradiance(SEEN_NORMALS, harmonics).mean()
    white_balance = 1 + rng.normal(0, 0.03, 3)
    return Light(
        harmonics * exposure * white_balance, np.array(directions), np.array(colors) * exposure * white_balance
    )
