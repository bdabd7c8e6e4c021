"""How unlike a photo a head is, for fits of codes and of weights."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from tpn_engine.inversion.caster import Caster
from tpn_engine.inversion.options import FitOptions
from tpn_engine.inversion.photo_points import PhotoPoints
from tpn_engine.inversion.rendered_photo import RenderedPhoto
from tpn_engine.inversion.subject import Subject
from tpn_engine.inversion.unseen import density_unit, surface_seen
from tpn_engine.nets.generator import Generator
from tpn_engine.nets.presets import Preset

_POINTS_PER_RAY = 4  # a ray's samples cost more than so many points
_MATTE_WEIGHT = 0.3


class PhotoLoss(Protocol):
    """What compares planes [1, 3, C, H, W], seen by a camera label [1, 25], with a photo, some of it at a time."""

    def loss(self, generator: Generator, planes: Tensor, label: Tensor) -> Tensor: ...


@torch.no_grad()
def photo_loss(
    preset: Preset,
    generator: Generator,
    start: Tensor,
    subject: Subject,
    options: FitOptions,
    random: torch.Generator,
) -> PhotoLoss:
    """A photo as points if the preset's heads are surfaces, else as rays; a fit begins at planes `start`.

    A surface's density leaps, so that only the samples next to it would get gradients from a rendering, and those
    of the noisiest kind.
    """
    if not preset.opaque:
        return RenderedPhoto(subject, options.resolution, options.rays, random)
    level = preset.iso_level
    surface = surface_seen(Caster.of(generator, start, level), subject.label)
    unit = density_unit(generator, start, level, surface, random)
    return PhotoPoints(subject, options.resolution, options.rays * _POINTS_PER_RAY, level, unit, _MATTE_WEIGHT, random)
