"""A head's sides drawn to the photo's outline.

A field that is a little wider than its photo's matte could be cut to it, but the side of a head runs along the view: a
cut of one per cent of its width leaves a flat wall as deep as an ear is long. Vertices are moved across the view
instead, all in a band inside the outline by a part of what it is off, so that round sides stay round.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tpn_engine.camera import Camera
from tpn_engine.nets.silhouette import Silhouette
from tpn_engine.surface.settle import off_floor
from tpn_engine.surface.sight import rise, sample

# Widths of the crop.
BEYOND, WITHIN = 0.03, 0.012  # by how much a head may be wider than the outline, or narrower, to be drawn to it
BAND = 0.05  # inside the outline, in which surfaces move
APART = 0.012  # between pixels of which one at least shows a vertex on the head's rim
ALONG = 0.01  # standard deviation along the outline over which the move is averaged
GENTLE = 0.008  # standard deviation of the moves, so that they don't part where two sides are near, as at an ear


def drawn_to_outline(vertices: np.ndarray, silhouette: Silhouette, floor: float | None) -> np.ndarray:
    """Vertices [N, 3] float32 of a head that the outline bounds loosely, moved so that its sides end there.

    What lies beyond the picture moves as its border does. A head cut at `floor` stays level there.
    """
    camera = Camera.from_label(silhouette.label.cpu().numpy())
    distance = silhouette.distance[0, 0].cpu().numpy().astype(np.float64)
    places, depth = np.split(camera.project(vertices), [2], axis=1)
    crop_size = silhouette.crop_size
    moves = sample(_moves(distance, _excess(distance, places, crop_size), crop_size), places.clip(0, 1))
    moved = camera.across(moves / silhouette.widths, depth)
    moved[:, 1] *= off_floor(vertices, floor)
    return (vertices + moved).astype(np.float32)


def _excess(distance: np.ndarray, places: np.ndarray, crop_size: float) -> np.ndarray:
    """By how much the head at `places` [N, 2] is wider than the outline nearest to each pixel, [S, S], in widths."""
    size = len(distance)
    outline = _outline(distance)
    if not outline.any():
        return np.zeros_like(distance)
    nearest = np.asarray(ndimage.distance_transform_edt(~outline, return_distances=False, return_indices=True))
    nearest = nearest[0] * size + nearest[1]
    framed = ((places > 0) & (places < 1)).all(1)
    beyond = -sample(distance, places[framed])
    pixels = (places[framed] * size).astype(int).clip(0, size - 1)
    reached = np.full(size * size, -np.inf)
    np.maximum.at(reached, nearest[pixels[:, 1], pixels[:, 0]], beyond)
    reached = ndimage.maximum_filter(reached.reshape(size, size), round(APART * crop_size))
    known = outline & np.isfinite(reached) & (reached > -WITHIN)
    deviation = ALONG * crop_size
    weight = ndimage.gaussian_filter(known.astype(np.float64), deviation)
    total = ndimage.gaussian_filter(np.where(known, reached.clip(-WITHIN, BEYOND), 0), deviation)
    return (total / np.maximum(weight, 1e-9)).ravel()[nearest]


def _outline(distance: np.ndarray) -> np.ndarray:
    """The pixels just inside an outline, [S, S] bool; the picture's border is none."""
    inside = distance > 0
    return inside & ~ndimage.binary_erosion(inside, border_value=1)


def _moves(distance: np.ndarray, excess: np.ndarray, crop_size: float) -> np.ndarray:
    """How far what each pixel shows moves, [S, S, 2] in widths along u and v."""
    smooth = ndimage.gaussian_filter(distance, GENTLE * crop_size, mode="nearest")
    slope = np.stack(np.gradient(smooth)[::-1], axis=-1)
    inward = slope / np.maximum(np.linalg.norm(slope, axis=-1, keepdims=True), 1e-9)
    share = 1 - rise(distance + excess, (0.0, BAND))
    moves = inward * (excess * share)[..., None]
    return ndimage.gaussian_filter(moves, (GENTLE * crop_size, GENTLE * crop_size, 0), mode="nearest")
