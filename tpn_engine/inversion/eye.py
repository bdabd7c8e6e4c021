"""The photo's camera: what it sees of a first guess, and where it sees that there is nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.inversion.caster import Caster
from tpn_engine.inversion.subject import Subject
from tpn_engine.nets.volume import rays

_SIZE = 128  # pixels an edge of the depth picture
_TOLERANCE = 0.02  # EG3D units a point may lie behind the surface that the photo shows and still be seen
_BESIDE = 0.05  # of the matte, below which there is nobody


def project(label: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Points [N, 3] by a camera label [1, 25]: places [N, 2] in [-1, 1] as grid_sample reads them, depth [N]."""
    pose, intrinsics = label[0, :16].view(4, 4), label[0, 16:].view(3, 3)
    image = (points - pose[:3, 3]) @ pose[:3, :3] @ intrinsics.T
    return image[:, :2] / image[:, 2:].clamp(min=1e-3) * 2 - 1, image[:, 2]


def pixels_at(picture: Tensor, places: Tensor) -> Tensor:
    """A picture [1, C, S, S] between its pixels at places [N, 2] in [-1, 1]: [N, C]."""
    sampled = F.grid_sample(picture, places[None, None], padding_mode="border", align_corners=False)
    return sampled[0, :, 0].T


@dataclass(frozen=True)
class Eye:
    """A subject's camera with the first guess's depth [1, 1, S, S] along its axis, infinite beside the head."""

    subject: Subject
    depth: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, caster: Caster, subject: Subject) -> Eye:
        origins, directions = (part[0] for part in rays(subject.label, _SIZE))
        seen = caster.cast(origins, directions)
        axial = seen.distance * (directions @ subject.label[0, :16].view(4, 4)[:3, 2])
        return cls(subject, torch.where(seen.hit, axial, torch.inf).view(1, 1, _SIZE, _SIZE))

    def sees(self, points: Tensor) -> Tensor:
        """Which points [N, 3] nothing hides from the camera, bool [N]; none beside the head."""
        places, depth = project(self.subject.label, points)
        surface = F.grid_sample(self.depth, places[None, None], mode="nearest", align_corners=False)[0, 0, 0]
        return (depth < surface + _TOLERANCE) & surface.isfinite() & _framed(places)

    def sees_nobody(self, points: Tensor) -> Tensor:
        """Which points [N, 3] the photo shows beside the person, bool [N]; none of a photo without a matte."""
        places, _ = project(self.subject.label, points)
        if self.subject.matte is None:
            return torch.zeros_like(places[:, 0], dtype=torch.bool)
        return (pixels_at(self.subject.matte, places)[:, 0] < _BESIDE) & _framed(places)

    def color(self, points: Tensor) -> Tensor:
        """The photo's colour [N, 3] in [0, 1] at points [N, 3]."""
        return (pixels_at(self.subject.photo, project(self.subject.label, points)[0]) + 1) / 2


def _framed(places: Tensor) -> Tensor:
    return (places.abs() <= 1).all(-1)
