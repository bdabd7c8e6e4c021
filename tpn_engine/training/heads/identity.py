"""Whose head it is: gender, ancestry, age, build, local shape, and ICT-FaceKit's identity modes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tpn_engine.training.heads.assets import FaceModes, HeadAssets, MorphTargets

Age = Literal["child", "young", "middle", "old"]
AGES: tuple[Age, ...] = ("child", "young", "middle", "old")
MIDDLE_AGE, OLD_AGE = 0.33, 0.67  # of `old`, from which on an adult counts as that

ANCESTRIES = ("african", "asian", "caucasian")  # the corners of MakeHuman's ancestry triangle

# How far local shape targets vary (standard deviation of their weight), by part of the head. They
# are damped because the identity modes already vary the whole face.
SHAPE_DEVIATION = {
    part: 0.62 * deviation
    for part, deviation in {
        "head": 0.14,
        "nose": 0.30,
        "mouth": 0.28,
        "eyes": 0.20,
        "ears": 0.5,
        "cheek": 0.24,
        "chin": 0.26,
        "forehead": 0.35,
        "eyebrows": 0.35,
        "neck": 0.3,
        "asym": 0.22,
    }.items()
}
MODE_DEVIATION = 0.8  # of the identity modes' coefficients: at one, with the shapes above, faces turn odd too often
OPPOSITES = (("incr", "decr"), ("up", "down"), ("in", "out"), ("forward", "backward"), ("convex", "concave"))
UNWANTED = ("nubian", "pointed", "head-scale", "back-scale")  # caricatures, and what changes the head's size


@dataclass(frozen=True)
class Identity:
    """One person's shape.

    `gender` 0 (female) to 1 (male); `ancestry` weights of ANCESTRIES that sum to one; `old` 0
    (young) to 1, 0 for a child; `weight` and `muscle` about -1 to 1; `shape` weights of local
    targets; `modes` [60] coefficients of the identity modes, `mean` the weight of their mean.
    """

    gender: float
    ancestry: tuple[float, float, float]
    child: bool
    old: float
    weight: float
    muscle: float
    shape: dict[str, float]
    modes: np.ndarray
    mean: float

    @property
    def female(self) -> bool:
        """Which of the two the styles (hair, beard, lips, skin picture) go by."""
        return self.gender < 0.5

    @property
    def age(self) -> Age:
        """The band of age, one of AGES."""
        if self.child:
            return "child"
        if self.old < MIDDLE_AGE:
            return "young"
        return "middle" if self.old < OLD_AGE else "old"


def sample_identity(targets: MorphTargets, rng: np.random.Generator) -> Identity:
    """Draw a person."""
    gender = float(rng.beta(0.25, 0.25))
    african, asian, caucasian = rng.dirichlet([0.45, 0.45, 0.6]).tolist()
    child = rng.random() < 0.06
    old = 0.0 if child else float(rng.beta(0.6, 1.2))
    return Identity(
        gender=gender,
        ancestry=(african, asian, caucasian),
        child=child,
        old=old,
        weight=float(np.clip(rng.normal(-0.05, 0.3), -0.8, 0.8)),
        muscle=float(rng.normal(0, 0.3)),
        shape=_sample_shape(targets, rng),
        modes=MODE_DEVIATION * rng.normal(0, 1, 60),
        mean=float(rng.uniform(0.7, 1.1)),
    )


def apply_identity(assets: HeadAssets, person: Identity) -> np.ndarray:
    """The base vertices [V,3] of this person with a neutral expression."""
    base = assets.base.copy()
    for name, weight in _macro_weights(person, assets.targets):
        assets.targets.add(name, weight, base)
    for name, weight in person.shape.items():
        if name in assets.targets.offsets:
            assets.targets.add(name, weight, base)
    return base + mode_offset(assets.modes, person) + assets.modes.inner


def mode_offset(modes: FaceModes, person: Identity) -> np.ndarray:
    """What the identity modes add, [V,3]."""
    return np.tensordot(person.modes, modes.identity, 1) + person.mean * modes.mean


def _sample_shape(targets: MorphTargets, rng: np.random.Generator) -> dict[str, float]:
    shape: dict[str, float] = {}
    for name in targets.offsets:
        part, _, target = name.partition("/")
        if part not in SHAPE_DEVIATION or target.startswith("r-") or _unwanted(part, target):
            continue
        value = float(np.clip(rng.normal(0, SHAPE_DEVIATION[part]), -0.9, 0.9))
        direction = target.rpartition("-")[2]
        # A target at the negative end of a pair has had its value with the positive end. The draw
        # above is kept all the same: without it every seed would become another head.
        if any(direction == negative for _, negative in OPPOSITES):
            continue
        opposite = next((name[: -len(plus)] + minus for plus, minus in OPPOSITES if direction == plus), None)
        chosen = opposite if value < 0 and opposite in targets.offsets else name
        weight = abs(value) if opposite else max(value, 0) * 0.8
        if part == "asym":
            weight = abs(value) * 0.6
        shape[chosen] = weight
        if target.startswith("l-"):
            shape[chosen.replace("/l-", "/r-")] = max(0.0, weight + rng.normal(0, 0.04))
    return shape


def _unwanted(part: str, target: str) -> bool:
    return (part == "head" and "trans" in target) or any(word in target for word in UNWANTED)


def _macro_weights(person: Identity, targets: MorphTargets) -> Iterator[tuple[str, float]]:
    """MakeHuman's macro targets with the weights that its sliders would give them."""
    ages = {"child": 1.0} if person.child else {"young": 1 - person.old, "old": person.old}
    muscle = _three_way("muscle", person.muscle)
    weight = _three_way("weight", person.weight)
    for sex, sex_share in (("male", person.gender), ("female", 1 - person.gender)):
        if sex_share < 0.01:
            continue
        for age, age_share in ages.items():
            if age_share < 0.01:
                continue
            share = sex_share * age_share
            for ancestry, part in zip(ANCESTRIES, person.ancestry, strict=True):
                yield f"macrodetails/{ancestry}-{sex}-{age}", share * part
            for muscle_name, muscle_share in muscle.items():
                for weight_name, weight_share in weight.items():
                    name = f"macrodetails/universal-{sex}-{age}-{muscle_name}-{weight_name}"
                    if name in targets.offsets and muscle_share * weight_share > 0.005:
                        yield name, share * muscle_share * weight_share


def _three_way(quality: str, value: float) -> dict[str, float]:
    high, low = max(value, 0.0), max(-value, 0.0)
    return {f"max{quality}": high, f"min{quality}": low, f"average{quality}": max(0.0, 1 - high - low)}
