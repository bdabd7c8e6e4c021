"""Where rays meet a head, found on a lattice of its density: a fiftieth of the cost of rendering them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.nets.box import Box
from tpn_engine.nets.field import TriplaneField
from tpn_engine.nets.generator import Generator
from tpn_engine.nets.volume import box_crossing
from tpn_engine.surface.density import Lattice, dense_density

_POINTS = 96  # of the lattice along each edge
_SAMPLES = 128  # along each ray
_CHUNK = 16384  # rays at once
_EDGE = 0.05  # EG3D units between the distances of neighbouring pixels that mean two surfaces


@dataclass(frozen=True)
class Hits:
    """What N rays meet: `distance` [N] to the first crossing of the level and whether there is one, `hit` [N].

    `densest` [N] is the distance to the densest sample, `boxed` [N] whether the ray meets the box at all.
    """

    distance: Tensor
    hit: Tensor
    densest: Tensor
    boxed: Tensor

    def smooth(self, size: int) -> Tensor:
        """For the rays of an image of `size` x `size`: whether a pixel and its neighbours show one surface, [N]."""
        distance = torch.where(self.hit, self.distance, 10.0).view(1, 1, size, size)
        spread = F.max_pool2d(distance, 3, 1, 1) + F.max_pool2d(-distance, 3, 1, 1)
        return (spread < _EDGE).flatten()


@dataclass(frozen=True)
class Caster:
    """A head's density less its level on a lattice [1, 1, Z, Y, X] over its `box`.

    On the CPU, whatever the planes are on: sampling volumes is missing on some devices.
    """

    above: Tensor
    box: Box

    @classmethod
    @torch.no_grad()
    def of(cls, generator: Generator, planes: Tensor, level: float) -> Caster:
        """The head of planes [1, 3, C, H, W]."""
        box = generator.preset.box
        field = TriplaneField(planes[0].detach(), generator.decoder, generator.preset.plane_axes, box)
        values = dense_density(field, Lattice(_POINTS, box)).cpu()
        return cls(values.permute(2, 1, 0)[None, None] - level, box)

    @torch.no_grad()
    def cast(self, origins: Tensor, directions: Tensor) -> Hits:
        """Rays from `origins` [N, 3] along unit `directions` [N, 3]; the results are on their device."""
        pieces = zip(origins.cpu().split(_CHUNK), directions.cpu().split(_CHUNK), strict=True)
        found = [self._cast(*piece) for piece in pieces]
        return Hits(*(torch.cat(parts).to(origins.device) for parts in zip(*found, strict=True)))

    def _cast(self, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        near, far = (distance[:, 0] for distance in box_crossing(origins, directions, self.box))
        low, high = origins.new_tensor(self.box.low), origins.new_tensor(self.box.high)
        boxed = far > near
        step = (far - near).clamp(min=0) / (_SAMPLES - 1)
        along = near[:, None] + step[:, None] * torch.arange(_SAMPLES)
        points = origins[:, None] + directions[:, None] * along[..., None]
        places = (points - low) * (2 / (high - low)) - 1
        above = F.grid_sample(self.above, places[None, None], align_corners=True)[0, 0, 0]
        inside = above > 0
        first = inside.float().argmax(1, keepdim=True)
        here, before = above.gather(1, first), above.gather(1, (first - 1).clamp(min=0))
        back = torch.where(first > 0, here / (here - before).clamp(min=1e-6), 0.0)
        distance = near + ((first - back) * step[:, None])[:, 0]
        return distance, inside.any(1) & boxed, near + above.argmax(1) * step, boxed
