"""Strands on the scalp: guides that grow step by step, and the many strands between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from tpn_engine.training.heads.geometry import perpendicular, sample_surface, smoothstep, unit
from tpn_engine.training.heads.hair import Hairstyle
from tpn_engine.training.heads.mesh import Surface
from tpn_engine.training.heads.ribbons import outward_frame, random_waves

STRANDS, GUIDES = 9000, 700
EDGE_FINENESS = 0.35  # how wide strands are at the hairline, relative to the others
SECTIONS = {"buzz": 3, "short": 6, "medium": 9, "long": 12, "curly": 10}
SKULL_CENTRE = np.array([0, 0.115, -0.035])  # EG3D units, as all positions here
COMB_DIRECTIONS = {"fwd": (0, 0, 1.0), "back": (0, 0.1, -1.0), "up": (0, 1.0, 0.15)}


@dataclass(frozen=True)
class ScalpHair:
    """`strands` [K,n,3] and `guides` [K,g,3], root first; `guide` [n] is each strand's nearest guide.

    `fineness` [n] is 1 in the depth of the hair, less for the fine hairs at its edge.
    """

    strands: np.ndarray
    guides: np.ndarray
    guide: np.ndarray
    fineness: np.ndarray


@dataclass(frozen=True)
class Roots:
    """Where hair grows: `points` [N,3], unit `normals`, `side` +-1 of the parting, `fringe` if it falls in front."""

    points: np.ndarray
    normals: np.ndarray
    side: np.ndarray
    fringe: np.ndarray


def grow_scalp_hair(skin: Surface, scalp: np.ndarray, style: Hairstyle, rng: np.random.Generator) -> ScalpHair:
    """Grow hair on the neutral head, density `scalp` [P] in [0,1] at the skin's points."""
    density = recede(skin.points, scalp, style.recession)
    planted = sample_surface(skin.points, skin.triangles, density, STRANDS, rng)
    points = planted.of(skin.points, skin.triangles)
    normals = unit(planted.of(skin.normals, skin.triangles))
    chosen = rng.permutation(len(points))[:GUIDES]

    parting = style.part * 0.3
    unsure = points[chosen, 0] + rng.normal(0, 0.004, len(chosen))  # a parting is no ruled line
    front = in_front(points, parting) & style.fringe
    has_fringe = style.kind in ("short", "medium", "long")
    guides = Roots(points[chosen], normals[chosen], np.where(unsure > parting, 1.0, -1.0), front[chosen] & has_fringe)
    strands = Roots(points, normals, np.where(points[:, 0] > parting, 1.0, -1.0), front)

    direction, length = comb(guides, style, parting, rng)
    grown = grow_guides(skin, guides, direction, length, style)
    curves, guide = fill_between(strands, guides, grown, style, rng)
    curves = curl(curves, guide, len(chosen), style, rng)
    fineness = EDGE_FINENESS + (1 - EDGE_FINENESS) * smoothstep(0.3, 1.0, planted.of(density[:, None], skin.triangles))
    return ScalpHair(push_out(skin, curves), grown, guide, fineness[:, 0])


def recede(points: np.ndarray, scalp: np.ndarray, recession: float) -> np.ndarray:
    """The scalp's density with the hairline moved back at the temples, [P]."""
    front = smoothstep(0.02, 0.10, points[:, 2]) * smoothstep(0.16, 0.24, points[:, 1])
    temples = front * smoothstep(0.03, 0.12, np.abs(points[:, 0]))
    return scalp * (1 - smoothstep(0.75 - 0.5 * recession, 1.0, temples) * recession)


def in_front(points: np.ndarray, parting: float) -> np.ndarray:
    """Which roots a fringe grows from, [N] bool."""
    return (points[:, 2] > 0.055) & (points[:, 1] > 0.13) & (np.abs(points[:, 0] - parting * 0.3) < 0.14)


def above_forehead(
    points: np.ndarray, *, depth: tuple[float, float], rise: tuple[float, float], fall: tuple[float, float]
) -> np.ndarray:
    """1 at the hairline in front, 0 away from it, [N]: where z has risen, and y has risen and not yet fallen."""
    y, z = points[:, 1], points[:, 2]
    return smoothstep(*depth, z) * smoothstep(*rise, y) * (1 - smoothstep(*fall, y))


def comb(roots: Roots, style: Hairstyle, parting: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The direction along the skin in which each guide is combed, [g,3], and its length, [g]."""
    points, side, kind = roots.points, roots.side, style.kind
    height = smoothstep(0.05, 0.25, points[:, 1])
    falls = kind in ("medium", "long")
    direction = np.zeros_like(points)
    if falls or style.comb == "side":
        direction[:, 0] = side * (0.9 * height + 0.15)
        direction[:, 1] = -0.55 * (1 - height * 0.5)
        direction[:, 2] = np.where(points[:, 2] > 0, -0.25, -0.35) * (1 if falls else 0.2)
        if kind == "short":
            over = -1 if parting >= 0 else 1
            direction[:, 0] = over * height + side * (1 - height) * 0.3
            direction[:, 1] = -0.3 * (1 - height)
    else:
        direction += COMB_DIRECTIONS[style.comb]
        direction[:, 1] -= 0.9 * (1 - height)
    direction += 0.25 * random_waves(points, 14, rng)
    length = style.length * np.exp(rng.normal(0, 0.12, len(points)))
    if kind in ("short", "buzz", "curly"):
        length *= 1 - style.fade * 0.75 * (1 - smoothstep(0.03, 0.2, points[:, 1]))
    if style.fringe and kind in ("short", "medium", "long"):
        direction[roots.fringe] = (-0.25 if parting >= 0 else 0.25, -0.5, 1.0)
        length[roots.fringe] = style.fringe_length * np.exp(rng.normal(0, 0.1, roots.fringe.sum()))
    direction = perpendicular(direction, roots.normals)
    if kind == "curly":  # curls over the forehead would hide the face
        edge = above_forehead(points, depth=(0.02, 0.07), rise=(0.12, 0.18), fall=(0.22, 0.30))
        direction = direction * (1 - edge[:, None]) + edge[:, None] * np.array([0, 0.75, -0.65])
        length = length * (1 - 0.45 * edge)
    return direction, length


def grow_guides(skin: Surface, roots: Roots, combed: np.ndarray, length: np.ndarray, style: Hairstyle) -> np.ndarray:
    """Guides [K,g,3]: they leave the skin, follow the comb, turn down, and stay clear of the head."""
    sections = SECTIONS[style.kind]
    falls = style.kind in ("medium", "long")
    step = (length / (sections - 1))[:, None]
    clearance = 0.006 + 0.03 * falls * min(style.lift, 0.8)
    direction = unit(combed + roots.normals * style.lift * (2.0 if style.kind == "buzz" else 1.2))
    tip = roots.points
    curve = [tip]
    for section in range(1, sections):
        along = section / (sections - 1)
        target = direction + combed * (0.35 if along < 0.5 else 0.0)
        target[:, 1] -= (style.gravity * (0.25 + 0.75 * along) * np.minimum(step / 0.02, 2.0))[:, 0]
        if style.kind == "long":
            target[:, 2] -= 0.10 * (tip[:, 1] < 0.12) * style.tuck
            target[:, 0] += roots.side * 0.02
        ahead = tip + unit(target) * step
        for _ in range(2):
            ahead = keep_clear(skin, ahead, clearance * min(1, along * 3) + 0.002)
        direction = unit(ahead - tip)
        tip = tip + direction * step
        curve.append(tip)
    return np.stack(curve)


def keep_clear(skin: Surface, points: np.ndarray, clearance: float) -> np.ndarray:
    """Points [N,3] moved out along the nearest normal until `clearance` off the skin."""
    nearest = skin.nearest(points)
    normals = skin.normals[nearest]
    height = ((points - skin.points[nearest]) * normals).sum(1)
    return points + normals * np.maximum(clearance - height, 0)[:, None]


def fill_between(
    strands: Roots, guides: Roots, grown: np.ndarray, style: Hairstyle, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Strands [K,n,3] blended from the two nearest guides, and the nearest guide [n].

    Guides on the other side of the parting, or in the fringe where the strand isn't, count as far.
    """
    apart = 0.03 if style.kind in ("medium", "long") else 0.0

    def place(roots: Roots) -> np.ndarray:
        return np.concatenate([roots.points, roots.side[:, None] * apart, roots.fringe[:, None] * 0.05], 1)

    distance, near = (np.asarray(found) for found in KDTree(place(guides)).query(place(strands), k=2))
    weight = 1 / (distance + 0.004) ** 2
    weight /= weight.sum(1, keepdims=True)
    growth = grown - grown[:1]
    curves = strands.points + growth[:, near[:, 0]] * weight[:, :1] + growth[:, near[:, 1]] * weight[:, 1:]
    along = np.linspace(0, 1, len(grown))[:, None, None]
    pull = style.clump * 0.55 * along
    curves = curves * (1 - pull) + grown[:, near[:, 0]] * pull
    scatter = rng.normal(0, 1, (1, len(strands.points), 3)) * 0.006 * (0.4 + min(style.length, 0.3) * 3)
    return curves + scatter * along, near[:, 0]


def curl(
    curves: np.ndarray, guide: np.ndarray, guide_count: int, style: Hairstyle, rng: np.random.Generator
) -> np.ndarray:
    """Wind strands [K,n,3] into helices, in phase with their guide; less at the hairline."""
    along = np.linspace(0, 1, len(curves))[:, None, None]
    amplitude = style.curl * smoothstep(0.05, 0.5, along) + style.wavy * 0.5 * along * min(style.length * 4, 1)
    phase = rng.uniform(0, 6.28, (1, guide_count, 1))[:, guide] + rng.normal(0, 0.5, (1, len(guide), 1))
    angle = along * style.length * style.curl_rate + phase
    _, outward, across = outward_frame(curves, SKULL_CENTRE)
    edge = above_forehead(curves[0], depth=(0.0, 0.06), rise=(0.13, 0.19), fall=(0.24, 0.32))
    calm = 1 - 0.75 * edge[None, :, None]
    return curves + amplitude * calm * (outward * np.cos(angle) + across * np.sin(angle))


def push_out(skin: Surface, curves: np.ndarray, clearance: float = 0.003) -> np.ndarray:
    """Strands [K,n,3] with every point but the root at least `clearance` off the skin near it."""
    points = curves[1:].reshape(-1, 3)
    nearest = skin.nearest(points, limit=0.05)
    close = np.flatnonzero(nearest < len(skin.points))
    normals = skin.normals[nearest[close]]
    height = ((points[close] - skin.points[nearest[close]]) * normals).sum(1)
    points[close] += normals * np.maximum(clearance - height, 0)[:, None]
    return np.concatenate([curves[:1], points.reshape(-1, *curves.shape[1:])])
