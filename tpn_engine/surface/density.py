"""The density of a tri-plane field on a lattice, exactly, and only where a surface can be.

A lattice is separable: the decoder's first layer is linear, so it is applied to the planes once,
on the lattice's own rows and columns, and the pre-activation of hidden unit h at a lattice point is

    s_h = xy_h[x, y] + xz_h[x, z] (+ yz_h[y, z]).

exp(s_h) is then a product of tabulated exponentials, and density = b + sum_h w_h log(1 + exp(s_h))
costs one multiply-add, one logarithm and one dot product for each voxel and unit.

With a fourth plane xy_h is another where it has taken over, and where both have a part in the density,
s_h is their blend and the logarithm is taken of each exp(s_h) as it is.

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
from tpn_engine.nets.box import Box
from tpn_engine.nets.field import TriplaneField, front_share, plane_coordinates
from tpn_engine.nets.layers import FullyConnected
from tpn_engine.nets.silhouette import Silhouette
from tpn_engine.progress import SILENT, Progress

BLOCK = 8  # cells along a block's edge
SLAB = 8  # blocks along x that are bounded at once
DEEP = 1e9  # from the level, more than any bound: the density of a point whose own was not needed
POINTS = 2**18  # bounded at once
CHUNK = 32  # points along z computed at once: with 64 units 0.7 MB, which stays in a core's cache
LARGEST_EXPONENT = 60.0  # exp of it, times any tabulated factor, is finite in float32
ROUNDING = 1e-5  # relative error allowed to the float32 evaluation when a block is skipped


@dataclass(frozen=True)
class Lattice:
    """`resolution` points along each edge of a field's `box`, both ends included.

    The first and last `trim` points of each axis are left out (EG3D's scripts cut 30 of 256).
    """

    resolution: int
    box: Box
    trim: int = 0

    @property
    def step(self) -> np.ndarray:
        """Distance of neighbouring points along x, y and z, EG3D units, float64 [3]."""
        return np.subtract(self.box.high, self.box.low) / (self.resolution - 1)

    @property
    def coordinates(self) -> np.ndarray:
        """The points' coordinates along x, y and z, float64 [3, points]."""
        whole = np.linspace(self.box.low, self.box.high, self.resolution, axis=1)
        return whole[:, self.trim : self.resolution - self.trim]


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
    if field.silhouette is not None:
        _bound(values, lattice, field.silhouette, torch.ones_like(values, dtype=torch.bool))
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
    if field.silhouette is not None:
        _bound(values, lattice, field.silhouette, values > level - DEEP / 2)  # the others are far outside
    return SurfaceDensity(values.cpu().numpy(), float(crossed.float().mean()))


@dataclass(frozen=True)
class _Tables:
    """Pre-activations on the lattice's planes, hidden units last, and the decoder's density row."""

    xy: Tensor  # [X, Y, H], the first layer's bias included
    behind: Tensor | None  # the same of the fourth plane
    share: Tensor  # [Z], how far a point belongs to xy
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
    axes = torch.from_numpy(lattice.coordinates.astype(np.float32)).to(device)

    def features(plane: int, across: tuple[int, int]) -> Tensor:
        """One plane on the lattice points spanned by two world axes, [points, points, C]."""
        points = axes.new_zeros(axes.shape[1], axes.shape[1], 3)
        points[..., across[0]] = axes[across[0], :, None]
        points[..., across[1]] = axes[across[1], None, :]
        grid = plane_coordinates(field.box.on_planes(points), field.axes, len(field.planes))[plane]
        sampled = F.grid_sample(
            field.planes[plane][None], grid[None], mode="bilinear", padding_mode="zeros", align_corners=False
        )
        return sampled[0].permute(1, 2, 0)

    with torch.no_grad():
        xy, xz, yz = features(0, (0, 1)), features(1, (0, 2)), None
        behind = features(3, (0, 1)) @ first_weight.T + first_bias if len(field.planes) == 4 else None
        if field.axes == "xy_xz_zx":
            xz = xz + features(2, (0, 2))
        else:
            yz = features(2, (1, 2)) @ first_weight.T
        if not torch.isfinite(xy.sum() + xz.sum()):
            raise ModelError("The head's planes hold values that are not numbers: capture it again.")
        return _Tables(
            xy=xy @ first_weight.T + first_bias,
            behind=behind,
            share=front_share(axes[2]) if behind is not None else torch.ones_like(axes[2]),
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
    count = len(starts)
    lower = torch.empty(count, count, count, device=starts.device)
    upper = torch.empty_like(lower)
    shares = tables.share[starts[:, None] + torch.arange(BLOCK + 1, device=starts.device)]
    for layers, there in _layers(tables, shares.amin(1), shares.amax(1)):
        xy, xz = _blocked(layers, starts, starts), _blocked([tables.xz], starts, starts[there])
        yz = None if tables.yz is None else _blocked([tables.yz], starts, starts[there])
        for slab in _slabs(count):
            bounds = _slab_bounds(tables, xy.along_x(slab), xz.along_x(slab), yz)
            lower[slab, :, there], upper[slab, :, there] = bounds
    return lower, upper


def _layers(tables: _Tables, least: Tensor, most: Tensor) -> list[tuple[list[Tensor], Tensor]]:
    """The tables on XY that have a part in what lies at some z [N], and the indices of where they do.

    `least` and `most` [N] are the shares of the first one there.
    """
    if tables.behind is None:
        return [([tables.xy], torch.arange(len(least), device=least.device))]
    front, back = least == 1, most == 0
    found = (([tables.xy], front), ([tables.behind], back), ([tables.xy, tables.behind], ~front & ~back))
    return [(layers, there.nonzero()[:, 0]) for layers, there in found if there.any()]


def _slabs(blocks: int) -> list[slice]:
    return [slice(first, first + SLAB) for first in range(0, blocks, SLAB)]


@dataclass(frozen=True)
class _Blocked:
    """Tables in blocks, all that they hold there, and that as middle +- radius."""

    values: Tensor  # [blocks, blocks, tables (BLOCK + 1)^2, H]
    middle: Tensor  # [blocks, blocks, H]
    radius: Tensor  # [blocks, blocks, H]

    def along_x(self, slab: slice) -> _Blocked:
        return _Blocked(self.values[slab], self.middle[slab], self.radius[slab])


def _blocked(tables: list[Tensor], down: Tensor, across: Tensor) -> _Blocked:
    steps = torch.arange(BLOCK + 1, device=down.device)
    rows, columns = down[:, None] + steps, across[:, None] + steps
    values = torch.cat([table[rows[:, None, :, None], columns[None, :, None, :]] for table in tables], dim=3)
    values = values.flatten(2, 3)
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
    edge = BLOCK + 1
    of_xy = (xy.values @ gradient.transpose(2, 3)).unflatten(2, (edge, -1))  # [i, j, x, y of each table, k]
    of_xz = (xz.values @ gradient.permute(0, 2, 3, 1)).unflatten(2, (edge, edge))  # [i, k, x, z, j]
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
    values.fill_(level - DEEP)
    for x, y, z in starts[inside.nonzero()].tolist():
        values[x : x + BLOCK + 1, y : y + BLOCK + 1, z : z + BLOCK + 1] = level + DEEP


def _bound(values: Tensor, lattice: Lattice, silhouette: Silhouette, chosen: Tensor) -> None:
    """Bound the densities of the `chosen` points, [X, Y, Z] bool, by the silhouette."""
    x, y, z = torch.from_numpy(lattice.coordinates.astype(np.float32)).to(values.device)
    flat, count = values.view(-1), len(x)
    for some in chosen.view(-1).nonzero()[:, 0].split(POINTS):
        column = some // count
        points = torch.stack([x[column // count], y[column % count], z[some % count]], dim=-1)
        flat[some] = torch.minimum(flat[some], silhouette.bound(points))


def _fill(values: Tensor, tables: _Tables, starts: Tensor, chosen: Tensor, progress: Progress) -> None:
    """Compute the density at every point of the `chosen` blocks, column by column along z."""
    parts = [(_evaluator(tables, layers), there) for layers, there in _layers(tables, tables.share, tables.share)]
    edge = torch.arange(BLOCK + 1, device=starts.device)
    firsts = starts.tolist()
    columns = chosen.any(2).nonzero().tolist()
    for done, (i, j) in enumerate(columns):
        x, y = (slice(firsts[block], firsts[block] + BLOCK + 1) for block in (i, j))
        heights = (starts[chosen[i, j]][:, None] + edge).unique()
        for evaluator, there in parts:
            here = heights[torch.isin(heights, there)]
            for z in here.split(CHUNK) if len(here) else ():
                values[x, y].index_copy_(2, z, evaluator.density(x, y, z))
        if done % len(firsts) == 0:
            progress("density", done / len(columns))
    progress("density", 1.0)


def _evaluator(tables: _Tables, layers: list[Tensor]) -> _Exponentials | _Blend:
    return _Blend(tables) if len(layers) == 2 else _exponentials(tables, layers[0])


@dataclass(frozen=True)
class _Blend:
    """Where two planes have a part in the density: their sum with the others, as it is."""

    tables: _Tables

    def density(self, x: slice, y: slice, z: Tensor) -> Tensor:
        """Density of the points x, y, z, [BLOCK + 1, BLOCK + 1, len(z)]."""
        tables = self.tables
        assert tables.behind is not None
        share = tables.share[z][:, None]
        hidden = torch.lerp(tables.behind[x, y, None], tables.xy[x, y, None], share)
        hidden = hidden + tables.xz[x].index_select(1, z)[:, None]
        if tables.yz is not None:
            hidden += tables.yz[y].index_select(1, z)
        return F.softplus(hidden) @ tables.weight + tables.bias


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


def _exponentials(tables: _Tables, xy: Tensor) -> _Exponentials:
    parts = [table for table in (xy, tables.xz, tables.yz) if table is not None]
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
        buffer=xy.new_empty((BLOCK + 1) ** 2 * CHUNK, len(tables.weight)),
    )
