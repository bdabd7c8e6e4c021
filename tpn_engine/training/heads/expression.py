"""What the face does: ICT-FaceKit's expression modes (ARKit's names) and the gaze."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tpn_engine.training.heads.assets import FaceModes

WIDEST_GAP = 0.0275  # EG3D units (10 mm) that lids stand apart at ease
RELAXATION = 0.85  # the share of what is beyond it that is taken back: surprise still widens eyes


@dataclass(frozen=True)
class Expression:
    """`weights` of expression modes by name, 0 to 1; `gaze` the eyes' yaw and pitch in radians."""

    weights: dict[str, float]
    gaze: tuple[float, float]


def sample_expression(modes: FaceModes, rng: np.random.Generator) -> Expression:
    """Draw an expression: neutral, smiling, speaking, surprised, stern, or a random mixture."""
    weights: dict[str, float] = {}

    def both(name: str, weight: float) -> None:
        weights[name + "_L"] = weight * float(rng.uniform(0.85, 1))
        weights[name + "_R"] = weight * float(rng.uniform(0.85, 1))

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    mood = rng.random()
    weights["eyeBlink_L"] = weights["eyeBlink_R"] = between(0.08, 0.24)
    if mood < 0.22:
        pass
    elif mood < 0.60:
        both("mouthSmile", between(0.25, 0.95))
        both("cheekSquint", between(0, 0.6))
        both("eyeSquint", between(0, 0.4))
        if rng.random() < 0.6:
            weights["jawOpen"] = between(0.02, 0.22)
            both("mouthUpperUp", between(0.1, 0.5))
            both("mouthLowerDown", between(0, 0.4))
    elif mood < 0.75:
        weights["jawOpen"] = between(0.05, 0.5)
        weights["mouthFunnel"] = between(0, 0.5)
        weights["mouthPucker"] = between(0, 0.4)
    elif mood < 0.85:
        both("browInnerUp", between(0.2, 0.9))
        both("browOuterUp", between(0.1, 0.9))
        both("eyeWide", between(0, 0.3))
        weights["jawOpen"] = between(0, 0.35)
    elif mood < 0.93:
        both("browDown", between(0.3, 0.9))
        both("eyeSquint", between(0, 0.6))
        both("mouthFrown", between(0.1, 0.7))
        both("noseSneer", between(0, 0.5))
    else:
        for name in rng.choice(modes.expression_names, 6, replace=False):
            if "eyeLook" not in name and "Pupil" not in name:
                weights[str(name)] = between(0, 0.5)
    if rng.random() < 0.2:
        both("eyeBlink", between(0.2, 0.42))
    if rng.random() < 0.04:
        both("eyeBlink", between(0.8, 1))
    return Expression(weights, (float(rng.normal(0, 0.12)), float(rng.normal(0, 0.07))))


def relaxed(expression: Expression, gap: float, closing: float) -> Expression:
    """The expression with the lids lowered where they stand too wide open.

    `gap` between the lids in EG3D units, and `closing`, by how much a whole blink narrows it. Shapes
    and modes add up to staring eyes that no single one of them has.
    """
    lower = float(np.clip(RELAXATION * (gap - WIDEST_GAP) / closing, 0, 0.7))
    weights = dict(expression.weights)
    for name in ("eyeBlink_L", "eyeBlink_R"):
        weights[name] = weights.get(name, 0.0) + lower
    return Expression(weights, expression.gaze)


def expression_offset(modes: FaceModes, expression: Expression) -> np.ndarray:
    """What the expression adds to the base vertices, [V,3] decimetres."""
    offset = np.zeros_like(modes.mean)
    for name, weight in expression.weights.items():
        offset += weight * modes.expression[modes.expression_names.index(name)]
    return offset
