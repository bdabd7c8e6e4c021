"""Strands for hair that nobody saw: the photo's contrast goes on where the head turns away from it.

The model knows the colours of a head's back, not its texture: without one it is a helmet.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from tpn_engine.surface.scalp import CENTRE, CROWN, from_crown

# Strands: waves in a turn around the crown, bends on the way from it to the opposite side, and their share.
OCTAVES = ((5, 2, 0.3), (11, 4, 0.6), (22, 6, 0.9), (44, 8, 1.0))
FINEST = (0.004, 0.008)  # EG3D units: wavelengths that a mesh can't show, and those that it can
SWAY, SWAYS = 0.12, 4.0  # radians by which strands sway, and how often
COARSE, WINDOW = 0.012, 0.02  # widths of the crop: shade is what is wider; over how much contrast is measured
DARKEST = 0.05  # of the shade, sRGB: contrast is relative to it
ANCHORS, NEIGHBOURS, QUANTILE = 2000, 16, 0.25  # a low one: skin near an edge is no hair
PLAIN, STRONGEST = 0.04, 0.2  # contrast of skin, and a bound: in the dark noise is contrast
COLOR_REACH = 2.0  # EG3D units that a colour distance of one is worth
LATTICE = 64


def contrast(picture: np.ndarray, matte: np.ndarray, crop_size: float) -> np.ndarray:
    """How much more than skin a picture [S, S, 3] is grained around each pixel of the person, [S, S], by its shade."""
    grey = picture.mean(2)
    person = (matte > 0.9).astype(np.float64)

    def around(values: np.ndarray, reach: float) -> np.ndarray:
        share = np.maximum(ndimage.gaussian_filter(person, reach * crop_size), 1e-3)
        return ndimage.gaussian_filter(values * person, reach * crop_size) / share

    detail = grey / np.maximum(around(grey, COARSE), DARKEST) - 1
    return np.clip(np.sqrt(around(detail**2, WINDOW)) - PLAIN, 0, STRONGEST)


def carried(
    values: np.ndarray, known: np.ndarray, wanted: np.ndarray, vertices: np.ndarray, colors: np.ndarray
) -> np.ndarray:
    """`values` [N] of the `known` vertices as the `wanted` have them: low ones of those near in place and colour."""
    anchors = np.flatnonzero(known)
    anchors = anchors[:: max(1, len(anchors) // ANCHORS)]
    places = np.concatenate([vertices, COLOR_REACH * colors], axis=1)
    count = min(NEIGHBOURS, len(anchors))
    _, nearest = KDTree(places[anchors]).query(places[wanted], k=count)
    return np.quantile(values[anchors][nearest.reshape(-1, count)], QUANTILE, axis=1)


def strands(vertices: np.ndarray) -> np.ndarray:
    """A pattern of mean 0 and deviation of up to 1 at vertices [N, 3], drawn out along the way from the crown."""
    from_centre = vertices - CENTRE
    radius = np.linalg.norm(from_centre, axis=1)
    direction = from_centre / np.maximum(radius, 1e-6)[:, None]
    up = np.cross(CROWN, (1.0, 0.0, 0.0))
    right = np.cross(up, CROWN)
    along = from_crown(vertices)
    turn = np.arctan2(direction @ right, direction @ up) + SWAY * _noise(SWAYS * direction)
    pattern = np.zeros(len(vertices))
    for waves, bends, share in OCTAVES:
        wavelength = np.sin(along) * radius / waves
        visible = ((wavelength - FINEST[0]) / (FINEST[1] - FINEST[0])).clip(0, 1)
        place = np.stack([np.cos(turn) * waves, np.sin(turn) * waves, along * bends], axis=1)
        pattern += share * visible * _noise(place + waves)
    return pattern / np.sqrt(sum(share**2 for _, _, share in OCTAVES))


def _noise(places: np.ndarray) -> np.ndarray:
    """Smooth noise of deviation 1 at places [N, 3], about one wave to a unit; the same every time."""
    return _between(_lattice(), places)


@cache
def _lattice() -> np.ndarray:
    random = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(random.standard_normal((LATTICE,) * 3), 0.6, mode="wrap")
    return smooth / _between(smooth, random.uniform(0, LATTICE, (LATTICE**2, 3))).std()


def _between(lattice: np.ndarray, places: np.ndarray) -> np.ndarray:
    return ndimage.map_coordinates(lattice, (places % LATTICE).T, order=1, mode="grid-wrap")
