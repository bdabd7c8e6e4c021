"""What is known of a head where its photo doesn't look: the first guess, the mirrored photo, the empty space beside."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.camera import Camera
from tpn_engine.inversion.caster import Caster
from tpn_engine.inversion.eye import Eye
from tpn_engine.inversion.losses import smooth_l1, squared_error
from tpn_engine.nets.field import sample_planes
from tpn_engine.nets.generator import Generator
from tpn_engine.nets.volume import rays

_CAMERAS = ((45, 0), (-45, 0), (100, 0), (-100, 0), (150, 10), (-150, 10), (0, 60), (180, 40))  # yaw, pitch
_SIZE = 64  # pixels an edge of the pictures from there
_NEAR = 0.03  # standard deviation of the points scattered around the surface
_ANYWHERE = 20000  # points scattered over the whole box
_AT_SURFACE = 0.01  # EG3D units from the surface at which a density is one unit of certainty from the level
_MIRRORED = 0.5  # how far the mirrored photo is believed against the first guess


@dataclass(frozen=True)
class Unseen:
    """Points that hold a fit where the photo's camera doesn't look.

    `surface` [N, 3] is the first guess's that the camera doesn't see, with the `color` [N, 3] it should keep: the
    first guess's, half way to the mirrored photo's where that sees it. `around` [M, 3] has the first guess's
    `occupancy` [M] in [0, 1]; `beside` [K, 3] lies where the photo shows nobody. `unit` is the density's distance
    from `level` that makes an occupancy nearly certain.
    """

    generator: Generator
    level: float
    unit: float
    surface: Tensor
    color: Tensor
    around: Tensor
    occupancy: Tensor
    beside: Tensor

    @classmethod
    @torch.no_grad()
    def of(
        cls, generator: Generator, planes: Tensor, level: float, caster: Caster, eye: Eye, random: torch.Generator
    ) -> Unseen:
        """From planes [1, 3, C, H, W] and who looked at them."""
        points = torch.cat([surface_seen(caster, camera) for camera in _labels(planes.device)])

        unit = density_unit(generator, planes, level, points, random)
        box = generator.preset.box
        low, high = points.new_tensor(box.low), points.new_tensor(box.high)
        anywhere = torch.lerp(low, high, torch.rand(_ANYWHERE, 3, generator=random).to(points.device))
        around = torch.cat([points + _NEAR * _noise(points, random) for _ in range(2)] + [anywhere])
        nobody = eye.sees_nobody(around)
        around, beside = around[~nobody], around[nobody]
        occupancy = torch.sigmoid((sample(generator, planes, around)[0] - level) / unit)

        points = points[~eye.sees(points) & ~eye.sees_nobody(points)]
        color = sample(generator, planes, points)[1]
        mirror = points * points.new_tensor([-1.0, 1.0, 1.0])
        trust = _MIRRORED * eye.sees(mirror)[:, None]
        color = torch.lerp(color, eye.color(mirror), trust.float())
        return cls(generator, level, unit, points, color, around, occupancy, beside)

    def loss(self, planes: Tensor, count: int, keep: float, carve: float, random: torch.Generator) -> Tensor:
        """How far planes [1, 3, C, H, W] are from all that, at about `count` points of each kind."""
        around, surface, beside = (_some(len(part), count, random) for part in (self.around, self.surface, self.beside))
        parts = [self.around[around], self.surface[surface], self.beside[beside]]
        density, color = sample(self.generator, planes, torch.cat(parts))
        lengths = [len(part) for part in parts]
        held, _, bare = ((density - self.level) / self.unit).split(lengths)
        total = keep * squared_error(torch.sigmoid(held), self.occupancy[around])
        if len(surface):
            total = total + keep / 3 * smooth_l1(color.split(lengths)[1], self.color[surface])
        if len(beside):
            total = total + carve * F.softplus(bare + 1).mean()
        return total


def density_unit(generator: Generator, planes: Tensor, level: float, surface: Tensor, random: torch.Generator) -> float:
    """How far from `level` the density of planes [1, 3, C, H, W] is just beside its surface's points [N, 3]."""
    if not len(surface):
        return 1.0
    densities = sample(generator, planes, surface + _AT_SURFACE * _noise(surface, random))[0]
    return max((densities - level).abs().median().item(), 1e-3)


def sample(generator: Generator, planes: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Density [N] and colour [N, 3] of planes [1, 3, C, H, W] at points [N, 3]."""
    sampled = sample_planes(planes, points[None], generator.preset.plane_axes, generator.preset.box)
    density, features = generator.decoder(sampled[0])
    return density[:, 0], features[:, :3]


def _noise(points: Tensor, random: torch.Generator) -> Tensor:
    return torch.randn(points.shape, generator=random).to(points.device)


def _some(available: int, count: int, random: torch.Generator) -> Tensor:
    return torch.randint(max(available, 1), (min(count, available),), generator=random)


def _labels(device: torch.device) -> list[Tensor]:
    cameras = (Camera.orbit(yaw, pitch, look_at=(0.0, 0.0, 0.0)) for yaw, pitch in _CAMERAS)
    return [torch.from_numpy(camera.label)[None].to(device) for camera in cameras]


def surface_seen(caster: Caster, label: Tensor) -> Tensor:
    """Points [N, 3] of the surface as one camera sees it."""
    origins, directions = (part[0] for part in rays(label, _SIZE))
    seen = caster.cast(origins, directions)
    return (origins + directions * seen.distance[:, None])[seen.hit]
