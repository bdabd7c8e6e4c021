"""Random pixels of a photo, and what a field shows in them, with gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.nets.decoder import Decoder
from tpn_engine.nets.presets import GeneratorPreset
from tpn_engine.nets.volume import rays, render_rays


@dataclass(frozen=True)
class PixelGrid:
    """One random pixel of each cell of a grid over a photo: `where` [G*G], row by row, in R x R pixels.

    Spread evenly as they are, the pixels are a small picture too: `as_picture` gives it to losses of structure.
    """

    where: Tensor
    edge: int

    def as_picture(self, pixels: Tensor) -> Tensor:
        """[1, G*G, C] to [1, C, G, G]."""
        return pixels.transpose(1, 2).unflatten(2, (self.edge, self.edge))


def random_grid(
    resolution: int, count: int, random: torch.Generator, box: tuple[int, int, int, int] | None = None
) -> PixelGrid:
    """About `count` pixels, or all there are, of R x R or of a box (top, left, bottom, right) in it."""
    top, left, bottom, right = box or (0, 0, resolution, resolution)
    edge = min(math.isqrt(count), bottom - top, right - left)
    inside = torch.rand(2, edge, edge, generator=random)
    cells = torch.arange(edge)
    rows = top + ((cells[:, None] + inside[0]) * ((bottom - top) / edge)).long()
    columns = left + ((cells[None, :] + inside[1]) * ((right - left) / edge)).long()
    return PixelGrid((rows.clamp(max=bottom - 1) * resolution + columns.clamp(max=right - 1)).flatten(), edge)


@dataclass(frozen=True)
class Pixels:
    """What rays see: `color` [1, N, 3] in about [0, 1] over the background, `coverage` and `depth` [1, N, 1]."""

    color: Tensor
    coverage: Tensor
    depth: Tensor


def see(
    planes: Tensor, decoder: Decoder, generator: GeneratorPreset, label: Tensor, resolution: int, where: Tensor
) -> Pixels:
    """Render the pixels `where` [N] of R x R from the camera label [1, 25]; planes [1, 3, C, H, W]."""
    origins, directions = rays(label, resolution)
    where = where.to(label.device)
    seen = render_rays(
        planes,
        decoder,
        generator.plane_axes,
        generator.box,
        origins[:, where],
        directions[:, where],
        generator.rendering,
    )
    return Pixels((seen.features[..., :3] + 1) / 2, seen.weights, seen.depth)


@dataclass(frozen=True)
class Target:
    """A photo at R x R, its pixels in rows: `color` [1, R*R, 3] in [0, 1], `coverage` [1, R*R, 1] or None."""

    resolution: int
    color: Tensor
    coverage: Tensor | None

    @classmethod
    def of(cls, photo: Tensor, matte: Tensor | None, resolution: int) -> Target:
        """From a photo [1, 3, S, S] in [-1, 1] and its matte [1, 1, S, S], averaged down or enlarged."""
        color = _resized((photo + 1) / 2, resolution).flatten(2).transpose(1, 2)
        coverage = None if matte is None else _resized(matte, resolution).flatten(2).transpose(1, 2)
        return cls(resolution, color, coverage)

    def box(self, margin: float = 0.04) -> tuple[int, int, int, int] | None:
        """Top, left, bottom and right around what is covered; None without a matte or with an empty one."""
        if self.coverage is None:
            return None
        size = self.resolution
        covered = (self.coverage[0, :, 0] > 0.1).view(size, size)
        if not covered.any():
            return None
        rows, columns = covered.any(1).nonzero()[:, 0], covered.any(0).nonzero()[:, 0]
        extra = round(margin * size)
        low = [max(0, int(found[0]) - extra) for found in (rows, columns)]
        high = [min(size, int(found[-1]) + 1 + extra) for found in (rows, columns)]
        return low[0], low[1], high[0], high[1]


def _resized(picture: Tensor, size: int) -> Tensor:
    if picture.shape[-1] % size == 0:
        return F.avg_pool2d(picture, picture.shape[-1] // size)
    return F.interpolate(picture, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
