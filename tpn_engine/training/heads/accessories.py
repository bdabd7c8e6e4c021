"""What a head wears besides clothes: glasses, a cap or headscarf, earrings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tpn_engine.training.heads.mesh import Color

HeadwearKind = Literal["cap", "scarf"]
EarringKind = Literal["stud", "hoop"]

GLASSES_SHARE, HEADWEAR_SHARE, EARRING_SHARE = 0.12, 0.06, 0.12  # of all heads; earrings: of women
SUNGLASSES_SHARE = 0.15  # of glasses
METALS: tuple[Color, ...] = ((0.60, 0.58, 0.55), (0.66, 0.46, 0.18), (0.05, 0.05, 0.05))  # linear: silver, gold, black
PLASTICS: tuple[Color, ...] = ((0.01, 0.01, 0.01), (0.01, 0.01, 0.01), (0.07, 0.03, 0.015), (0.04, 0.05, 0.12))


@dataclass(frozen=True)
class Glasses:
    """A frame of `color` (linear RGB) and tubes of `radius`; `lens` its half width and height, EG3D units.

    `squareness` is the exponent of the lenses' outline: 2 an ellipse, 4 nearly a rectangle; `dark` sunglasses.
    """

    color: Color
    radius: float
    lens: tuple[float, float]
    squareness: float
    dark: bool


@dataclass(frozen=True)
class Headwear:
    """`color` linear RGB; `reach` degrees from its pole to its edge; `thickness` and `slack` (at the pole) EG3D units.

    The colour of every other stripe is multiplied by `stripe` (1: plain).
    """

    kind: HeadwearKind
    color: Color
    reach: float
    thickness: float
    slack: float
    stripe: float


@dataclass(frozen=True)
class Earrings:
    """A pair of `size` EG3D units: the radius of a stud's ball or of a hoop."""

    kind: EarringKind
    color: Color
    size: float


@dataclass(frozen=True)
class Accessories:
    """What is worn, None where nothing is."""

    glasses: Glasses | None
    headwear: Headwear | None
    earrings: Earrings | None


def sample_accessories(female: bool, child: bool, rng: np.random.Generator) -> Accessories:
    """Draw what is worn; children wear no earrings here, and under a scarf there is room for nothing else."""
    glasses = sample_glasses(rng) if rng.random() < GLASSES_SHARE else None
    headwear = sample_headwear(female, rng) if rng.random() < HEADWEAR_SHARE else None
    earrings = sample_earrings(rng) if rng.random() < EARRING_SHARE and female and not child else None
    if headwear and headwear.kind == "scarf":
        return Accessories(None, headwear, None)
    return Accessories(glasses, headwear, earrings)


def sample_glasses(rng: np.random.Generator) -> Glasses:
    """Draw glasses: thin metal or thicker plastic."""
    metal = rng.random() < 0.45
    colors = METALS if metal else PLASTICS
    radius = float(rng.uniform(0.0018, 0.0026) if metal else rng.uniform(0.0035, 0.006))
    lens = (float(rng.uniform(0.054, 0.063)), float(rng.uniform(0.036, 0.050)))
    return Glasses(
        color=colors[rng.integers(len(colors))],
        radius=radius,
        lens=lens,
        squareness=float(rng.uniform(2, 4)),
        dark=bool(rng.random() < SUNGLASSES_SHARE),
    )


def sample_headwear(female: bool, rng: np.random.Generator) -> Headwear:
    """Draw a knitted cap or, for half of the women, a headscarf."""
    scarf = female and rng.random() < 0.5
    red, green, blue = (rng.uniform(0.02, 0.5) * rng.uniform(0.6, 1.2, 3)).tolist()
    return Headwear(
        kind="scarf" if scarf else "cap",
        color=(red, green, blue),
        reach=float(rng.uniform(112, 117) if scarf else rng.uniform(78, 89)),
        thickness=float(rng.uniform(0.010, 0.016)),
        slack=float(rng.uniform(0.0, 0.05)),
        stripe=float(rng.uniform(0.4, 0.8)) if rng.random() < 0.25 else 1.0,
    )


def sample_earrings(rng: np.random.Generator) -> Earrings:
    """Draw studs or small hoops."""
    color = METALS[rng.integers(2)]
    if rng.random() < 0.6:
        return Earrings("stud", color, float(rng.uniform(0.006, 0.011)))
    return Earrings("hoop", color, float(rng.uniform(0.018, 0.04)))
