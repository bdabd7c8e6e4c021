"""Where rays meet a head that is a surface: the first point at which the density passes the level.

A lattice of the density tells how far around a place there is nothing, so that a ray leaps through empty space and
looks closely only where a surface is near (sphere tracing, Hart 1996). The field itself has the last word but around a
fringe, where it guesses ledges: there the surface is the settled lattice's, as a mesh's is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.nets.field import TriplaneField
from tpn_engine.nets.volume import box_crossing
from tpn_engine.surface.density import Lattice, surface_density
from tpn_engine.surface.fringe import in_fringe, settle_fringe

_POINTS = 192  # of the lattice along each edge
_BLOCK = 2  # of its points: what is far needn't be known so well
_SHORTEST = 0.75  # of a lattice step, near the surface
_BISECTIONS = 5  # of the shortest step


# By level, and kept as long as the field is: a turntable asks a hundred times.
_KNOWN: WeakKeyDictionary[TriplaneField, dict[float, _DensityLattice]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Hits:
    """What N rays meet: the `distance` [N] to the first crossing of the level, and whether there is one, `hit` [N]."""

    distance: Tensor
    hit: Tensor


def cast_rays(field: TriplaneField, level: float, origins: Tensor, directions: Tensor) -> Hits:
    """Rays from `origins` [N, 3] along unit `directions` [N, 3] against the surface density = `level` of a field."""
    lattice = _KNOWN.setdefault(field, {})
    if level not in lattice:
        lattice[level] = _DensityLattice(field, level)
    before, after, hit = (part.to(origins.device) for part in lattice[level].cast(origins, directions))
    seen = hit.nonzero()[:, 0]
    outside, inside, start, along = before[seen], after[seen], origins[seen], directions[seen]
    for _ in range(_BISECTIONS):
        middle = (outside + inside) / 2
        within = _within(field, level, lattice[level], start + along * middle[:, None])
        outside, inside = torch.where(within, outside, middle), torch.where(within, middle, inside)
    return Hits(after.index_copy(0, seen, inside), hit)


def _within(field: TriplaneField, level: float, lattice: _DensityLattice, points: Tensor) -> Tensor:
    """Whether points [N, 3] lie inside, [N] bool."""
    if field.surface is None:
        return field.density(points) > level
    settled = in_fringe(points)
    inside = torch.empty_like(settled)
    inside[~settled] = field.density(points[~settled]) > level
    guessed = points[settled]
    inside[settled] = lattice.contains(guessed.cpu()).to(points.device)
    if field.silhouette is not None:  # its outline is finer than the lattice
        inside[settled] &= field.silhouette.bound(guessed) > level
    return inside


class _DensityLattice:
    """Density less its level on a lattice [Z, Y, X], and how far around each block of it there is nothing for sure.

    Of several pieces the largest is the head, as in meshes. On the CPU, whatever the planes are on: sampling volumes
    is missing on some devices.
    """

    def __init__(self, field: TriplaneField, level: float) -> None:
        lattice = Lattice(_POINTS, field.box)
        values = surface_density(field, lattice, level).values
        if field.surface is not None:
            settle_fringe(values, lattice, level)
        above = values - level
        inside = _largest(above > 0)
        above = np.where(inside, above, np.minimum(above, 0))
        blocks = inside.reshape(3 * (_POINTS // _BLOCK, _BLOCK)).any((1, 3, 5))
        if not blocks.any():
            blocks[-1, -1, -1] = True  # or no place would be far from anything
        empty = np.asarray(ndimage.distance_transform_edt(~blocks, sampling=_BLOCK * lattice.step))
        # From a place to its block's middle, from the other's middle to its corner, and the cells beyond that.
        empty = empty - (_BLOCK + 1) * np.linalg.norm(lattice.step)
        self._above, self._empty = (
            torch.from_numpy(values.astype(np.float32).transpose(2, 1, 0).copy()) for values in (above, empty)
        )
        self._box = field.box
        self._low, self._high = torch.tensor(field.box.low), torch.tensor(field.box.high)
        self._shortest = _SHORTEST * float(lattice.step.min())

    def cast(self, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Distances [N] just before the surface and just behind it, and whether there is one, [N] bool."""
        origins, directions = origins.cpu(), directions.cpu()
        near, far = (distance[:, 0] for distance in box_crossing(origins, directions, self._box))
        near = near.clamp(min=0)
        before, after, hit = near.clone(), near.clone(), torch.zeros(len(near), dtype=torch.bool)
        active = (near < far).nonzero()[:, 0]
        while len(active):
            here = after[active]
            places = (origins[active] + directions[active] * here[:, None] - self._low) / (self._high - self._low)
            free = self._empty[self._block(places)]
            inside = torch.zeros_like(active, dtype=torch.bool)
            close = (free < self._shortest).nonzero()[:, 0]
            inside[close] = self._above_at(places[close]) > 0
            hit[active[inside]] = True
            active, here, free = active[~inside], here[~inside], free[~inside]
            before[active] = here
            after[active] = here + free.clamp(min=self._shortest)
            active = active[after[active] < far[active]]
        return before, after, hit

    def contains(self, points: Tensor) -> Tensor:
        """Whether points [N, 3] lie inside by the lattice alone, [N] bool."""
        return self._above_at((points - self._low) / (self._high - self._low)) > 0

    def _block(self, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        points = (places * (_POINTS - 1)).round().long().clamp(0, _POINTS - 1)
        x, y, z = (points // _BLOCK).unbind(-1)
        return z, y, x

    def _above_at(self, places: Tensor) -> Tensor:
        grid = (places * 2 - 1)[None, None, None]
        return F.grid_sample(self._above[None, None], grid, align_corners=True)[0, 0, 0, 0]


def _largest(inside: np.ndarray) -> np.ndarray:
    """The largest of the connected pieces of a volume [X, Y, Z], bool."""
    pieces, count = cast(tuple[np.ndarray, int], ndimage.label(inside))
    return pieces == 1 + np.bincount(pieces.ravel())[1:].argmax() if count > 1 else inside
