"""Fringes and caps that hang together and stand out from a forehead as far as hair does.

From the front nothing tells how far a fringe stands out. Of one unlike those that it learned from, a model makes the
peak of a cap, or ledges. What lies before a limit, along which voluminous hair ends, is drawn back toward it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tpn_engine.surface.density import Lattice
from tpn_engine.surface.settle import SMOOTHING, settle, slope
from tpn_engine.surface.sight import rise

# EG3D units: between the first height and the second, above the brows, and between the first depth and the second.
FRINGE, FRONT = (0.13, 0.17), (0.0, 0.05)
# The limit is half an ellipsoid, and a plane at LEAST beside it. Portraits of two hundred held-out synthetic heads
# show it behind that in 84 per cent of their pixels above the brows.
MIDDLE, AXES, OUT, LEAST = (0.0, 0.13), (0.154, 0.184), 0.096, 0.05
KEPT = 0.35  # of what lies before the limit
GENTLE = 0.01  # EG3D units before the limit over which drawing back begins


def settle_fringe(values: np.ndarray, lattice: Lattice, level: float) -> None:
    """Draw the surface at `level` of densities [X, Y, Z] on a lattice back around a fringe and smooth it, in place."""
    _draw_back(values, lattice, level)
    _, y, z = lattice.coordinates
    settle(values, lattice, level, _share(y[:, None], z[None, :]))


def in_fringe(points: Tensor) -> Tensor:
    """Whether points [N, 3] lie where `settle_fringe` moves a surface, [N] bool."""
    _, y, z = points.cpu().numpy().T
    return torch.from_numpy(_share(y, z) > 0).to(points.device)


def before_settling(points: Tensor) -> Tensor:
    """Where points [N, 3] of a surface lay before `settle_fringe` drew them back, [N, 3] on their device."""
    x, y, z = points.cpu().numpy().T
    return torch.from_numpy(np.stack([x, y, _before(x, y, z)], axis=1)).to(points)


def _share(y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """How far heights y and depths z, which are broadcast, are a fringe's, in [0, 1]."""
    return rise(y, FRINGE) * rise(z, FRONT)


def _draw_back(values: np.ndarray, lattice: Lattice, level: float) -> None:
    x, y, z = lattice.coordinates
    rows, depths = slice(int((y <= FRINGE[0]).sum()), None), slice(int((z <= LEAST).sum()), None)
    part = values[:, rows]
    before = _before(x[:, None, None], y[rows][:, None], z[depths])
    near = part - np.float32(level)
    deep = slope(near) * np.float32(SMOOTHING / lattice.step[2])
    near = np.clip(near, -deep, deep)  # or what is far off would pull a surface along
    places = ((before - z[0]) / lattice.step[2]).clip(0, len(z) - 1)
    below = np.minimum(places.astype(np.int32), len(z) - 2)
    low, high = (np.take_along_axis(near, below + one, axis=2) for one in (0, 1))
    drawn = low + (places - below).astype(np.float32) * (high - low) + np.float32(level)
    part[..., depths] = np.where(before > z[depths], drawn, part[..., depths])


def _before(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """The depths that are drawn back to z, all broadcast: as steep as 1 / KEPT far before the limit."""
    across = ((x - MIDDLE[0]) / AXES[0]) ** 2 + ((y - MIDDLE[1]) / AXES[1]) ** 2
    out = np.maximum(z - np.maximum(OUT * np.sqrt(np.maximum(1 - across, 0)), LEAST), 0)
    return z + rise(y, FRINGE) * (1 / KEPT - 1) * out * out / (out + GENTLE)
