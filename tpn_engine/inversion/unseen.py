"""What is known of a head where its photo doesn't look: the first guess, and the mirrored photo."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.camera import Camera
from tpn_engine.inversion.losses import smooth_l1, squared_error
from tpn_engine.inversion.pixels import see
from tpn_engine.inversion.subject import Subject
from tpn_engine.nets.field import sample_planes
from tpn_engine.nets.generator import Generator
from tpn_engine.nets.volume import rays

_CAMERAS = ((45, 0), (-45, 0), (100, 0), (-100, 0), (150, 10), (-150, 10), (0, 60), (180, 40))  # yaw, pitch
_SIZE = 44  # pixels an edge of the pictures from there
_SOURCE_SIZE = 96
_TOLERANCE = 0.02  # EG3D units a point may lie behind the surface that the photo shows and still be seen
_NEAR = 0.04  # standard deviation of the points scattered around the surface
_ANYWHERE = 8192  # points scattered over the whole box
_POINTS = 2048  # of each kind in a step
_STEP = 0.02  # EG3D units over which densities become opacities, which are what can be compared
_SEEN_SHARE = 0.3  # how much the shape that the photo sees is held, against the shape it doesn't


@dataclass(frozen=True)
class Unseen:
    """Points of a first guess that a photo's camera doesn't see, and what holds a fit to them.

    `surface` [1, N, 3] with the first guess's `color` [1, N, 3]; `mirrored` the photo's colour at the
    mirrored point with `trust` [1, N, 1] in [0, 1], 0 where the camera doesn't see that either. `around`
    [1, M, 3] with the first guess's `opacity` and `hold` [1, M, 1], how firmly.
    """

    generator: Generator
    surface: Tensor
    color: Tensor
    mirrored: Tensor
    trust: Tensor
    around: Tensor
    opacity: Tensor
    hold: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, generator: Generator, planes: Tensor, subject: Subject) -> Unseen:
        """From planes [1, 3, C, H, W] and the photo they were made from."""
        eye = _Eye.of(generator, planes, subject)
        points = torch.cat([_surface(generator, planes, camera) for camera in _labels(planes.device)], dim=1)
        random = torch.Generator().manual_seed(0)
        near = points + _NEAR * torch.randn(points.shape, generator=random).to(points.device)
        half = generator.preset.box_warp / 2
        anywhere = (torch.rand(1, _ANYWHERE, 3, generator=random) * 2 - 1).to(points.device) * half
        around = torch.cat([near, anywhere], dim=1)
        hold = torch.where(eye.sees(around) > 0, _SEEN_SHARE, 1.0)

        points = points[:, eye.sees(points)[0, :, 0] == 0]
        color = _sample(generator, planes, points)[1]
        mirror = points * points.new_tensor([-1.0, 1.0, 1.0])
        opacity = _opacity(_sample(generator, planes, around)[0])
        return cls(generator, points, color, eye.color(mirror), eye.sees(mirror), around, opacity, hold)

    def loss(self, planes: Tensor, keep: float, mirror: float, random: torch.Generator) -> Tensor:
        """How far planes [1, 3, C, H, W] are from the first guess, and from the mirrored photo, at some points."""
        some = torch.randint(self.around.shape[1], (_POINTS,), generator=random)
        there = torch.randint(max(self.surface.shape[1], 1), (min(_POINTS, self.surface.shape[1]),), generator=random)
        points = torch.cat([self.around[:, some], self.surface[:, there]], dim=1)
        density, color = _sample(self.generator, planes, points)
        total = keep * squared_error(_opacity(density[:, :_POINTS]), self.opacity[:, some], self.hold[:, some])
        trust = self.trust[:, there]
        total = total + keep * smooth_l1(color[:, _POINTS:], self.color[:, there], 1 - trust * (mirror > 0))
        return total + mirror * smooth_l1(color[:, _POINTS:], self.mirrored[:, there], trust)


@dataclass(frozen=True)
class _Eye:
    """The photo's camera with the first guess's depth along its axis [1, 1, S, S], infinite beside the head."""

    subject: Subject
    depth: Tensor

    @classmethod
    def of(cls, generator: Generator, planes: Tensor, subject: Subject) -> _Eye:
        pixels = torch.arange(_SOURCE_SIZE**2)
        seen = see(planes, generator.decoder, generator.preset, subject.label, _SOURCE_SIZE, pixels)
        return cls(subject, _axial(seen.depth, seen.coverage, subject.label, _SOURCE_SIZE))

    def sees(self, points: Tensor) -> Tensor:
        """1 for points [1, N, 3] that nothing hides from the camera, else 0: [1, N, 1]."""
        grid, depth = self._project(points)
        surface = F.grid_sample(self.depth, grid, mode="nearest", align_corners=False)[0, :, 0]
        framed = (grid[0].abs() <= 1).all(-1)
        return ((depth < surface + _TOLERANCE) & surface.isfinite() & framed)[..., None].float()

    def color(self, points: Tensor) -> Tensor:
        """The photo's colour [1, N, 3] in [0, 1] at points [1, N, 3]."""
        grid, _ = self._project(points)
        pixels = F.grid_sample(self.subject.photo, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return (pixels[:, :, 0].transpose(1, 2) + 1) / 2

    def _project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Grid coordinates [1, 1, N, 2] in [-1, 1] and depth [1, N]."""
        pose, intrinsics = self.subject.label[:, :16].view(4, 4), self.subject.label[:, 16:].view(3, 3)
        image = (points - pose[:3, 3]) @ pose[:3, :3] @ intrinsics.T
        return (image[..., :2] / image[..., 2:] * 2 - 1)[:, None], image[..., 2]


def _labels(device: torch.device) -> list[Tensor]:
    cameras = (Camera.orbit(yaw, pitch, look_at=(0.0, 0.0, 0.0)) for yaw, pitch in _CAMERAS)
    return [torch.from_numpy(camera.label)[None].to(device) for camera in cameras]


def _surface(generator: Generator, planes: Tensor, label: Tensor) -> Tensor:
    """Points [1, N, 3] of the surface as one camera sees it."""
    pixels = torch.arange(_SIZE**2)
    seen = see(planes, generator.decoder, generator.preset, label, _SIZE, pixels)
    origins, directions = rays(label, _SIZE)
    return (origins + seen.depth * directions)[:, seen.coverage[0, :, 0] > 0.9]


def _axial(depth: Tensor, coverage: Tensor, label: Tensor, size: int) -> Tensor:
    directions = rays(label, size)[1]
    axial = depth * (directions @ label[0, :16].view(4, 4)[:3, 2:3])
    return torch.where(coverage > 0.5, axial, torch.inf).view(1, 1, size, size)


def _sample(generator: Generator, planes: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    sampled = sample_planes(planes, points, generator.preset.plane_axes, generator.preset.box_warp)
    density, features = generator.decoder(sampled)
    return density, features[..., :3]


def _opacity(density: Tensor) -> Tensor:
    return 1 - torch.exp(-_STEP * F.softplus(density - 1))
