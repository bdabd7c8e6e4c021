"""Radiance fields held by three feature planes, or by four that tell front from back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.nets.box import Box
from tpn_engine.nets.decoder import Decoder
from tpn_engine.nets.presets import PlaneAxes
from tpn_engine.nets.silhouette import Silhouette

_CHUNK = 16384  # points decoded at once: their hidden layer stays in a core's cache

# World axis (0 x, 1 y, 2 z) that runs along each plane's width (u) and height (v). The official weights were trained
# with the third plane read as ZX, so YZ is never seen.
PLANE_AXES: dict[PlaneAxes, tuple[tuple[int, int], ...]] = {
    "xy_xz_zx": ((0, 1), (0, 2), (2, 0)),
    "xy_xz_yz": ((0, 1), (0, 2), (2, 1)),
}


BEHIND = ((0, 1),)  # the fourth plane's, if there is one
BACK_BEGINS, FRONT_ENDS = -0.1, -0.25  # z between which the fourth plane takes over from the first


def plane_coordinates(points: Tensor, axes: PlaneAxes, planes: int = 3) -> Tensor:
    """Points [..., 3] to each plane's (u, v) = (along width, along height), [planes, ..., 2]."""
    pairs = PLANE_AXES[axes] + BEHIND[: planes - 3]
    # Indexing with a list of axes would copy it to the device and wait.
    return torch.stack([torch.stack([points[..., u], points[..., v]], dim=-1) for u, v in pairs])


def front_share(z: Tensor) -> Tensor:
    """How far points at z, of any shape, belong to the first of four planes; the rest is the fourth's."""
    t = ((z - FRONT_ENDS) / (BACK_BEGINS - FRONT_ENDS)).clamp(0, 1)
    return t * t * (3 - 2 * t)


class PlaneSampler:
    """Planes made ready to be sampled many times.

    `planes` [B, 3 or 4, C, H, W] of any memory layout; sampling is bilinear, zero outside, with pixel
    centres half a pixel inside the box's faces (grid_sample's align_corners=False). A fourth plane lies on the
    first and takes over from it behind, so that a face leaves no print on the back of its head (a tri-grid of two
    layers on XY alone, after An et al. 2023).
    """

    def __init__(self, planes: Tensor, axes: PlaneAxes, box: Box):
        # A gather of whole feature rows is some twenty times faster than grid_sample on a CPU, and
        # slower or missing elsewhere.
        kind = RowSampler if planes.device.type == "cpu" else GridSampler
        self._sampler = kind(planes, axes)
        self._box, self._layered = box, planes.shape[1] == 4

    def __call__(self, points: Tensor) -> Tensor:
        """World points [B, N, 3] to the mean of three planes' features [B, N, C]."""
        return self._sampler(self._box.on_planes(points), front_share(points[..., 2]) if self._layered else None)


class GridSampler:
    """Samples with grid_sample; points [B, N, 3] in [-1, 1], shares [B, N] if there are four planes."""

    def __init__(self, planes: Tensor, axes: PlaneAxes):
        self.planes = planes.flatten(0, 1)
        self.count = planes.shape[1]
        self.axes: PlaneAxes = axes

    def __call__(self, points: Tensor, share: Tensor | None) -> Tensor:
        """The mean of three planes' features [B, N, C]."""
        batch, count = points.shape[:2]
        grid = plane_coordinates(points, self.axes, self.count).transpose(0, 1).reshape(-1, 1, count, 2)
        features = F.grid_sample(self.planes, grid, mode="bilinear", align_corners=False)
        features = features.view(batch, self.count, -1, count)
        if share is not None:
            front = torch.lerp(features[:, 3], features[:, 0], share[:, None])
            features = torch.stack([front, features[:, 1], features[:, 2]], dim=1)
        return features.mean(dim=1).transpose(1, 2)


class RowSampler:
    """As GridSampler: rows of a table [texels, C], weighted and summed by one fused operation.

    A ring of zero texels around each plane stands for the outside. XZ and ZX planes are read at the
    same place, one transposed, so their sum is read once.
    """

    def __init__(self, planes: Tensor, axes: PlaneAxes):
        rows = planes.permute(0, 1, 3, 4, 2) / 3  # mean over three
        self.pairs = PLANE_AXES[axes] + BEHIND[: planes.shape[1] - 3]
        if axes == "xy_xz_zx":
            rows = torch.stack([rows[:, 0], rows[:, 1] + rows[:, 2].transpose(1, 2), *rows[:, 3:].unbind(1)], dim=1)
            self.pairs = self.pairs[:2] + self.pairs[3:]
        self.batch, self.count, self.height, self.width, channels = rows.shape
        self.table = F.pad(rows, (0, 0, 1, 1, 1, 1)).reshape(-1, channels)

    def __call__(self, points: Tensor, share: Tensor | None) -> Tensor:
        """The mean of three planes' features [B, N, C]."""
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
            if share is not None and plane in (0, self.count - 1):
                part = share if plane == 0 else 1 - share
                up, down = up * part, down * part
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


def sample_planes(planes: Tensor, points: Tensor, axes: PlaneAxes, box: Box) -> Tensor:
    """Features of world points: planes [B, 3 or 4, C, H, W], points [B, N, 3] to the mean [B, N, C]."""
    return PlaneSampler(planes, axes, box)(points)


def sample_detail(detail: Tensor, points: Tensor, planes: int, box: Box) -> Tensor:
    """What features [B, N, C] gain by adding `detail` [B, C, H, W], of whatever size, to the first of the planes."""
    grid = box.on_planes(points)[:, None, :, :2]
    gain = F.grid_sample(detail, grid, mode="bilinear", align_corners=False)[:, :, 0].transpose(1, 2) / 3
    return gain * front_share(points[..., 2:]) if planes == 4 else gain


@dataclass(frozen=True, eq=False)
class TriplaneField:
    """One head as a radiance field: what a capture holds.

    `planes` [3 or 4, C, H, W] float32; the field fills `box`, and of that no more than the `silhouette` leaves.
    The head is a cloud or, where its density leaps at the level `surface`, opaque beyond it.
    """

    planes: Tensor
    decoder: Decoder
    axes: PlaneAxes
    box: Box
    silhouette: Silhouette | None = None
    surface: float | None = None

    @cached_property
    def _sampler(self) -> PlaneSampler:
        return PlaneSampler(self.planes[None], self.axes, self.box)

    def sample(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """World points [N, 3] to density [N, 1] before activation and colour features [N, C]."""
        parts = [self.decoder(self._sampler(chunk[None])[0]) for chunk in points.split(_CHUNK)]
        densities, features = (torch.cat(part) for part in zip(*parts, strict=True))
        if self.silhouette is not None:
            densities = torch.minimum(densities, self.silhouette.bound(points)[:, None])
        return densities, features

    def density(self, points: Tensor) -> Tensor:
        """World points [N, 3] to density [N] before activation."""
        return self.sample(points)[0][:, 0]

    def colors(self, points: Tensor) -> Tensor:
        """World points [N, 3] to sRGB [N, 3] in [0, 1]."""
        return self.sample(points)[1][:, :3].clamp(0, 1)

    def to(self, device: torch.device | str) -> TriplaneField:
        """The same field on another device. The decoder, a module, is moved itself."""
        silhouette = self.silhouette and self.silhouette.to(device)
        return replace(self, planes=self.planes.to(device), decoder=self.decoder.to(device), silhouette=silhouette)
