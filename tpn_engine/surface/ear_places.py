"""Whether a head shows an ear on a side, and where: told by how far out the head reaches there.

A linear model of many heads (`training/ears.py`). How high ears sit is found; how far back they are, and how large, a
photo from the front hardly tells, so that they come out about as the mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from safetensors.numpy import load_file
from scipy import ndimage

from tpn_engine.surface.density import Lattice
from tpn_engine.surface.ear_shape import FILE

# EG3D units: the y and z of the columns, next to each other, in which a side is looked at.
HEIGHTS, DEPTHS = np.arange(-0.13, 0.18, 0.02), np.arange(-0.33, -0.02, 0.02)
LEAST = 0.02  # from the middle, nearer than which a side is no head's
SHOWN = 0.2  # of the model's answer, which is 1 for an ear and -1 for none


@dataclass(frozen=True)
class EarPlace:
    """Where an ear of a head is, against the mean one: moved up and forward (EG3D units), larger, turned.

    `side` 1 is the subject's left, -1 the right. `larger` is a factor's logarithm, `turned` is radians from y toward z.
    """

    side: int
    up: float = 0.0
    forward: float = 0.0
    larger: float = 0.0
    turned: float = 0.0

    def flat(self, up: np.ndarray, forward: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the mean ear has what this one has at `up` (y) and `forward` (z) of the mean one's middle."""
        up, forward = up - self.up, forward - self.forward
        cosine, sine = np.cos(self.turned) / np.exp(self.larger), np.sin(self.turned) / np.exp(self.larger)
        return cosine * up + sine * forward, cosine * forward - sine * up


def find_ears(values: np.ndarray, lattice: Lattice, level: float) -> list[EarPlace]:
    """The ears of a head whose surface is at `level` of densities [X, Y, Z] on a lattice, none, one or two."""
    weight, bias = _model()
    found = []
    for side in (1, -1):
        *place, shown = (weight @ side_reach(values, lattice, level, side).ravel() + bias).tolist()
        if shown > SHOWN:
            found.append(EarPlace(side, *place))
    return found


def side_reach(values: np.ndarray, lattice: Lattice, level: float, side: int) -> np.ndarray:
    """How far out a head reaches on a side at HEIGHTS and DEPTHS, [16, 16] in EG3D units, 0 where there is none."""
    seen, x = outward(values, lattice.coordinates[0], side)
    axes = list(zip(lattice.coordinates[1:], (HEIGHTS, DEPTHS), strict=True))
    first = [max(int(np.searchsorted(axis, at[0])) - 1, 0) for axis, at in axes]
    last = [int(np.searchsorted(axis, at[-1])) + 1 for axis, at in axes]
    reached = np.nan_to_num(reach(seen[:, first[0] : last[0], first[1] : last[1]], x, level))
    places = [np.interp(at, axis, np.arange(len(axis))) - start for (axis, at), start in zip(axes, first, strict=True)]
    return ndimage.map_coordinates(reached, np.stack(np.meshgrid(*places, indexing="ij")), order=1)


def outward(values: np.ndarray, x: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Densities [X, Y, Z] and their x [X] so that x rises outward on a side; a view, not a copy."""
    return (values, x) if side > 0 else (values[::-1], -x[::-1])


def reach(values: np.ndarray, x: np.ndarray, level: float) -> np.ndarray:
    """The outermost x [Y, Z] at which densities [X, Y, Z] fall below `level`, x [X] rising; NaN where none does."""
    inside = values > level
    last = (len(x) - 1 - inside[::-1].argmax(0)).clip(0, len(x) - 2)
    here, beyond = (np.take_along_axis(values, last[None] + step, 0)[0] - level for step in (0, 1))
    share = (here / np.maximum(here - beyond, 1e-6)).clip(0, 1)
    found = x[last] + share * (x[1] - x[0])
    return np.where(inside.any(0) & (found > LEAST), found, np.nan)


@cache
def _model() -> tuple[np.ndarray, np.ndarray]:
    kept = load_file(FILE)
    return kept["place.weight"].astype(np.float64), kept["place.bias"].astype(np.float64)
