"""The mean ear of many heads, as heights above a head without ears, so that it fits on any."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from scipy import ndimage

FILE = Path(__file__).parent.parent / "weights" / "ears.safetensors"
# Where the mean ear is: in an ellipse around this y and z, half as long and as wide as SIZE (EG3D units), leaning back
# by LEAN radians.
MIDDLE, SIZE, LEAN = (0.012, -0.19), (0.086, 0.056), 0.314


@dataclass(frozen=True)
class EarShape:
    """The mean left ear on a lattice from `low` [3] on, `step` apart: out from the head, up and forward, EG3D units.

    `distance` [X, Y, Z] to its surface in EG3D units, negative inside, of what is near; `light` [X, Y, Z] in [0, 1]:
    how much of the light that open skin gets the nearest of it gets.
    """

    distance: np.ndarray
    light: np.ndarray
    low: np.ndarray
    step: float

    @classmethod
    @cache
    def shipped(cls) -> EarShape:
        """The one in the package."""
        kept = load_file(FILE)
        distance, light = kept["shape.distance"] * kept["shape.unit"], kept["shape.light"] / np.float32(255)
        return cls(distance, light, kept["shape.low"].astype(np.float64), float(kept["shape.step"]))

    def at(self, values: np.ndarray, places: np.ndarray) -> np.ndarray:
        """`distance` or `light` at places [3, ...], beyond the lattice as at its end, [...]."""
        index = (places.reshape(3, -1) - self.low[:, None]) / self.step
        return ndimage.map_coordinates(values, index, order=1, mode="nearest").reshape(places.shape[1:])

    def height(self, up: np.ndarray, forward: np.ndarray) -> np.ndarray:
        """How far out the ear stands at `up` and `forward` of MIDDLE, as `up`; 0 where the head is open."""
        x = self.low[0] + self.step * np.arange(len(self.distance))
        inside = self.distance < 0
        last = len(x) - 1 - inside[::-1].argmax(0)
        index = np.stack([up, forward]).reshape(2, -1) - self.low[1:, None]
        height = ndimage.map_coordinates(
            np.where(inside.any(0), x[last], 0), index / self.step, order=1, mode="nearest"
        )
        return height.reshape(up.shape).clip(0)


def within(up: np.ndarray, forward: np.ndarray) -> np.ndarray:
    """The ellipse's quadratic form at `up` and `forward` of its middle: below 1 where the mean ear may be."""
    along, across = np.cos(LEAN) * up - np.sin(LEAN) * forward, np.sin(LEAN) * up + np.cos(LEAN) * forward
    return (along / SIZE[0]) ** 2 + (across / SIZE[1]) ** 2


def quadratic(up: np.ndarray, forward: np.ndarray) -> np.ndarray:
    """The terms of a quadratic surface at `up` and `forward`, [..., 6]: so heads bend beneath ears."""
    one = np.ones(np.broadcast_shapes(up.shape, forward.shape))
    return np.stack(np.broadcast_arrays(one, up, forward, up * up, up * forward, forward * forward), axis=-1)
