"""Ears, where a head shows some: a small model's are bumps.

A photo from the front shows of an ear how high it sits and how far it stands out, and of that a model makes a bump. The
bump is taken away and the mean ear of many heads put in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tpn_engine.surface.cleanup import smoothed
from tpn_engine.surface.density import Lattice
from tpn_engine.surface.ear_places import EarPlace, find_ears, outward, reach
from tpn_engine.surface.ear_shape import MIDDLE, EarShape, quadratic, within
from tpn_engine.surface.membrane import membrane
from tpn_engine.surface.settle import drawn_toward, slope
from tpn_engine.surface.sight import rise

# Of the mean ear's quadratic form: over which an ear gives way to the head, and between which the head is looked at.
EDGE, AROUND = (1.0, 1.5), (1.15, 2.6)
ENOUGH = 0.1  # of the block around an ear has to be looked at
ODD, FITS = 0.006, 5  # EG3D units off a quadratic surface above which what is around counts for less; rounds of its fit
BENEATH = -0.04  # EG3D units from the head outward, down to which the mean ear is known
# EG3D units along y, standard deviation, over which an ear stands out alike; how much the mean one counts; bounds.
ALIKE, MEAN_COUNTS, FACTORS = 0.02, 0.2, (0.5, 1.6)
STANDS = 0.004  # EG3D units from the head, from which the mean ear stands out from it
SMOOTH = 10  # iterations
THICKNESS = 0.008  # EG3D units about the surface within which densities tell how far away it is
# EG3D units: the step of a lattice that holds an ear's edge; by as much as it is coarser an ear is thicker, up to this.
THIN = (0.004, 0.004)


@dataclass(frozen=True)
class Ear:
    """An ear on a head: where it is, and at `y` [Y] and `z` [Z] what it stands on and how far out it does.

    `beneath` [Y, Z] is how far out the head reaches there without it, `out` [Y] by which factor it stands out more than
    the mean ear.
    """

    place: EarPlace
    y: np.ndarray
    z: np.ndarray
    beneath: np.ndarray
    out: np.ndarray

    def share(self, vertices: np.ndarray) -> np.ndarray:
        """How far vertices [N, 3] are its own, [N] in [0, 1]."""
        form = within(*self.place.flat(vertices[:, 1] - MIDDLE[0], vertices[:, 2] - MIDDLE[1]))
        return (1 - rise(form, EDGE)) * (vertices[:, 0] * self.place.side > 0)

    def light(self, vertices: np.ndarray) -> np.ndarray:
        """How much of the light that open skin gets vertices [N, 3] get, as its folds let them, [N] in [0, 1]."""
        x, y, z = vertices.T
        row, column = (np.interp(at, axis, np.arange(len(axis))) for at, axis in ((y, self.y), (z, self.z)))
        above = x * self.place.side - ndimage.map_coordinates(self.beneath, np.stack([row, column]), order=1)
        shape, factor = EarShape.shipped(), np.interp(y, self.y, self.out)
        places = np.stack([above / factor, *self.place.flat(y - MIDDLE[0], z - MIDDLE[1])])
        return 1 - self.share(vertices) * (1 - shape.at(shape.light, places))

    def distance(self, x: np.ndarray) -> np.ndarray:
        """How far points at x [X], outward, and at the ear's y and z are from its surface, [X, Y, Z] in EG3D units."""
        shape = EarShape.shipped()
        above = (x[:, None, None] - self.beneath) / self.out[:, None]
        up, forward = self.place.flat(self.y[:, None] - MIDDLE[0], self.z - MIDDLE[1])
        return shape.at(shape.distance, np.stack(np.broadcast_arrays(above, up, forward))) * np.exp(self.place.larger)


def raise_ears(values: np.ndarray, lattice: Lattice, level: float) -> list[Ear]:
    """Put the ears that it shows on the surface at `level` of densities [X, Y, Z] on a lattice, in place."""
    raised = (raise_ear(values, lattice, level, place) for place in find_ears(values, lattice, level))
    return [ear for ear in raised if ear is not None]


def on_ears(vertices: np.ndarray, ears: Sequence[Ear]) -> np.ndarray:
    """How far vertices [N, 3] are some ear's, [N] in [0, 1]."""
    return np.max([np.zeros(len(vertices)), *(ear.share(vertices) for ear in ears)], axis=0)


def smooth_edges(vertices: np.ndarray, triangles: np.ndarray, ears: Sequence[Ear]) -> np.ndarray:
    """Vertices [N, 3] float32 of a mesh, those of ears smoothed: their edges are as thin as a lattice is fine."""
    if not ears:
        return vertices
    share = on_ears(vertices, ears)[:, None].astype(np.float32)
    return vertices + share * (smoothed((vertices, triangles), SMOOTH)[0] - vertices)


def shaded(colors: np.ndarray, vertices: np.ndarray, ears: Sequence[Ear]) -> np.ndarray:
    """Colours [N, 3] of vertices [N, 3] with the shade of the folds of ears, float32."""
    light = np.prod([np.ones(len(vertices)), *(ear.light(vertices) for ear in ears)], axis=0)
    return colors * light[:, None].astype(np.float32)


def raise_ear(values: np.ndarray, lattice: Lattice, level: float, place: EarPlace) -> Ear | None:
    """The ear put at a place; None where there is no head to put it on."""
    seen, x = outward(values, lattice.coordinates[0], place.side)
    y, z = lattice.coordinates[1:]
    up, forward = place.flat(y[:, None] - MIDDLE[0], z - MIDDLE[1])
    form = within(up, forward)
    rows, columns = (np.flatnonzero((form < AROUND[1]).any(axis)) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return None
    first = int(np.searchsorted(x, 0))
    rows, columns = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    x, y, z, part = x[first:], y[rows], z[columns], seen[first:, rows, columns]
    up, forward, form = (at[rows, columns] for at in (up, forward, form))
    reached = reach(part, x, level)
    beneath = _beneath(reached, form, quadratic(up, forward))
    if beneath is None:
        return None
    out = _standing_out(reached, beneath, EarShape.shipped().height(up, forward), y)
    ear = Ear(place, y, z, beneath, out)
    here = (1 - rise(form, EDGE)) * (x[:, None, None] - beneath > BENEATH * out[:, None])
    unit = slope(part - np.float32(level)) * np.float32(THICKNESS / lattice.step[0])
    thicker = np.clip(lattice.step[0] - THIN[0], 0, THIN[1])
    raised = np.clip((thicker - ear.distance(x)) / THICKNESS, -1, 1)
    part[...] = drawn_toward(part, level, unit, raised, here)
    return ear


def _standing_out(reached: np.ndarray, beneath: np.ndarray, mean: np.ndarray, y: np.ndarray) -> np.ndarray:
    """By which factor an ear stands out more than the mean one at `y` [Y], to reach as far as the bump did, [Y].

    How far out [Y, Z]: a head `reached` with the bump (NaN where there is none), and does `beneath`; above that the
    mean ear stands.
    """
    mean = np.where(np.isfinite(reached) & (mean > STANDS), mean, 0)
    outermost = mean.argmax(1)[:, None]
    bump = np.where(mean > 0, reached, 0).max(1) - np.take_along_axis(beneath, outermost, 1)[:, 0]
    mean = np.take_along_axis(mean, outermost, 1)[:, 0]
    near = np.exp(-0.5 * ((y[:, None] - y) / ALIKE) ** 2)
    doubt = MEAN_COUNTS * (mean**2).mean()
    return ((near @ (bump * mean) + doubt) / (near @ mean**2 + doubt)).clip(*FACTORS)


def _beneath(reached: np.ndarray, form: np.ndarray, terms: np.ndarray) -> np.ndarray | None:
    """How far out a head reaches beneath an ear, [Y, Z]: as around it, and bent as a quadratic surface between.

    `reached` [Y, Z] is how far it does with what is to be replaced, NaN where there is no head; `form` [Y, Z] the
    mean ear's quadratic form, `terms` [Y, Z, 6] of the surface. None where there is too little of a head.
    """
    around = np.isfinite(reached) & (form > AROUND[0]) & (form < AROUND[1])
    if around.mean() < ENOUGH:
        return None
    weight = np.ones((int(around.sum()), 1))
    for _ in range(FITS):
        fit = np.linalg.lstsq(terms[around] * weight, reached[around, None] * weight, rcond=None)[0]
        bent = (terms @ fit)[..., 0]
        weight = np.sqrt(ODD / np.maximum(np.abs(reached - bent)[around, None], ODD))
    rest = np.where(around, reached - bent, 0)
    index = np.arange(rest.size).reshape(rest.shape)
    neighbours = (index[1:], index[:-1]), (index[:, 1:], index[:, :-1])
    edges = np.concatenate([np.stack([start.ravel(), end.ravel()], 1) for start, end in neighbours])
    places = np.stack([*np.indices(rest.shape), np.zeros(rest.shape)], axis=-1).reshape(-1, 3)
    strength = np.where(around.ravel(), np.inf, 0.0)
    smooth = membrane(places, edges, rest.reshape(-1, 1), strength, np.zeros((len(edges), 1)))
    return bent + smooth.reshape(rest.shape)
