"""How a head ends below: collars and shoulders that hang together, and a level cut.

A portrait shows little of them, and the model guesses shreds.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tpn_engine.surface.density import Lattice
from tpn_engine.surface.sight import rise

# EG3D units. Below the jaw surfaces are smoothed by SMOOTHING, a standard deviation, wholly from DEPTH below it on.
# The jaw is at JAW by the ears, and lower where it comes forward, to the chin.
JAW, JAW_FRONT, FORWARD = -0.2, 0.02, 0.5
DEPTH = 0.04
SMOOTHING = 0.016
TRUNCATED = 3.0  # standard deviations


def end_below(values: np.ndarray, lattice: Lattice, level: float, floor: float) -> None:
    """Smooth the surface at `level` of densities [X, Y, Z] on a lattice below the jaw, and cut it at `floor`, in place.

    `floor` in EG3D units along y. Above it and the jaw nothing changes.
    """
    _, y, z = lattice.coordinates
    jaw = JAW - FORWARD * np.maximum(z - JAW_FRONT, 0)
    share = rise(jaw[None, :] - y[:, None], (0.0, DEPTH)).astype(np.float32)
    reach = SMOOTHING / lattice.step
    smoothed = int(share.any(1).sum())
    changed = max(smoothed, int((y < floor).sum()) + 1)
    near = values[:, : changed + int(np.ceil(TRUNCATED * reach[1]))] - np.float32(level)
    slope = _slope(near)
    above = near[:, :changed]
    if smoothed:
        unit = slope * np.float32(reach[0])
        inside = np.clip(near / unit, -1, 1)  # a fraction that is as steep as the smoothed one
        smooth = ndimage.gaussian_filter(inside, reach, mode="nearest", truncate=TRUNCATED)[:, :smoothed]
        inside, share = inside[:, :smoothed], share[None, :smoothed]
        blended = unit * (inside + share * (smooth - inside))
        above[:, :smoothed] = np.where(share > 0, blended, above[:, :smoothed])
    cut = slope * ((y[:changed] - floor) / lattice.step[1]).astype(np.float32)
    values[:, :changed] = np.minimum(above, cut[:, None]) + np.float32(level)


def _slope(above: np.ndarray) -> np.float32:
    """By how much densities typically differ from one point to the next across, where they pass the level."""
    low, high = above[:-1], above[1:]
    crossing = (low > 0) != (high > 0)
    return np.float32(np.median(np.abs(high - low)[crossing])) if crossing.any() else np.float32(1)
