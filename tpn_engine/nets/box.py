"""The part of the world that a field of planes fills."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

KNEE = -0.3  # EG3D units: a face's detail lies before it


@dataclass(frozen=True)
class Box:
    """EG3D's cube of edge `warp` about the origin and, if a head needs it, `back` EG3D units more behind it.

    The planes are the cube's: what lies behind z = KNEE is pressed together on them until it fits.
    """

    warp: float = 1.0
    back: float = 0.0

    @property
    def low(self) -> tuple[float, float, float]:
        """The corner of the smallest x, y and z."""
        return (-self.warp / 2, -self.warp / 2, -self.warp / 2 - self.back)

    @property
    def high(self) -> tuple[float, float, float]:
        """The corner of the largest x, y and z."""
        return (self.warp / 2, self.warp / 2, self.warp / 2)

    def on_planes(self, points: Tensor) -> Tensor:
        """World points [..., 3] to the planes' coordinates [..., 3], -1 to 1 inside the box."""
        if not self.back:
            return points * (2 / self.warp)
        z = points[..., 2:]
        pressed = torch.where(z < KNEE, KNEE + (z - KNEE) * self._pressed, z)
        return torch.cat([points[..., :2], pressed], dim=-1) * (2 / self.warp)

    def depth(self, place: Tensor) -> Tensor:
        """The z of the world at the planes' coordinate `place`, -1 to 1, of any shape."""
        z = place * (self.warp / 2)
        return torch.where(z < KNEE, KNEE + (z - KNEE) / self._pressed, z) if self.back else z

    @property
    def _pressed(self) -> float:
        room = self.warp / 2 + KNEE
        return room / (room + self.back)
