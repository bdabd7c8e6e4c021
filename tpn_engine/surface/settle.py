"""Densities made ready to be looked at: guessed collars hang together, and a neck ends level.

A portrait shows little of collars and shoulders. A model of surfaces guesses shreds and ledges there, which stick out
when seen from the side.
"""

from __future__ import annotations

import numpy as np

from tpn_engine.surface.density import Lattice
from tpn_engine.surface.sight import rise
from tpn_engine.surface.smoothing import TRUNCATED, smoothed

# EG3D units. Surfaces are smoothed by SMOOTHING, a standard deviation: thinner ledges go.
SMOOTHING = 0.024
# Collars: wholly from COLLAR below the jaw on, which is at JAW by the ears, and lower before them, to the chin.
JAW, JAW_FRONT, FORWARD, COLLAR = -0.2, 0.02, 0.5, 0.04
FLOOR = (0.005, 0.05)  # above a floor, over which surfaces come to be free


def settle(values: np.ndarray, lattice: Lattice, level: float, share: np.ndarray) -> None:
    """Smooth the surface at `level` of densities [X, Y, Z] on a lattice by a share [Y, Z] in [0, 1], in place."""
    if not share.any():
        return
    share = share.astype(np.float32)
    reach = SMOOTHING / lattice.step
    inner, outer = [], []
    for axis, margin in enumerate(np.ceil(TRUNCATED * reach[1:]).astype(int)):
        touched = np.flatnonzero(share.any(1 - axis))
        first, last = touched[0], touched[-1] + 1
        start = max(first - margin, 0)
        outer.append(slice(start, last + margin))
        inner.append(slice(first - start, last - start))
    region, within = (slice(None), *outer), (slice(None), *inner)
    near = values[region] - np.float32(level)
    unit = slope(near) * np.float32(reach[0])
    inside = np.clip(near / unit, -1, 1)  # a fraction that is as steep as the smoothed one
    smooth = smoothed(inside, reach)
    share = share[tuple(outer)][tuple(inner)]
    settled = values[region][within]
    settled[...] = drawn_toward(settled, level, unit, smooth[within], share)


def drawn_toward(
    values: np.ndarray, level: float, unit: np.float32, wanted: np.ndarray, share: np.ndarray
) -> np.ndarray:
    """Densities moved by a `share` in [0, 1] to `wanted`, in [-1, 1] units from the level; where it is 0 they stay."""
    inside = np.clip((values - np.float32(level)) / unit, -1, 1)
    return np.where(share > 0, unit * (inside + share * (wanted - inside)) + np.float32(level), values)


def settle_collar(values: np.ndarray, lattice: Lattice, level: float) -> None:
    """Smooth the surface at `level` of densities [X, Y, Z] on a lattice below the jaw, in place."""
    _, y, z = lattice.coordinates
    jaw = JAW - FORWARD * np.maximum(z - JAW_FRONT, 0)
    settle(values, lattice, level, rise(jaw[None, :] - y[:, None], (0.0, COLLAR)))


def cut(values: np.ndarray, lattice: Lattice, level: float, floor: float) -> None:
    """Leave nothing of densities [X, Y, Z] above `level` below `floor`, in EG3D units along y, in place."""
    y = lattice.coordinates[1]
    part = values[:, : int((y < floor).sum()) + 1]
    above = part - np.float32(level)
    ramp = slope(above) * ((y[: part.shape[1]] - floor) / lattice.step[1]).astype(np.float32)
    part[...] = np.minimum(above, ramp[:, None]) + np.float32(level)


def off_floor(vertices: np.ndarray, floor: float | None) -> np.ndarray:
    """How far vertices [N, 3] may be moved, [N] in [0, 1]: not where a head is cut level at `floor`."""
    return np.ones(len(vertices)) if floor is None else rise(vertices[:, 1] - floor, FLOOR)


def slope(above: np.ndarray) -> np.float32:
    """By how much densities typically differ from one point to the next across, where they pass the level."""
    low, high = above[:-1, ::2, ::2], above[1:, ::2, ::2]
    crossing = (low > 0) != (high > 0)
    return np.float32(np.median(np.abs(high - low)[crossing])) if crossing.any() else np.float32(1)
