"""A plain garment: the skin of shoulders and chest, raised a little, below a random neckline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Pattern = Literal["plain", "stripes", "checks"]
CLOTH, SEAM, SEAM_WIDTH = 0.009, 0.005, 0.06  # EG3D units, and decimetres across
PATTERNS: tuple[Pattern, ...] = ("plain", "plain", "plain", "stripes", "checks")


@dataclass(frozen=True)
class Clothing:
    """`color` linear RGB; `neck_radius` and `neck_depth` (a V in front) in decimetres."""

    color: tuple[float, float, float]
    neck_radius: float
    neck_depth: float
    pattern: Pattern


def sample_clothing(rng: np.random.Generator) -> Clothing:
    """Draw a garment; one in three is grey."""
    if rng.random() < 0.7:
        red, green, blue = rng.uniform(0.02, 0.6, 3).tolist()
    else:
        red = green = blue = float(rng.uniform(0.02, 0.8))
    radius = float(rng.uniform(0.58, 0.95))
    depth = float(rng.choice([0, rng.uniform(0.1, 0.8)]))
    return Clothing((red, green, blue), radius, depth, PATTERNS[rng.choice(len(PATTERNS))])


def coverage(points: np.ndarray, clothing: Clothing) -> np.ndarray:
    """How far inside the garment points [P,3] of the base mesh lie, decimetres [P], negative where it leaves skin."""
    x, y, z = points[:, 0], points[:, 1], points[:, 2] - 0.15
    front = np.clip(np.cos(np.arctan2(x, z)), 0, 1)
    neckline = clothing.neck_radius + clothing.neck_depth * front**3
    return np.minimum(6.0 - y, np.hypot(x, z) + (5.9 - y) * 0.35 - neckline)


def thickness(inside: np.ndarray) -> np.ndarray:
    """How far the garment stands off the skin, EG3D units [P], `inside` [P] decimetres of it: the seam is thicker."""
    return CLOTH + SEAM * np.exp(-((np.maximum(inside, 0) / SEAM_WIDTH) ** 2))


def cloth_texture(clothing: Clothing, rng: np.random.Generator) -> np.ndarray:
    """A tile of the fabric, uint8 [64,64,3] sRGB."""
    weave = rng.normal(0, 0.035, (64, 64, 1))
    tile = np.broadcast_to(np.asarray(clothing.color) ** (1 / 2.2), (64, 64, 3)).copy()
    if clothing.pattern == "stripes":
        for row in range(3):
            tile[row::8] *= 0.6
    elif clothing.pattern == "checks":
        tile[:, ::10] *= 0.7
        tile[::10] *= 0.7
    return (np.clip(tile + weave, 0, 1) * 255).astype(np.uint8)
