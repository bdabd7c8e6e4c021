"""A bounded fit of planes and camera to the photo, after TriPlaneNet and held to it where nothing is seen.

The field is asked at points, not rendered: on the surface that each pixel shows, along rays that must meet the
head or must not, and around it. That costs a twentieth of volume rendering, and where a ray misses the head
there is still a point to learn from.
"""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.checkpoints import Model
from tpn_engine.inversion.caster import Caster, Hits
from tpn_engine.inversion.eye import Eye, pixels_at, project
from tpn_engine.inversion.fitting import Clock, Observer, fit
from tpn_engine.inversion.losses import smooth_l1, squared_error, total_variation
from tpn_engine.inversion.options import RefineFitOptions, TriplaneNetOptions
from tpn_engine.inversion.pixels import Target
from tpn_engine.inversion.preview import preview
from tpn_engine.inversion.stages import Stages
from tpn_engine.inversion.subject import Inversion, Subject
from tpn_engine.inversion.triplanenet import invert_triplanenet
from tpn_engine.inversion.unseen import Unseen, sample
from tpn_engine.nets.volume import rays

# Offsets are a sum of maps, this many times smaller than the planes: what each learns of the rate. Adam moves
# every texel alike, so a fine map alone would turn the noise of the random pixels into a ragged surface.
_LEARNING = {1: 0.1, 2: 0.4, 4: 1.0, 8: 1.0}
_CAMERA_WEIGHT = 10.0  # holds the camera, in radians and EG3D units, to where the portrait put it
_LOOK_EVERY = 10  # steps after which the surface is looked for again
_BEFORE, _BEHIND = 0.004, 0.015  # EG3D units around the surface in which it should have the pixel's colour
_DEEP = 0.1  # EG3D units behind a surface that isn't there in which the space should be empty
_COVERED, _BARE = 0.95, 0.05  # the matte's values that are certain


def invert_refine_fit(model: Model, subject: Subject, options: RefineFitOptions, observer: Observer) -> Inversion:
    """TriPlaneNet, then the fit; reports the stages "pivot", "refinement" and "fitting"."""
    clock = Clock(options.seconds)
    first = invert_triplanenet(model, subject, TriplaneNetOptions(), observer)
    stages = Stages(observer.progress)
    with stages("fitting"):
        generator, level = model.network.decoder, model.preset.iso_level
        random = torch.Generator().manual_seed(options.seed)
        start = first.planes[None]
        caster = Caster.of(generator, start, level)
        unseen = Unseen.of(generator, start, level, caster, Eye.of(caster, subject), random)
        photo = _Photo(model, subject, options, unseen.unit, random)
        size = start.shape[-1]
        rate = options.learning_rate * start.square().mean().sqrt().item()
        pyramid = [
            torch.zeros(*start.shape[1:3], size // scale, size // scale, device=start.device, requires_grad=True)
            for scale in _LEARNING
            if size % scale == 0
        ]
        motion = torch.zeros(6, device=start.device, requires_grad=options.camera_learning_rate > 0)
        steps = 0

        def loss(progress: float) -> Tensor:
            nonlocal steps
            del progress
            offsets = summed(pyramid)
            planes = start + offsets
            label = moved(subject.label, motion)
            if steps % _LOOK_EVERY == 0:
                photo.look(planes, label.detach())
            plane = steps % 3  # one at a time: all would take as long as the points
            steps += 1
            total = photo.loss(planes, label)
            total = total + unseen.loss(planes, options.rays // 2, options.keep_weight, options.matte_weight, random)
            total = total + options.variation_weight * total_variation(offsets[:, plane])
            return total + _CAMERA_WEIGHT * motion.square().sum()

        groups = [([level], rate * share) for level, share in zip(pyramid, _LEARNING.values(), strict=False)]
        if motion.requires_grad:
            groups.append(([motion], options.camera_learning_rate))

        def picture() -> Image.Image:
            return preview(generator, start + summed(pyramid), moved(subject.label, motion))

        report = fit(groups, loss, options.steps, clock, observer, "fitting", picture)
        with torch.no_grad():
            planes, label = (start + summed(pyramid))[0], moved(subject.label, motion)[0]
    return Inversion(
        first.codes, planes, generator.decoder, label, {**first.seconds, **stages.seconds}, {"fitting": report}
    )


class _Photo:
    """The photo at the fit's resolution, and which of its rays meet the head as it was when last looked at."""

    def __init__(
        self, model: Model, subject: Subject, options: RefineFitOptions, unit: float, random: torch.Generator
    ) -> None:
        self._generator, self._level, self._unit = model.network.decoder, model.preset.iso_level, unit
        self._count, self._size, self._weight = options.rays, options.resolution, options.matte_weight
        self._random = random
        target = Target.of(subject.photo, subject.matte, options.resolution)
        self._picture = target.color[0].T.unflatten(1, (options.resolution, options.resolution))[None]
        matte = torch.ones_like(target.color[0, :, 0]) if target.coverage is None else target.coverage[0, :, 0]
        self._covered, self._bare = matte > _COVERED, matte < _BARE
        self._matted = target.coverage is not None
        self._hits: Hits

    def look(self, planes: Tensor, label: Tensor) -> None:
        """Find the surface of planes [1, 3, C, H, W] from a camera label [1, 25]."""
        self._origins, self._directions = (part[0] for part in rays(label, self._size))
        self._hits = Caster.of(self._generator, planes, self._level).cast(self._origins, self._directions)
        hit, covered = self._hits.hit, self._covered
        self._shown = (hit & covered & self._hits.smooth(self._size)).nonzero()[:, 0]
        self._missed = (~hit & covered & self._hits.boxed & self._matted).nonzero()[:, 0]
        self._wrong = (hit & self._bare).nonzero()[:, 0]

    def loss(self, planes: Tensor, label: Tensor) -> Tensor:
        """The colours where the photo shows the surface, and the rays that should meet it or pass it by."""
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
        density, color = sample(self._generator, planes, points)
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


def summed(pyramid: list[Tensor]) -> Tensor:
    """Maps [3, C, H, W], each enlarged to the size of the first and added to it: [1, 3, C, H, W]."""
    size = pyramid[0].shape[-2:]
    enlarged = [F.interpolate(level, size=size, mode="bilinear", align_corners=False) for level in pyramid[1:]]
    return sum(enlarged, start=pyramid[0])[None]


def moved(label: Tensor, motion: Tensor) -> Tensor:
    """Labels [1, 25] with the camera turned about the world's origin and shifted.

    `motion` [6]: a rotation vector in radians, then a shift in EG3D units.
    """
    x, y, z = motion[:3]
    zero = torch.zeros_like(x)
    turn = torch.matrix_exp(torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).view(3, 3))
    pose = label[:, :16].view(4, 4)
    upper = torch.cat([turn @ pose[:3, :3], turn @ pose[:3, 3:] + motion[3:, None]], dim=1)
    return torch.cat([upper.flatten(), label[0, 12:]])[None]
