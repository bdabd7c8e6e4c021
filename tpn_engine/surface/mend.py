"""Torn surfaces made whole: pits, shreds and steep folds in hair, around ears and in open mouths.

A model is unsure how deep hair is, and where its planes leap, a surface that runs along the view leaps with them: in
clay, these are holes and ridges. Where a surface is torn its normals point everywhere, so that their mean is short.
There its volume is smoothed much, which closes what is narrow; where a surface is whole, a little. So is a face,
which keeps its features; its mouth, where a model guesses teeth, loses them where it is torn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tpn_engine.surface.density import Lattice
from tpn_engine.surface.settle import slope
from tpn_engine.surface.sight import rise
from tpn_engine.surface.smoothing import filled_in, smoothed

# Standard deviations, EG3D units: of the smoothing of whole and of torn surfaces, and of the surroundings whose normals
# are compared.
LITTLE, MUCH, AROUND = 0.01, 0.02, 0.012
THICKNESS = 0.006  # EG3D units to each side of a surface that tell its normals: what is narrower counts for less
SPARSE = 1.25  # points that are worked out for each standard deviation, at least
TORN = (0.08, 0.25)  # by how much a mean normal is shorter than one where a surface comes to be torn
EDGE = (0.9, 1.25)  # parts of its half axes over which an oval ends
DEPTH = (0.02, 0.07)  # EG3D units along z over which a face begins
BOTTOM = (-0.33, -0.3)  # along y: below lie collars, which are settled
MARGIN = 0.03  # EG3D units around the head


@dataclass(frozen=True)
class Oval:
    """What lies behind an ellipse seen from the front: its `middle` and half `axes` along x and y, EG3D units."""

    middle: tuple[float, float]
    axes: tuple[float, float]

    def share(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """How far the points of a lattice [X], [Y], [Z] lie in it and in front, [X, Y, Z] float32 in [0, 1]."""
        across = np.hypot((x[:, None] - self.middle[0]) / self.axes[0], (y - self.middle[1]) / self.axes[1])
        return ((1 - rise(across, EDGE))[:, :, None] * rise(z, DEPTH)).astype(np.float32)


FACE = Oval((0.0, -0.03), (0.16, 0.19))  # from the chin to the hair, eyes and cheeks included
MOUTH = Oval((0.0, -0.105), (0.08, 0.05))


def mend(values: np.ndarray, lattice: Lattice, level: float) -> None:
    """Mend the surface at `level` of densities [X, Y, Z] on a lattice, in place."""
    region = _around_head(values > level, lattice)
    near = values[region] - np.float32(level)
    steep = slope(near) / np.float32(lattice.step[0])
    every = [max(1, int(LITTLE / SPARSE / step)) for step in lattice.step]
    apart = lattice.step * every
    x, y, z = (axis[part][::some] for axis, part, some in zip(lattice.coordinates, region, every, strict=True))

    torn = rise(_shortness(_clipped(near, steep * np.float32(THICKNESS)), every, apart), TORN)
    unit = steep * np.float32(MUCH)
    inside = _clipped(near, unit)  # a fraction that is as steep as the smoothed one
    little = smoothed(inside, LITTLE / lattice.step, every)
    much = smoothed(little, (MUCH**2 - LITTLE**2) ** 0.5 / apart)
    # What smoothing takes from a face is put back once: its features are as small as what is smoothed.
    gentle = 2 * little - smoothed(little, LITTLE / apart)
    face, mouth = FACE.share(x, y, z), MOUTH.share(x, y, z)
    whole = little + torn * (much - little)
    whole += face * (gentle + mouth * torn * (little - gentle) - whole)
    whole = filled_in(whole, near.shape, every)
    whole -= inside
    whole *= rise(lattice.coordinates[1, region[1]], BOTTOM).astype(np.float32)[:, None]
    whole += inside
    whole *= unit
    whole += np.float32(level)
    values[region] = whole


def _around_head(inside: np.ndarray, lattice: Lattice) -> tuple[slice, ...]:
    """The part of a lattice around what is `inside` [X, Y, Z] bool above the collar; all of it if that is nothing."""
    inside = inside & (lattice.coordinates[1] > BOTTOM[0])[:, None]
    parts = []
    for axis, margin in enumerate(np.ceil(MARGIN / lattice.step).astype(int)):
        filled = np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis})))
        parts.append(slice(max(filled[0] - margin, 0), filled[-1] + 1 + margin) if len(filled) else slice(None))
    return tuple(parts)


def _clipped(above: np.ndarray, unit: np.float32) -> np.ndarray:
    parts = above / unit
    return np.clip(parts, -1, 1, out=parts)


def _shortness(thin: np.ndarray, every: Sequence[int], apart: np.ndarray) -> np.ndarray:
    """By how much the mean normal around a point is shorter than one, in [0, 1], at `every` so many points.

    `thin` [X, Y, Z] rises from -1 to 1 over the thickness of the surface; `apart` [3] are such points, in EG3D units.
    """
    thin = smoothed(thin, np.asarray(every) / 2, every)
    gradient = np.gradient(thin, *apart.astype(np.float32))
    area = smoothed(_length(gradient), AROUND / apart)
    return 1 - _length([smoothed(part, AROUND / apart) for part in gradient]) / np.maximum(area, np.float32(1e-3))


def _length(vector: Sequence[np.ndarray]) -> np.ndarray:
    return np.sqrt(np.sum([part * part for part in vector], axis=0))
