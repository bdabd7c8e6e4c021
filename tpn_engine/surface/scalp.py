"""What the top and back of a head are tinted by: the hair, hat or skin on the rim of the photo; and what is like it.

A model knows the hues of the hair that it has learned from; grey hair before a ruddy face it makes ruddy behind.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tpn_engine.camera import Camera
from tpn_engine.surface.sight import rise

CENTRE = np.array([0.0, 0.02, -0.1])  # of the skull, EG3D units
CROWN = np.array([0.0, 0.783, -0.622])  # from there toward the whorl that hair grows away from
SCALP = (50.0, 75.0)  # degrees from the crown over which ears and nape begin
BROWS = np.array([[0.0, 0.13, 0.05]])  # the rim is looked at from there up
RIM = (0.008, 0.035)  # widths of the crop inside the outline
ENOUGH = 5e-4  # of the crop's area: a smaller rim tells nothing
DARKEST = 0.1  # sRGB: what is darker has less of a hue
CHEEKS = np.array([[-0.12, -0.05, 0.03], [0.12, 0.05, 0.2]])  # EG3D units: a box that holds nothing but nose and cheeks
# Of the way from the skin's colour to the scalp's, from where on it is the scalp's. A bald one's is the skin's.
OF_SCALP = (0.5, 0.7)


def from_crown(vertices: np.ndarray) -> np.ndarray:
    """Angles between vertices [N, 3] and the crown as the skull's centre sees them, [N] in radians."""
    away = vertices - CENTRE
    return np.arccos((away @ CROWN / np.maximum(np.linalg.norm(away, axis=1), 1e-6)).clip(-1, 1))


def on_scalp(vertices: np.ndarray) -> np.ndarray:
    """How far vertices [N, 3] lie on the scalp, [N] in [0, 1]: ears and nape don't."""
    return 1 - rise(np.degrees(from_crown(vertices)), SCALP)


def like_scalp(colors: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """How far the colours [N, 3] of vertices [N, 3] are the scalp's and not the skin's, [N] in [0, 1].

    1 everywhere where either is nowhere.
    """
    scalp = on_scalp(vertices) > 0.9
    skin = ((vertices > CHEEKS[0]) & (vertices < CHEEKS[1])).all(1)
    if not scalp.any() or not skin.any():
        return np.ones(len(colors))
    away, there = (np.linalg.norm(colors - np.median(colors[part], axis=0), axis=1) for part in (skin, scalp))
    return rise(away / np.maximum(away + there, 1e-6), OF_SCALP)


def tinted(
    colors: np.ndarray,
    vertices: np.ndarray,
    picture: np.ndarray,
    matte: np.ndarray,
    camera: Camera,
    crop_size: float,
) -> np.ndarray:
    """Colours [N, 3] as bright as before, on the scalp in the tint of the photo's rim above the brows."""
    tint = rim_tint(picture, matte, camera, crop_size)
    if tint is None:
        return colors
    share = on_scalp(vertices)[:, None]
    return colors + share * (colors.mean(1, keepdims=True) * tint - colors)


def rim_tint(picture: np.ndarray, matte: np.ndarray, camera: Camera, crop_size: float) -> np.ndarray | None:
    """The median colour [3] of the rim of a picture [S, S, 3], by its brightness; None where a photo shows no rim."""
    size = len(picture)
    inside = np.asarray(ndimage.distance_transform_edt(matte > 0.9)) / crop_size
    above = (np.arange(size)[:, None] + 0.5) / size < camera.project(BROWS)[0, 1]
    rim = (inside > RIM[0]) & (inside < RIM[1]) & above
    if matte.min() > 0.9 or rim.sum() < ENOUGH * crop_size**2:
        return None
    color = np.median(picture[rim], axis=0)
    return 1 + (color - color.mean()) / max(color.mean(), DARKEST)
