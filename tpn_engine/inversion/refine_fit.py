"""A bounded fit of planes and camera to the photo, after TriPlaneNet and held to it where nothing is seen.

The field is asked at points, not rendered: those of the photo, and those around the first guess.
"""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.checkpoints import Model
from tpn_engine.inversion.caster import Caster
from tpn_engine.inversion.eye import Eye
from tpn_engine.inversion.fitting import Clock, Observer, fit
from tpn_engine.inversion.losses import total_variation
from tpn_engine.inversion.options import RefineFitOptions
from tpn_engine.inversion.photo_points import PhotoPoints
from tpn_engine.inversion.preview import preview
from tpn_engine.inversion.psp import pivot_of
from tpn_engine.inversion.stages import Stages
from tpn_engine.inversion.subject import Inversion, Subject
from tpn_engine.inversion.unseen import Unseen
from tpn_engine.nets.labels import moved_label, rotation

# Offsets are a sum of maps, this many times smaller than the planes: what each learns of the rate. Adam moves
# every texel alike, so a fine map alone would turn the noise of the random pixels into a ragged surface.
_LEARNING = {1: 0.1, 2: 0.4, 4: 1.0, 8: 1.0}
_CAMERA_WEIGHT = 10.0  # holds the camera, in radians and EG3D units, to where the portrait put it


def invert_refine_fit(model: Model, subject: Subject, options: RefineFitOptions, observer: Observer) -> Inversion:
    """TriPlaneNet, the fit, then the detail of a preset that has finer planes.

    Reports the stages "pivot", "refinement" and "fitting".
    """
    clock = Clock(options.seconds)
    stages = Stages(observer.progress)
    pivot = pivot_of(model, subject, stages)
    with stages("refinement"), torch.no_grad():
        start = model.network.refine_coarsely(pivot, subject.shown, subject.label)
        start[0, 0, 0, 0, 0].item()  # wait for the device
    with stages("fitting"):
        generator, level = model.network.decoder, model.preset.iso_level
        random = torch.Generator().manual_seed(options.seed)
        caster = Caster.of(generator, start, level)
        unseen = Unseen.of(generator, start, level, caster, Eye.of(caster, subject), random)
        photo = PhotoPoints(subject, options.resolution, options.rays, level, unseen.unit, options.matte_weight, random)
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
            plane = steps % len(start[0])  # one at a time: all would take as long as the points
            steps += 1
            total = photo.loss(generator, planes, label)
            total = total + unseen.loss(planes, options.rays // 2, options.keep_weight, options.matte_weight, random)
            total = total + options.variation_weight * total_variation(offsets[:, plane])
            return total + _CAMERA_WEIGHT * motion.square().sum()

        groups = [([level], rate * share) for level, share in zip(pyramid, _LEARNING.values(), strict=False)]
        if motion.requires_grad:
            groups.append(([motion], options.camera_learning_rate))

        def picture() -> Image.Image:
            planes = start + summed(pyramid)
            return preview(model.preset, generator, planes, moved(subject.label, motion), subject.matte)

        report = fit(groups, loss, options.steps, clock, observer, "fitting", picture)
        with torch.no_grad():
            label = moved(subject.label, motion)
            planes = model.network.detailed(start + summed(pyramid), subject.shown, label)
    return Inversion(pivot.codes[0], planes[0], generator.decoder, label[0], stages.seconds, {"fitting": report})


def summed(pyramid: list[Tensor]) -> Tensor:
    """Maps [3, C, H, W], each enlarged to the size of the first and added to it: [1, 3, C, H, W]."""
    size = pyramid[0].shape[-2:]
    enlarged = [F.interpolate(level, size=size, mode="bilinear", align_corners=False) for level in pyramid[1:]]
    return sum(enlarged, start=pyramid[0])[None]


def moved(label: Tensor, motion: Tensor) -> Tensor:
    """Labels [1, 25] with the camera turned about the world's origin and shifted.

    `motion` [6]: a rotation vector in radians, then a shift in EG3D units.
    """
    return moved_label(label, rotation(motion[:3]), motion[3:])
