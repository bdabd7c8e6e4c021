"""The shape of glasses, fitted to eyes, nose and the width of the head."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from tpn_engine.training.heads.accessories import Glasses
from tpn_engine.training.heads.mesh import Surface
from tpn_engine.training.heads.shapes import Shape, fan, join, tube

OUTLINE_POINTS, TEMPLE_POINTS = 48, 20
# EG3D units (37 cm): lenses stand this far before the eyeball's middle and off the skin.
EYE_DISTANCE, CLEARANCE = 0.07, 0.005
BELOW_EYE, EAR_DEPTH, EAR_DROP = 0.006, 0.10, 0.12
HINGE_HEIGHT = 0.8  # how far up a lens's outer end the hinge sits: 0 at the widest place, 1 at its corner
WRAP = 0.7  # how much glasses bend around the face: z falls by this times x squared
REACH = 0.014  # within which the skin beside a point of the frame counts as behind it


def glasses_shape(glasses: Glasses, eyes: np.ndarray, skin: Surface) -> tuple[Shape, Shape]:
    """The frame and the lenses; `eyes` [2,3] the middles of the right and the left eyeball."""
    radius = glasses.radius
    outlines = [lens_outline(glasses, eye) for eye in eyes]
    rims = np.concatenate(outlines)
    room = front_of(skin, rims) + CLEARANCE + radius
    depth = max(float((room - rims[:, 2]).max()), float((eyes[:, 2] + EYE_DISTANCE).max()))
    for outline in outlines:
        outline[:, 2] += depth
    tubes = [tube(outline, radius, closed=True) for outline in outlines]

    right, left = (outline[np.abs(outline[:, 0]).argmin()] for outline in outlines)
    along = np.linspace(0, 1, 12)[:, None]
    bridge = right * (1 - along) + left * along
    bridge[:, 1] += 0.006 + 0.010 * np.sin(np.pi * along[:, 0])
    bridge[:, 2] = np.maximum(bridge[:, 2], front_of(skin, bridge) + CLEARANCE + radius)
    tubes.append(tube(bridge, radius, closed=False))
    for outline in outlines:
        tubes.append(tube(temple(outline, skin, radius), radius, closed=False))
    return join(tubes), join([fan(outline, np.array([0, 0, 1.0])) for outline in outlines])


def lens_outline(glasses: Glasses, eye: np.ndarray) -> np.ndarray:
    """A superellipse before one eye, bent around the face, [K,3]; its depth is still to be added to z."""
    angle = np.arange(OUTLINE_POINTS) * (2 * np.pi / OUTLINE_POINTS)
    power = 2 / glasses.squareness
    x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power * glasses.lens[0]
    y = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power * glasses.lens[1]
    x = eye[0] * 1.08 + x * (1 - 0.1 * (y < 0) * np.abs(y) / glasses.lens[1])
    return np.stack([x, eye[1] - BELOW_EYE + y, -WRAP * x**2], 1)


def front_of(skin: Surface, points: np.ndarray) -> np.ndarray:
    """How far forward the skin reaches straight behind and before `points` [N,3], z [N]; -1 where there is none."""
    face = skin.seen[skin.seen[:, 2] > 0]
    near = KDTree(face[:, :2]).query_ball_point(points[:, :2], REACH)
    return np.array([face[index, 2].max() if index else -1.0 for index in near])


def temple(outline: np.ndarray, skin: Surface, radius: float) -> np.ndarray:
    """From the outer end of a lens back along the head to between it and the ear, [K,3]."""
    side = np.sign(outline[:, 0].mean())
    hinge = outline[(side * outline[:, 0] + HINGE_HEIGHT * outline[:, 1]).argmax()]
    points = skin.seen * np.array([side, 1, 1])
    height = points[:, 1] - hinge[1]
    level = points[(height > -EAR_DROP) & (height < REACH)]
    ear = level[level[:, 0].argmax()]
    beside = points[np.abs(height) < 0.03]
    z = np.linspace(hinge[2], ear[2] + EAR_DEPTH / 2, TEMPLE_POINTS)
    head = beside[beside[:, 2] > ear[2] + EAR_DEPTH]  # temples run between the ear and the head
    x = np.full(TEMPLE_POINTS, side * hinge[0])
    for k in range(TEMPLE_POINTS):
        here = head[np.abs(head[:, 2] - z[k]) < REACH]
        if len(here):
            x[k] = max(x[k], here[:, 0].max() + CLEARANCE + radius)
    return np.stack([side * np.maximum.accumulate(x), np.linspace(hinge[1], hinge[1] - 0.005, TEMPLE_POINTS), z], 1)
