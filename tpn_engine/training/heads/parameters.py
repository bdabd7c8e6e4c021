"""Everything that is drawn about one head before anything is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tpn_engine.training.heads.accessories import Accessories, sample_accessories
from tpn_engine.training.heads.assets import HeadAssets
from tpn_engine.training.heads.clothing import Clothing, sample_clothing
from tpn_engine.training.heads.expression import Expression, sample_expression
from tpn_engine.training.heads.hair import Hairstyle, sample_hair, sample_hair_color, sample_hairstyle
from tpn_engine.training.heads.identity import Identity, sample_identity

BeardArea = Literal["beard", "goatee", "moustache"]
BEARD_AREAS: tuple[BeardArea, ...] = ("beard", "beard", "goatee", "moustache")

# sRGB along a melanin axis, light to dark.
SKIN_TONES = np.array(
    [
        [0.91, 0.75, 0.65],
        [0.86, 0.68, 0.56],
        [0.78, 0.57, 0.45],
        [0.62, 0.43, 0.32],
        [0.45, 0.29, 0.21],
        [0.29, 0.185, 0.14],
    ]
)
LIPSTICKS = ((0.45, 0.05, 0.07), (0.5, 0.12, 0.13), (0.35, 0.05, 0.10), (0.55, 0.16, 0.14))  # linear RGB

# One random stream a purpose, so that a change in one part leaves the others as they are.
STREAMS = {"paint": 1, "hair": 3, "beard": 4, "brows": 5, "cloth": 7, "skin": 11, "accessories": 13}


@dataclass(frozen=True)
class Skin:
    """`tone` sRGB [3] of the face's mean, `melanin` 0 to 1, `picture` the skin texture's name.

    `contrast` exponent of the picture's variation, `freckles` 0 to 1, `roughness` of highlights;
    `lip_color` linear RGB [3], laid over the lips with `lip_strength`.
    """

    tone: np.ndarray
    melanin: float
    picture: str
    contrast: float
    freckles: float
    roughness: float
    lip_color: np.ndarray
    lip_strength: float

    @property
    def linear_tone(self) -> np.ndarray:
        """The tone in linear RGB, [3]."""
        return np.power(self.tone, 2.2)


@dataclass(frozen=True)
class Beard:
    """`fullness` 0 (none) to 1, `length` of hairs in EG3D units (0: stubble, painted only)."""

    fullness: float
    length: float
    area: BeardArea


@dataclass(frozen=True)
class Brows:
    """Grown brows have `hairs` of `length` EG3D units; with 0 hairs the `card` is used."""

    card: str
    hairs: int
    length: float


@dataclass(frozen=True)
class HeadParameters:
    """One random head. `hair` is "strands", "bald" or a set of hair cards, which may be `hair_mirrored`."""

    seed: int
    identity: Identity
    expression: Expression
    skin: Skin
    eye: str
    lashes: str
    brows: Brows
    beard: Beard
    hair: str
    hair_color: np.ndarray
    hair_mirrored: bool
    hairstyle: Hairstyle
    clothing: Clothing
    accessories: Accessories

    def rng(self, purpose: str) -> np.random.Generator:
        """The random stream of one of STREAMS."""
        return np.random.default_rng(self.seed + STREAMS[purpose])


def sample_parameters(assets: HeadAssets, rng: np.random.Generator) -> HeadParameters:
    """Draw a head. The order of the draws is part of the data's definition: a seed names a head."""
    person = sample_identity(assets.targets, rng)
    expression = sample_expression(assets.modes, rng)
    tone, melanin = sample_skin_tone(person, rng)
    picture = sample_skin_picture(assets, person, melanin, rng)
    contrast = float(rng.uniform(0.85, 1.15))
    hair_color = sample_hair_color(melanin, person.old, person.ancestry[2], rng)
    eye = sample_eye(assets, melanin, rng)
    lip_color, lip_strength = sample_lips(person, tone, rng)
    hair = sample_hair(person.female, melanin, rng)
    hairstyle = sample_hairstyle(person.female, melanin, person.old, rng)
    hair_mirrored = bool(rng.random() < 0.5)
    brow_card = str(rng.choice(assets.proxy_names("brow")))
    lashes = str(rng.choice(assets.proxy_names("lash")))
    beard = sample_beard(person, rng)
    clothing = sample_clothing(rng)
    brow_hairs = int(rng.uniform(900, 2000)) if rng.random() < (0.35 if person.female else 0.8) else 0
    brows = Brows(brow_card, brow_hairs, float(rng.uniform(0.009, 0.015)))
    seed = int(rng.integers(1 << 31))
    freckles = float(rng.uniform(0.2, 0.9)) * (melanin < 0.35)
    roughness = float(rng.uniform(0.38, 0.58))
    return HeadParameters(
        seed=seed,
        identity=person,
        expression=expression,
        skin=Skin(tone, melanin, picture, contrast, freckles, roughness, lip_color, lip_strength),
        eye=eye,
        lashes=lashes,
        brows=brows,
        beard=beard,
        hair=hair,
        hair_color=hair_color,
        hair_mirrored=hair_mirrored,
        hairstyle=hairstyle,
        clothing=clothing,
        accessories=sample_accessories(
            person.female, person.child, np.random.default_rng(seed + STREAMS["accessories"])
        ),
    )


def brow_color(head: HeadParameters) -> np.ndarray:
    """The brows' linear RGB [3]: the hair's, darker, and never as light as white hair."""
    return np.clip(head.hair_color * 0.5, 0.006, 0.25)


def sample_skin_tone(person: Identity, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Draw the face's mean colour, sRGB [3], and its place on the melanin axis."""
    african, asian, caucasian = person.ancestry
    shade = african * rng.uniform(0.5, 1.0) + asian * rng.uniform(0.08, 0.4) + caucasian * rng.uniform(0.0, 0.32)
    melanin = float(np.clip(shade, 0, 1))
    axis = np.linspace(0, 1, len(SKIN_TONES))
    tone = np.array([np.interp(melanin, axis, SKIN_TONES[:, channel]) for channel in range(3)])
    tone = tone * (1 + rng.normal(0, 0.03))
    redness = np.array([1, -0.2, -0.6]) * rng.normal(0, 0.018)
    yellowness = np.array([0, 0.4, -1]) * rng.normal(0, 0.012)
    return np.clip(tone + redness + yellowness, 0.05, 0.97), melanin


def sample_skin_picture(assets: HeadAssets, person: Identity, melanin: float, rng: np.random.Generator) -> str:
    """Draw a skin texture of about this tone, gender and age."""
    fitting = []
    for name in assets.textures.names("skin"):
        dark = "dark" in name
        if dark != (melanin > 0.55):
            continue
        if ("female" in name) == person.female or dark or rng.random() < 0.15:
            fitting.append(name)
    old = [name for name in fitting if "old_" in name]
    young = [name for name in fitting if "old_" not in name]
    return str(rng.choice(old if person.old > 0.55 and old else young or fitting))


def sample_eye(assets: HeadAssets, melanin: float, rng: np.random.Generator) -> str:
    """Draw an iris: any with light skin, else mostly brown."""
    if melanin < 0.3 and rng.random() < 0.6:
        return str(rng.choice(assets.textures.names("eye_")))
    return str(rng.choice(["eye_brown", "eye_brownlight", "eye_brown"]))


def sample_lips(person: Identity, tone: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Draw the lips' linear colour [3] and how strongly it covers; a third of women wear lipstick."""
    color = np.clip(np.power(tone, 2.2) * np.array([0.95, 0.62, 0.6]) * rng.uniform(0.75, 1.05), 0, 1)
    strength = float(rng.uniform(0.25, 0.6))
    if person.female and rng.random() < 0.35:
        color = np.array(LIPSTICKS[rng.integers(len(LIPSTICKS))]) * rng.uniform(0.7, 1.2)
        strength = float(rng.uniform(0.4, 0.75))
    return color, strength


def sample_beard(person: Identity, rng: np.random.Generator) -> Beard:
    """Draw a beard; women and children have none."""
    fullness = length = 0.0
    if not person.female and not person.child:
        fullness = float(rng.choice([0, rng.uniform(0.1, 0.5), rng.uniform(0.5, 0.95)], p=[0.4, 0.35, 0.25]))
    if fullness > 0:
        length = float(rng.choice([0, rng.uniform(0.005, 0.016), rng.uniform(0.014, 0.045)], p=[0.55, 0.3, 0.15]))
    return Beard(fullness, length, BEARD_AREAS[rng.choice(len(BEARD_AREAS))])
