"""A photo as points in space: on the surface that its pixels show, and along rays that must meet the head or must not.

The field is asked there, not rendered: that costs a twentieth of volume rendering, and where a ray misses the head
there is still a point to learn from.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.inversion.caster import Caster, Hits
from tpn_engine.inversion.eye import pixels_at, project
from tpn_engine.inversion.losses import smooth_l1, squared_error
from tpn_engine.inversion.pixels import Target
from tpn_engine.inversion.subject import Subject
from tpn_engine.inversion.unseen import sample
from tpn_engine.nets.generator import Generator
from tpn_engine.nets.volume import rays as camera_rays

_LOOK_EVERY = 10  # steps after which the surface is looked for again
_BEFORE, _BEHIND = 0.004, 0.015  # EG3D units around the surface in which it should have the pixel's colour
_DEEP = 0.1  # EG3D units behind a surface that isn't there in which the space should be empty
_COVERED, _BARE = 0.7, 0.05  # translucent hair covers: its matte lies between .7 and .95


class PhotoPoints:
    """The photo at a fit's resolution, and which of its rays meet the head as it was when last looked at.

    `rays` are the points of each step on what the photo shows, `unit` the density's distance from `level` that
    makes an occupancy nearly certain, `matte_weight` that of the rays that should meet the head or pass it by.
    """

    def __init__(
        self,
        subject: Subject,
        resolution: int,
        rays: int,
        level: float,
        unit: float,
        matte_weight: float,
        random: torch.Generator,
    ) -> None:
        self._count, self._size, self._level, self._unit = rays, resolution, level, unit
        self._weight, self._random = matte_weight, random
        target = Target.of(subject.photo, subject.matte, resolution)
        self._picture = target.color[0].T.unflatten(1, (resolution, resolution))[None]
        matte = torch.ones_like(target.color[0, :, 0]) if target.coverage is None else target.coverage[0, :, 0]
        self._covered, self._bare = matte > _COVERED, matte < _BARE
        self._matted = target.coverage is not None
        self._hits: Hits
        self._steps = 0

    def _look(self, generator: Generator, planes: Tensor, label: Tensor) -> None:
        self._origins, self._directions = (part[0] for part in camera_rays(label, self._size))
        self._hits = Caster.of(generator, planes, self._level).cast(self._origins, self._directions)
        hit, covered = self._hits.hit, self._covered
        self._shown = (hit & covered & self._hits.smooth(self._size)).nonzero()[:, 0]
        self._missed = (~hit & covered & self._hits.boxed & self._matted).nonzero()[:, 0]
        self._wrong = (hit & self._bare).nonzero()[:, 0]

    def loss(self, generator: Generator, planes: Tensor, label: Tensor) -> Tensor:
        """How unlike the photo planes [1, 3, C, H, W] are from a camera label [1, 25].

        The colours where it shows the surface, and the rays that should meet the head or pass it by.
        """
        if self._steps % _LOOK_EVERY == 0:
            self._look(generator, planes.detach(), label.detach())
        self._steps += 1
        count = self._count
        shown, missed, wrong = (
            self._some(part, number)
            for part, number in ((self._shown, count), (self._missed, count // 4), (self._wrong, count // 4))
        )
        reach = _BEFORE * self._normal(len(shown))
        behind = self._uniform(len(shown)) < 0.5
        reach = torch.where(behind, _BEHIND * self._exponential(len(shown)), reach)
        points = torch.cat(
            [
                self._along(shown, self._hits.distance[shown] + reach),
                self._along(missed, self._hits.densest[missed]),
                self._along(wrong, self._hits.distance[wrong] + _DEEP * self._exponential(len(wrong))),
            ]
        )
        density, color = sample(generator, planes, points)
        total = color.new_zeros(())
        if len(shown):
            truth = pixels_at(self._picture, project(label, points[: len(shown)])[0])
            seen = color[: len(shown)]
            total = total + 2 * (smooth_l1(seen, truth) + squared_error(seen, truth))
        certainty = (density[len(shown) :] - self._level) / self._unit
        for part, sign, whole in (
            (certainty[: len(missed)], 1.0, self._missed),
            (certainty[len(missed) :], -1.0, self._wrong),
        ):
            if len(part):  # as many as they are: few leave the rest in peace
                share = len(whole) / max(int(self._covered.sum()), 1)
                total = total + self._weight * 10 * share * F.softplus(1 - sign * part).mean()
        return total

    def _some(self, indices: Tensor, count: int) -> Tensor:
        if not len(indices):
            return indices
        return indices[torch.randint(len(indices), (count,), generator=self._random).to(indices.device)]

    def _along(self, which: Tensor, distance: Tensor) -> Tensor:
        return self._origins[which] + self._directions[which] * distance[:, None]

    def _normal(self, count: int) -> Tensor:
        return torch.randn(count, generator=self._random).to(self._origins.device)

    def _uniform(self, count: int) -> Tensor:
        return torch.rand(count, generator=self._random).to(self._origins.device)

    def _exponential(self, count: int) -> Tensor:
        return -(1 - self._uniform(count)).log()
