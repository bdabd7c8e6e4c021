"""Which hair a head has: its kind, style and colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

HairKind = Literal["buzz", "short", "medium", "long", "curly"]
Comb = Literal["fwd", "side", "back", "up"]
KINDS: tuple[HairKind, ...] = ("short", "medium", "long", "curly", "buzz")
COMBS: tuple[Comb, ...] = ("fwd", "side", "back", "up")

# Linear RGB and how often: black to dark brown, brown to blond, red, grey, white.
COLORS = (
    ((0.02, 0.018, 0.017), 5),
    ((0.045, 0.03, 0.022), 5),
    ((0.10, 0.06, 0.038), 5),
    ((0.17, 0.10, 0.055), 3),
    ((0.30, 0.19, 0.10), 2),
    ((0.50, 0.36, 0.20), 2),
    ((0.66, 0.52, 0.34), 1.2),
    ((0.32, 0.11, 0.045), 0.9),
    ((0.42, 0.17, 0.06), 0.5),
    ((0.42, 0.41, 0.40), 1.2),
    ((0.72, 0.71, 0.69), 0.8),
)
LIGHTER_THAN_BLACK = slice(3, 9)
GREY = slice(9, 11)

# MakeHuman's sets of hair cards and how often women and men wear them; afro01 goes by the skin.
CARDS = {
    "short01": (0.3, 3),
    "short02": (0.6, 3),
    "short03": (0.3, 0.3),
    "short04": (0.3, 3),
    "long01": (2.5, 0.4),
    "ponytail01": (2.5, 0.4),
    "bob01": (0.5, 0.2),
    "bob02": (0.4, 0.2),
    "braid01": (1.5, 0.1),
    "afro01": (0, 0),
}


# Sets whose fringe hangs over an eye: a portrait's eyes are free, so their wearers have strands instead.
OVER_AN_EYE = ("short03", "bob01", "bob02", "braid01")


@dataclass(frozen=True)
class Hairstyle:
    """How strands grow; lengths in EG3D units.

    `part` where the parting is, -1 to 1 across; `lift` how steeply hair leaves the skin; `gravity`
    how fast it turns down; `wavy` and `curl` the amplitudes, `curl_rate` the turns of curls;
    `clump` 0 to 1 how far strands follow their guide; `fade` 0 to 1 how much shorter the sides are;
    `recession` 0 to 1 of the hairline; `tuck` long hair behind the ears.
    """

    kind: HairKind
    comb: Comb
    length: float
    part: float
    lift: float
    gravity: float
    wavy: float
    curl: float
    curl_rate: float
    clump: float
    fringe: bool
    fringe_length: float
    fade: float
    recession: float
    tuck: bool


def sample_hair_color(melanin: float, old: float, caucasian: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a hair colour, linear RGB [3], as likely as skin and age allow."""
    weights = np.array([weight for _, weight in COLORS], float)
    weights[LIGHTER_THAN_BLACK] *= max(0.03, caucasian**1.5) if melanin < 0.45 else 0.03
    weights[GREY] *= 3.5 if old > 0.5 else 0.35
    color = np.array(COLORS[rng.choice(len(COLORS), p=weights / weights.sum())][0])
    return np.clip(color * rng.uniform(0.75, 1.3) * (1 + rng.normal(0, 0.05, 3)), 0.008, 0.85)


def sample_hair(female: bool, melanin: float, rng: np.random.Generator) -> str:
    """Draw "strands", "bald", or the name of a set of hair cards."""
    draw = rng.random()
    if draw < 0.6:
        return "strands"
    if draw < 0.66 and not female:
        return "bald"
    weights = {name: pair[0 if female else 1] for name, pair in CARDS.items()}
    weights["afro01"] = 2 * (melanin > 0.4) + 0.1
    p = np.array(list(weights.values()), float)
    chosen = str(rng.choice(list(weights), p=p / p.sum()))
    return "strands" if chosen in OVER_AN_EYE else "hair_" + chosen


def sample_hairstyle(female: bool, melanin: float, old: float, rng: np.random.Generator) -> Hairstyle:
    """Draw how strands grow. Tightly curled hair is frequent with dark skin."""

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    shares = (0.16, 0.2, 0.44, 0.16, 0.04) if female else (0.46, 0.16, 0.05, 0.18, 0.15)
    kind = KINDS[rng.choice(len(KINDS), p=shares)]
    middle_part = rng.random() < 0.7
    part = float(rng.normal(0, 0.16)) if middle_part else float(np.sign(rng.normal()) * rng.uniform(0.1, 0.25))
    lift = between(0.15, 0.7)
    wavy = float(abs(rng.normal(0, 0.02)))
    curl, curl_rate = 0.0, between(40, 110)
    clump = between(0.2, 0.75)
    fringe = bool(rng.random() < (0.4 if female else 0.3))
    fringe_length = between(0.07, 0.15)
    comb = COMBS[rng.choice(len(COMBS), p=(0.3, 0.36, 0.2, 0.14))]
    fade = between(0, 1)
    gravity = between(0.2, 0.6)
    recession = between(0, 1) ** 2 * (0 if female else 0.8) + (0 if female else 0.25 * old)
    tuck = False
    length = {
        "short": between(0.03, 0.09),
        "medium": between(0.1, 0.26),
        "long": between(0.3, 0.7),
        "curly": between(0.05, 0.4 if female else 0.22),
        "buzz": between(0.008, 0.025),
    }[kind]
    if kind == "curly":
        curl, lift, gravity, curl_rate = between(0.008, 0.02), between(0.6, 1.6), between(0.05, 0.3), between(60, 150)
        fringe = False
    elif kind == "long":
        lift, gravity = between(0.15, 0.45), between(0.35, 0.7)
        curl = max(0.0, float(rng.normal(0, 0.006)))
        tuck = bool(rng.random() < 0.35)
    elif kind == "medium":
        gravity = between(0.25, 0.6)
        curl = max(0.0, float(rng.normal(0, 0.005)))
    if melanin > 0.5 and rng.random() < 0.7 and kind != "buzz":
        kind, fringe = "curly", False
        curl, curl_rate = between(0.006, 0.014), between(100, 220)
        lift, gravity = between(0.9, 1.8), between(0, 0.15)
        length = between(0.02, 0.25 if female else 0.12)
    return Hairstyle(
        kind=kind,
        comb=comb,
        length=length,
        part=part,
        lift=lift,
        gravity=gravity,
        wavy=wavy,
        curl=curl,
        curl_rate=curl_rate,
        clump=clump,
        fringe=fringe,
        fringe_length=fringe_length,
        fade=fade,
        recession=recession,
        tuck=tuck,
    )
