"""Radiance fields held by three feature planes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.nets.decoder import Decoder
from tpn_engine.nets.presets import PlaneAxes

_CHUNK = 16384  # points decoded at once: their hidden layer stays in a core's cache

# World axis (0 x, 1 y, 2 z) that runs along each plane's width (u) and height (v). The official weights were trained
# with the third plane read as ZX, so YZ is never seen.
PLANE_AXES: dict[PlaneAxes, tuple[tuple[int, int], ...]] = {
    "xy_xz_zx": ((0, 1), (0, 2), (2, 0)),
    "xy_xz_yz": ((0, 1), (0, 2), (2, 1)),
}


def plane_coordinates(points: Tensor, axes: PlaneAxes) -> Tensor:
    """Points [..., 3] to each plane's (u, v) = (along width, along height), [3, ..., 2]."""
    return torch.stack([points[..., list(pair)] for pair in PLANE_AXES[axes]])


class PlaneSampler:
    """Planes made ready to be sampled many times.

    `planes` [B, 3, C, H, W] of any memory layout; sampling is bilinear, zero outside, with pixel
    centres half a pixel inside the box's faces (grid_sample's align_corners=False).
    """

    def __init__(self, planes: Tensor, axes: PlaneAxes, box_warp: float):
        # A gather of whole feature rows is some twenty times faster than grid_sample on a CPU, and
        # slower or missing elsewhere.
        kind = RowSampler if planes.device.type == "cpu" else GridSampler
        self._sampler = kind(planes, axes)
        self._scale = 2.0 / box_warp

    def __call__(self, points: Tensor) -> Tensor:
        """World points [B, N, 3] to the mean of the three planes' features [B, N, C]."""
        return self._sampler(points * self._scale)


class GridSampler:
    """Samples with grid_sample; points [B, N, 3] in [-1, 1] to the planes' mean [B, N, C]."""

    def __init__(self, planes: Tensor, axes: PlaneAxes):
        self.planes = planes.flatten(0, 1)
        self.axes: PlaneAxes = axes

    def __call__(self, points: Tensor) -> Tensor:
        batch, count = points.shape[:2]
        grid = plane_coordinates(points, self.axes).transpose(0, 1).reshape(batch * 3, 1, count, 2)
        features = F.grid_sample(self.planes, grid, mode="bilinear", align_corners=False)
        return features.view(batch, 3, self.planes.shape[1], count).mean(dim=1).transpose(1, 2)


class RowSampler:
    """As GridSampler: rows of a table [texels, C], weighted and summed by one fused operation.

    A ring of zero texels around each plane stands for the outside. XZ and ZX planes are read at the
    same place, one transposed, so their sum is read once.
    """

    def __init__(self, planes: Tensor, axes: PlaneAxes):
        rows = planes.permute(0, 1, 3, 4, 2) / 3  # mean over the planes
        self.pairs = PLANE_AXES[axes]
        if axes == "xy_xz_zx":
            rows = torch.stack([rows[:, 0], rows[:, 1] + rows[:, 2].transpose(1, 2)], dim=1)
            self.pairs = self.pairs[:2]
        self.batch, self.count, self.height, self.width, channels = rows.shape
        self.table = F.pad(rows, (0, 0, 1, 1, 1, 1)).reshape(-1, channels)

    def __call__(self, points: Tensor) -> Tensor:
        stride = self.width + 2
        texels = (self.height + 2) * stride
        starts = torch.arange(self.batch * self.count, dtype=torch.int32).view(self.batch, self.count) * texels
        indices, weights = [], []
        for plane, (u_axis, v_axis) in enumerate(self.pairs):
            column, right = self._split(points[..., u_axis], self.width)
            row, down = self._split(points[..., v_axis], self.height)
            corner = row * stride + column + starts[:, plane, None]
            indices += [corner, corner + 1, corner + stride, corner + stride + 1]
            left, up = 1 - right, 1 - down
            weights += [left * up, right * up, left * down, right * down]
        index = torch.stack(indices, dim=-1).flatten(0, 1)
        weight = torch.stack(weights, dim=-1).flatten(0, 1)
        features = F.embedding_bag(index, self.table, per_sample_weights=weight, mode="sum")
        return features.view(*points.shape[:2], self.table.shape[1])

    @staticmethod
    def _split(coordinate: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Coordinates in [-1, 1] to the index of the padded texel before them and the fraction beyond it."""
        position = ((coordinate + 1) * (size / 2) - 0.5).clamp(-1, size)
        before = position.detach().floor().clamp_(max=size - 1)
        return (before + 1).to(torch.int32), position - before


def sample_planes(planes: Tensor, points: Tensor, axes: PlaneAxes, box_warp: float) -> Tensor:
    """Features of world points: planes [B, 3, C, H, W], points [B, N, 3] to the planes' mean [B, N, C]."""
    return PlaneSampler(planes, axes, box_warp)(points)


@dataclass(frozen=True)
class TriplaneField:
    """One head as a radiance field: what a capture holds.

    `planes` [3, C, H, W] float32; the field fills the box [-box_warp/2, box_warp/2]^3.
    """

    planes: Tensor
    decoder: Decoder
    axes: PlaneAxes
    box_warp: float

    @cached_property
    def _sampler(self) -> PlaneSampler:
        return PlaneSampler(self.planes[None], self.axes, self.box_warp)

    def sample(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """World points [N, 3] to density [N, 1] before activation and colour features [N, C]."""
        parts = [self.decoder(self._sampler(chunk[None])[0]) for chunk in points.split(_CHUNK)]
        densities, features = zip(*parts, strict=True)
        return torch.cat(densities), torch.cat(features)

    def density(self, points: Tensor) -> Tensor:
        """World points [N, 3] to density [N] before activation."""
        return self.sample(points)[0][:, 0]

    def colors(self, points: Tensor) -> Tensor:
        """World points [N, 3] to sRGB [N, 3] in [0, 1]."""
        return self.sample(points)[1][:, :3].clamp(0, 1)

    def to(self, device: torch.device | str) -> TriplaneField:
        """The same field on another device. The decoder, a module, is moved itself."""
        return replace(self, planes=self.planes.to(device), decoder=self.decoder.to(device))
