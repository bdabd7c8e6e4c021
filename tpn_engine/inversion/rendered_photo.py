"""A photo as rays through a cloud: random pixels are rendered as the photo's camera sees them."""

from __future__ import annotations

import torch
from torch import Tensor

from tpn_engine.inversion.losses import ms_ssim, smooth_l1, squared_error
from tpn_engine.inversion.pixels import Target, random_grid, see
from tpn_engine.inversion.subject import Subject
from tpn_engine.nets.generator import Generator

_STRUCTURE_WEIGHT, _MATTE_WEIGHT = 0.1, 0.5
_SMALLEST_PICTURE = 11  # pixels an edge, below which there is no structure to compare


class RenderedPhoto:
    """The photo at a fit's resolution; about `rays` random pixels of it are rendered at each step."""

    def __init__(self, subject: Subject, resolution: int, rays: int, random: torch.Generator) -> None:
        self._target = Target.of(subject.photo, subject.matte, resolution)
        self._rays, self._random = rays, random

    def loss(self, generator: Generator, planes: Tensor, label: Tensor) -> Tensor:
        """How unlike the photo planes [1, 3, C, H, W] are from a camera label [1, 25]: colour, structure, matte."""
        target = self._target
        grid = random_grid(target.resolution, self._rays, self._random, target.box())
        seen = see(planes, generator.decoder, generator.preset, label, target.resolution, grid.where)
        where = grid.where.to(label.device)
        truth = target.color[:, where]
        total = smooth_l1(seen.color, truth) + squared_error(seen.color, truth)
        if grid.edge >= _SMALLEST_PICTURE:
            total = total + _STRUCTURE_WEIGHT * (1 - ms_ssim(grid.as_picture(seen.color), grid.as_picture(truth)))
        if target.coverage is not None:
            total = total + _MATTE_WEIGHT * squared_error(seen.coverage, target.coverage[:, where])
        return total
