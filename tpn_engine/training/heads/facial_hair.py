"""Eyebrows and beards: short hairs grown straight from the expressive face."""

from __future__ import annotations

import numpy as np

from tpn_engine.training.heads.geometry import SurfacePoints, perpendicular, sample_surface, smoothstep, unit
from tpn_engine.training.heads.mesh import Surface
from tpn_engine.training.heads.ribbons import random_waves

CLEARANCE = 0.0008  # EG3D units by which hairs that lie flat start off the skin


def grow_brows(skin: Surface, planted: SurfacePoints, length: float, rng: np.random.Generator) -> np.ndarray:
    """Brow hairs [5,n,3] that lie along the brow: up near the nose, outward and down toward the temples."""
    roots = planted.of(skin.points, skin.triangles)
    normals = unit(planted.of(skin.normals, skin.triangles))
    lengths = length * np.exp(rng.normal(0, 0.2, len(roots)))
    outer = np.clip((np.abs(roots[:, 0]) - 0.03) / 0.13, 0, 1)
    rise = np.interp(outer, [0, 0.15, 0.5, 1], [1.1, 0.55, 0.1, -0.55]) + rng.normal(0, 0.1, len(roots))  # radians
    side = np.sign(roots[:, 0])
    combed = np.stack([side * np.cos(rise), np.sin(rise), np.zeros(len(roots))], 1)
    combed = perpendicular(combed, normals)
    return _grow(roots + normals * CLEARANCE, combed + normals * 0.12, lengths, -0.05 * normals, 0.02, 5, rng)


def grow_beard(
    skin: Surface, density: np.ndarray, fullness: float, length: float, rng: np.random.Generator
) -> np.ndarray:
    """Beard hairs [6,n,3], longest at the chin; `fullness` 0 to 1."""
    planted = sample_surface(skin.points, skin.triangles, density, int(8000 * (0.4 + 0.6 * fullness)), rng)
    roots = planted.of(skin.points, skin.triangles)
    normals = planted.of(skin.normals, skin.triangles)
    toward_chin = smoothstep(-0.10, -0.17, roots[:, 1])
    lengths = length * np.exp(rng.normal(0, 0.25, len(roots))) * (0.45 + 0.55 * toward_chin)
    down = np.stack([np.sign(roots[:, 0]) * 0.25, np.full(len(roots), -1.0), np.full(len(roots), 0.25)], 1)
    tangle = 0.16 * rng.normal(0, 1, roots.shape)
    combed = perpendicular(down + tangle + 0.3 * random_waves(roots, 25, rng), normals)
    return _grow(roots + normals * CLEARANCE, combed + 0.45 * normals, lengths, np.array([0, -0.22, 0]), 0.06, 6, rng)


def _grow(
    roots: np.ndarray,
    direction: np.ndarray,
    lengths: np.ndarray,
    pull: np.ndarray,
    jitter: float,
    sections: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Hairs [K,n,3] whose direction turns by `pull` and at random from section to section."""
    curve = [roots]
    for _ in range(1, sections):
        direction = unit(direction + pull + rng.normal(0, jitter, direction.shape))
        curve.append(curve[-1] + direction * (lengths / (sections - 1))[:, None])
    return np.stack(curve)
