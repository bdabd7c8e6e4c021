"""One head's shape: morphed, expressive, aligned in EG3D's world, and what casts shadows in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tpn_engine.training.heads.assets import HeadAssets
from tpn_engine.training.heads.expression import Expression, expression_offset, relaxed
from tpn_engine.training.heads.geometry import Similarity, similarity, vertex_normals
from tpn_engine.training.heads.identity import Identity, apply_identity
from tpn_engine.training.heads.mesh import Surface
from tpn_engine.training.heads.transfer import Occluder, light_transfer, occluder

UNIT = 0.27  # EG3D units in a decimetre
# Where Deep3D's standard face has its five points, and so where EG3D's alignment puts them:
# right eye, left eye, nose, right and left corner of the mouth.
FIVE_POINTS = UNIT * np.array(
    [
        [-0.3115, 0.2902, 0.1329],
        [0.3112, 0.2901, 0.1329],
        [0.0047, -0.0476, 0.5378],
        [-0.2518, -0.3815, 0.2245],
        [0.2523, -0.3815, 0.2243],
    ]
)
A_TENTH_SHUT = Expression({"eyeBlink_L": 0.1, "eyeBlink_R": 0.1}, (0.0, 0.0))
LEAST_CLOSING = 0.01  # EG3D units


@dataclass(frozen=True)
class Figure:
    """One head's shape: base vertices [V,3] in decimetres without and with expression, and the way to EG3D's world.

    `neutral_skin` carries the scalp's hair, `skin` is what is seen; both in EG3D units.
    """

    neutral: np.ndarray
    base: np.ndarray
    to_world: Similarity
    neutral_skin: Surface
    skin: Surface


@dataclass(frozen=True)
class Shadows:
    """What casts shadows: the skin, and the hair if there is any. `on_skin` [P,9] is the skin's transfer."""

    skin: Occluder
    hair: Occluder | None
    on_skin: np.ndarray

    def full(self) -> list[Occluder]:
        """The occluders as the skin meets them."""
        return [self.skin, self.hair] if self.hair else [self.skin]

    def softened(self, transmittance: float) -> list[Occluder]:
        """The occluders with lighter hair, for hair itself."""
        return [self.skin] + ([replace(self.hair, transmittance=transmittance)] if self.hair else [])


def make_figure(assets: HeadAssets, person: Identity, expression: Expression) -> Figure:
    """The shape: morphed, aligned on five points of the neutral face, subdivided."""
    neutral = apply_identity(assets, person)
    to_world = similarity(assets.five_points(neutral), FIVE_POINTS)
    base = neutral + expression_offset(assets.modes, expression)
    gap = to_world.scale * lid_gap(assets, base)
    closing = gap - to_world.scale * lid_gap(assets, base + expression_offset(assets.modes, A_TENTH_SHUT))
    base = neutral + expression_offset(assets.modes, relaxed(expression, gap, max(10 * closing, LEAST_CLOSING)))

    def surface(vertices: np.ndarray) -> Surface:
        points = assets.skin.subdivision @ to_world(vertices)
        return Surface(points, vertex_normals(points, assets.skin.triangles), assets.skin.triangles)

    return Figure(neutral, base, to_world, surface(neutral), surface(base))


def lid_gap(assets: HeadAssets, base: np.ndarray) -> float:
    """How far upper and lower lid are apart in the middle, the mean of both eyes, decimetres."""
    upper, lower = np.array(assets.lids).T
    return float(np.linalg.norm(base[upper] - base[lower], axis=1).mean())


def cast_shadows(skin: Surface, hair: Occluder | None) -> Shadows:
    """Light a skin in the shadow of itself and of the hair."""
    blocker = occluder(skin.points, skin.triangles, 0.0)
    blockers = [blocker, hair] if hair else [blocker]
    return Shadows(blocker, hair, light_transfer(blockers, skin.points, skin.normals, directions=64, offset=0.0025))
