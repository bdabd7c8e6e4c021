"""The density of a tri-plane field on a lattice, exactly, and only where a surface can be.

A lattice is separable: the decoder's first layer is linear, so it is applied to the planes once,
on the lattice's own rows and columns, and the pre-activation of hidden unit h at a lattice point is

    s_h = xy_h[x, y] + xz_h[x, z] (+ yz_h[y, z]).

exp(s_h) is then a product of tabulated exponentials, and density = b + sum_h w_h log(1 + exp(s_h))
costs one multiply-add, one logarithm and one dot product for each voxel and unit.

For the surface alone, blocks of cells are first bounded: softplus is convex, so around a block's
centre it lies above its tangent by at most what it does at the ends of the block's interval of
s_h. The tangents' sum is linear in the tables, hence bounded from them, and a block whose bounds
leave out the level has no surface in any of its cells. Nothing is guessed: no margin is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tpn_engine.errors import ModelError
from tpn_engine.nets.field import TriplaneField, plane_coordinates
from tpn_engine.nets.layers import FullyConnected
from tpn_engine.progress import SILENT, Progress

BLOCK = 8  # cells along a block's edge
SLAB = 8  # blocks along x that are bounded at once
CHUNK = 32  # points along z computed at once: with 64 units 0.7 MB, which stays in a core's cache
LARGEST_EXPONENT = 60.0  # exp of it, times any tabulated factor, is finite in float32
ROUNDING = 1e-5  # relative error allowed to the float32 evaluation when a block is skipped


@dataclass(frozen=True)
class Lattice:
    """`resolution` points along each edge of the box [-box_warp/2, box_warp/2]^3, both ends included.

    The first and last `trim` points of each axis are left out (EG3D's scripts cut 30 of 256).
    """

    resolution: int
    box_warp: float
    trim: int = 0

    @property
    def step(self) -> float:
        """Distance of neighbouring points, EG3D units."""
        return self.box_warp / (self.resolution - 1)

    @property
    def coordinates(self) -> np.ndarray:
        """The points' coordinates, the same along x, y and z, float64 [points]."""
        whole = np.linspace(-self.box_warp / 2, self.box_warp / 2, self.resolution)
        return whole[self.trim : self.resolution - self.trim]


@dataclass(frozen=True)
class SurfaceDensity:
    """Density on a lattice, exact around the surface.

    `values` [X, Y, Z]: the density at every corner of every cell that the surface can pass through;
    elsewhere a number on the right side of the level. `evaluated`: fraction of the blocks that
    were computed.
    """

    values: np.ndarray
    evaluated: float


def dense_density(field: TriplaneField, lattice: Lattice, progress: Progress = SILENT) -> Tensor:
    """The density at every point of `lattice`, [X, Y, Z] on the field's device."""
    tables = _tabulate(field, lattice)
    starts = _block_starts(tables.points, tables.xy.device)
    everywhere = torch.ones(len(starts), len(starts), len(starts), dtype=torch.bool, device=starts.device)
    values = torch.empty(tables.points, tables.points, tables.points, device=starts.device)
    _fill(values, tables, starts, everywhere, progress)
    return values


def surface_density(
    field: TriplaneField, lattice: Lattice, level: float, progress: Progress = SILENT
) -> SurfaceDensity:
    """The density of `lattice` wherever the surface density = `level` can be.

    Marching cubes finds the same surface in it as in `dense_density`.
    """
    tables = _tabulate(field, lattice)
    starts = _block_starts(tables.points, tables.xy.device)
    lower, upper = _bounds(tables, starts)
    values = torch.empty(tables.points, tables.points, tables.points, device=starts.device)
    _fill_sides(values, starts, lower > level, level)
    crossed = (lower <= level) & (upper >= level)
    _fill(values, tables, starts, crossed, progress)
    return SurfaceDensity(values.cpu().numpy(), float(crossed.float().mean()))


@dataclass(frozen=True)
class _Tables:
    """Pre-activations on the lattice's planes, hidden units last, and the decoder's density row."""

    xy: Tensor  # [X, Y, H], the first layer's bias included
    xz: Tensor  # [X, Z, H]
    yz: Tensor | None  # [Y, Z, H], where the third plane is spanned by y and z
    weight: Tensor  # [H]
    bias: Tensor  # []

    @property
    def points(self) -> int:
        return self.xy.shape[0]


def _tabulate(field: TriplaneField, lattice: Lattice) -> _Tables:
    device = field.planes.device
    first, last = (cast(FullyConnected, field.decoder.net[layer]) for layer in (0, 2))
    first_weight, first_bias = (value.detach().float() for value in first.effective())
    last_weight, last_bias = (value.detach().float() for value in last.effective())
    first_weight = first_weight / 3  # the decoder takes the mean of the three planes
    axis = torch.from_numpy(lattice.coordinates.astype(np.float32)).to(device)

    def features(plane: int, across: tuple[int, int]) -> Tensor:
        """One plane on the lattice points spanned by two world axes, [points, points, C]."""
        points = axis.new_zeros(len(axis), len(axis), 3)
        points[..., across[0]] = axis[:, None]
        points[..., across[1]] = axis[None, :]
        grid = plane_coordinates(points * (2 / field.box_warp), field.axes)[plane]
        sampled = F.grid_sample(
            field.planes[plane][None], grid[None], mode="bilinear", padding_mode="zeros", align_corners=False
        )
        return sampled[0].permute(1, 2, 0)

    with torch.no_grad():
        xy, xz, yz = features(0, (0, 1)), features(1, (0, 2)), None
        if field.axes == "xy_xz_zx":
            xz = xz + features(2, (0, 2))
        else:
            yz = features(2, (1, 2)) @ first_weight.T
        if not torch.isfinite(xy.sum() + xz.sum()):
            raise ModelError("The head's planes hold values that are not numbers: capture it again.")
        return _Tables(
            xy=xy @ first_weight.T + first_bias,
            xz=xz @ first_weight.T,
            yz=yz,
            weight=last_weight[0],
            bias=last_bias[0],
        )


def _block_starts(points: int, device: torch.device) -> Tensor:
    """First lattice index of each block along an axis; the last block overlaps the one before it."""
    starts = torch.arange(0, points - 1, BLOCK, device=device)
    return starts.clamp(max=points - 1 - BLOCK)


def _bounds(tables: _Tables, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers below and above every density in each block of cells, [blocks, blocks, blocks] each."""
    xy, xz = _blocked(tables.xy, starts), _blocked(tables.xz, starts)
    yz = None if tables.yz is None else _blocked(tables.yz, starts)
    slabs = [_slab_bounds(tables, xy.along_x(slab), xz.along_x(slab), yz) for slab in _slabs(len(starts))]
    return torch.cat([lower for lower, _ in slabs]), torch.cat([upper for _, upper in slabs])


def _slabs(blocks: int) -> list[slice]:
    return [slice(first, first + SLAB) for first in range(0, blocks, SLAB)]


@dataclass(frozen=True)
class _Blocked:
    """A table in blocks, and what it holds there as middle +- radius."""

    values: Tensor  # [blocks, blocks, (BLOCK + 1)^2, H]
    middle: Tensor  # [blocks, blocks, H]
    radius: Tensor  # [blocks, blocks, H]

    def along_x(self, slab: slice) -> _Blocked:
        return _Blocked(self.values[slab], self.middle[slab], self.radius[slab])


def _blocked(table: Tensor, starts: Tensor) -> _Blocked:
    index = starts[:, None] + torch.arange(BLOCK + 1, device=starts.device)
    values = table[index[:, None, :, None], index[None, :, None, :]].flatten(2, 3)
    low, high = values.amin(2), values.amax(2)
    return _Blocked(values, (low + high) / 2, (high - low) / 2)


def _slab_bounds(tables: _Tables, xy: _Blocked, xz: _Blocked, yz: _Blocked | None) -> tuple[Tensor, Tensor]:
    """Bounds of the blocks [i, j, k] for the i of one slab."""
    middle = xy.middle[:, :, None] + xz.middle[:, None]
    radius = xy.radius[:, :, None] + xz.radius[:, None]
    if yz is not None:
        middle, radius = middle + yz.middle, radius + yz.radius
    slope, at_middle = torch.sigmoid(middle), F.softplus(middle)
    at_ends = F.softplus(middle + radius), F.softplus(middle - radius)
    above_tangent = torch.maximum(at_ends[0] - slope * radius, at_ends[1] + slope * radius) - at_middle

    # The tangents' sum is constant + of_xy[x, y] + of_xz[x, z] (+ of_yz[y, z]). The first two share
    # x, so their ranges are added for each x.
    gradient = slope * tables.weight
    constant = at_middle @ tables.weight + tables.bias - (gradient * middle).sum(-1)
    edge = (BLOCK + 1, BLOCK + 1)
    of_xy = (xy.values @ gradient.transpose(2, 3)).unflatten(2, edge)  # [i, j, x, y, k]
    of_xz = (xz.values @ gradient.permute(0, 2, 3, 1)).unflatten(2, edge)  # [i, k, x, z, j]
    lower = constant + (of_xy.amin(3) + of_xz.amin(3).transpose(1, 3)).amin(2)
    upper = constant + (of_xy.amax(3) + of_xz.amax(3).transpose(1, 3)).amax(2)
    if yz is not None:
        of_yz = yz.values @ gradient.permute(1, 2, 3, 0)  # [j, k, y z, i]
        lower, upper = lower + of_yz.amin(2).permute(2, 0, 1), upper + of_yz.amax(2).permute(2, 0, 1)
    lower = lower + above_tangent @ tables.weight.clamp(max=0)
    upper = upper + above_tangent @ tables.weight.clamp(min=0)
    slack = ROUNDING * (at_ends[0] @ tables.weight.abs() + tables.bias.abs())
    return lower - slack, upper + slack


def _fill_sides(values: Tensor, starts: Tensor, inside: Tensor, level: float) -> None:
    """Set every point to one side of the level: above it in the blocks that lie `inside`."""
    values.fill_(level - 1.0)
    for x, y, z in starts[inside.nonzero()].tolist():
        values[x : x + BLOCK + 1, y : y + BLOCK + 1, z : z + BLOCK + 1] = level + 1.0


def _fill(values: Tensor, tables: _Tables, starts: Tensor, chosen: Tensor, progress: Progress) -> None:
    """Compute the density at every point of the `chosen` blocks, column by column along z."""
    factors = _exponentials(tables)
    edge = torch.arange(BLOCK + 1, device=starts.device)
    firsts = starts.tolist()
    columns = chosen.any(2).nonzero().tolist()
    for done, (i, j) in enumerate(columns):
        x, y = (slice(firsts[block], firsts[block] + BLOCK + 1) for block in (i, j))
        heights = (starts[chosen[i, j]][:, None] + edge).unique()
        for z in heights.split(CHUNK):
            values[x, y].index_copy_(2, z, factors.density(x, y, z))
        if done % len(firsts) == 0:
            progress("density", done / len(columns))
    progress("density", 1.0)


@dataclass(frozen=True)
class _Exponentials:
    """Tables of exp, scaled for each unit so that nothing overflows: softplus = shift + log(floor + product)."""

    xy: Tensor
    xz: Tensor
    yz: Tensor | None
    floor: Tensor  # [H] exp(-shift)
    weight: Tensor
    bias: Tensor  # with the shifts' share
    buffer: Tensor  # one chunk of [(BLOCK + 1)^2 CHUNK, H]

    def density(self, x: slice, y: slice, z: Tensor) -> Tensor:
        """Density of the points x, y, z, [BLOCK + 1, BLOCK + 1, len(z)]."""
        xy, xz = self.xy[x, y, None], self.xz[x].index_select(1, z)[:, None]
        shape = (BLOCK + 1, BLOCK + 1, len(z))
        softplus = self.buffer[: shape[0] * shape[1] * shape[2]]
        product = softplus.view(*shape, -1)
        if self.yz is None:
            torch.addcmul(self.floor, xy, xz, out=product)
        else:
            torch.mul(xz, self.yz[y].index_select(1, z), out=product)
            torch.addcmul(self.floor, xy, product, out=product)
        return (softplus.log_() @ self.weight + self.bias).view(shape)


def _exponentials(tables: _Tables) -> _Exponentials:
    parts = [table for table in (tables.xy, tables.xz, tables.yz) if table is not None]
    tops = [table.amax((0, 1)) for table in parts]
    largest = torch.stack(tops).sum(0)
    shift = (largest - LARGEST_EXPONENT).clamp(min=0)
    factors = [torch.exp(table - top) for table, top in zip(parts, tops, strict=True)]
    factors[0] *= torch.exp(largest - shift)
    return _Exponentials(
        xy=factors[0],
        xz=factors[1],
        yz=factors[2] if len(factors) == 3 else None,
        floor=torch.exp(-shift),
        weight=tables.weight,
        bias=tables.bias + shift @ tables.weight,
        buffer=tables.xy.new_empty((BLOCK + 1) ** 2 * CHUNK, len(tables.weight)),
    )
