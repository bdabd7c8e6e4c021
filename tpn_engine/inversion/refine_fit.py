"""A bounded fit of planes and camera to the photo, after TriPlaneNet and held to it where nothing is seen."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.checkpoints import Model
from tpn_engine.inversion.fitting import Clock, Observer, fit
from tpn_engine.inversion.losses import smooth_l1, squared_error, total_variation
from tpn_engine.inversion.options import RefineFitOptions, TriplaneNetOptions
from tpn_engine.inversion.pixels import Target, random_grid, see
from tpn_engine.inversion.stages import Stages
from tpn_engine.inversion.subject import Inversion, Subject
from tpn_engine.inversion.triplanenet import invert_triplanenet
from tpn_engine.inversion.unseen import Unseen

_SAMPLES = 2 / 3  # of those along each ray that a picture has
# Offsets are a sum of maps, this many times smaller than the planes: what each learns of the rate. Adam moves
# every texel alike, so a fine map alone would turn the noise of the random pixels into a ragged surface.
_LEARNING = {1: 0.3, 2: 0.6, 4: 1.0, 8: 1.0}
_CAMERA_WEIGHT = 10.0  # holds the camera, in radians and EG3D units, to where the portrait put it


def invert_refine_fit(model: Model, subject: Subject, options: RefineFitOptions, observer: Observer) -> Inversion:
    """TriPlaneNet, then the fit; reports the stages "pivot", "refinement" and "fitting"."""
    clock = Clock(options.seconds)
    first = invert_triplanenet(model, subject, TriplaneNetOptions(), observer)
    stages = Stages(observer.progress)
    with stages("fitting"):
        generator = model.network.decoder
        rendering = generator.preset.rendering
        sparse = replace(
            generator.preset,
            rendering=replace(
                rendering,
                depth_samples=max(2, round(_SAMPLES * rendering.depth_samples)),
                importance_samples=round(_SAMPLES * rendering.importance_samples),
            ),
        )
        start = first.planes[None]
        unseen = Unseen.of(generator, start, subject)
        target = Target.of(subject.photo, subject.matte, options.resolution)
        box = target.box()
        random = torch.Generator().manual_seed(options.seed)
        size = start.shape[-1]
        rate = options.learning_rate * start.square().mean().sqrt().item()
        pyramid = [
            torch.zeros(*start.shape[1:3], size // scale, size // scale, device=start.device, requires_grad=True)
            for scale in _LEARNING
            if size % scale == 0
        ]
        motion = torch.zeros(6, device=start.device, requires_grad=options.camera_learning_rate > 0)

        def loss(progress: float) -> Tensor:
            del progress
            offsets = summed(pyramid)
            planes = start + offsets
            grid = random_grid(options.resolution, options.rays, random, box)
            label = moved(subject.label, motion) if motion.requires_grad else subject.label
            seen = see(planes, generator.decoder, sparse, label, options.resolution, grid.where)
            where = grid.where.to(label.device)
            total = smooth_l1(seen.color, target.color[:, where]) + squared_error(seen.color, target.color[:, where])
            if target.coverage is not None:
                total = total + options.matte_weight * squared_error(seen.coverage, target.coverage[:, where])
            if options.keep_weight or options.mirror_weight:
                total = total + unseen.loss(planes, options.keep_weight, options.mirror_weight, random)
            plane = int(torch.randint(3, (), generator=random))  # one at a time: all would take as long as the rays
            total = total + options.variation_weight * total_variation(offsets[:, plane])
            return total + _CAMERA_WEIGHT * motion.square().sum()

        groups = [([level], rate * share) for level, share in zip(pyramid, _LEARNING.values(), strict=False)]
        if motion.requires_grad:
            groups.append(([motion], options.camera_learning_rate))
        report = fit(groups, loss, options.steps, clock, observer, "fitting")
        with torch.no_grad():
            planes, label = (start + summed(pyramid))[0], moved(subject.label, motion)[0]
    return Inversion(
        first.codes, planes, generator.decoder, label, {**first.seconds, **stages.seconds}, {"fitting": report}
    )


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
