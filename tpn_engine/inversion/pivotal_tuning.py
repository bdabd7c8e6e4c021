"""Pivotal tuning: codes near the photo, then a generator that makes it of them (Roich et al. 2022).

The generator is tuned beneath the refinement's offsets, so that it has only to learn what the refinement left wrong:
alone it must draw the whole face, and the strong tuning that takes bends the head where the photo doesn't look.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from PIL import Image
from torch import Tensor

from tpn_engine.camera import Camera
from tpn_engine.checkpoints import Model
from tpn_engine.inversion.caster import Caster
from tpn_engine.inversion.eye import Eye
from tpn_engine.inversion.fitting import Clock, Observer, fit
from tpn_engine.inversion.landmark_loss import LandmarkLoss
from tpn_engine.inversion.latent import code_space, optimise_codes
from tpn_engine.inversion.losses import squared_error
from tpn_engine.inversion.options import LatentOptions, PivotalTuningOptions
from tpn_engine.inversion.perceptual_loss import PerceptualLoss
from tpn_engine.inversion.photo_loss import photo_loss
from tpn_engine.inversion.pixels import random_grid, see
from tpn_engine.inversion.preview import preview
from tpn_engine.inversion.stages import Stages
from tpn_engine.inversion.subject import Inversion, Subject
from tpn_engine.inversion.unseen import Unseen
from tpn_engine.nets.generator import Generator
from tpn_engine.nets.stylegan2 import SynthesisLayer
from tpn_engine.nets.triplanenet import Pivot

_PIVOT_SHARE = 0.4  # of the time, at most
_LOCALITY_PIXELS, _LOCALITY_RESOLUTION = 256, 32
_LOCALITY_YAW, _LOCALITY_PITCH = 60.0, 20.0  # how far the cameras reach from which the old heads are kept
_BESIDE = 0.0  # weight of the space beside the person: the loss of the photo empties it already


def invert_pivotal_tuning(
    model: Model, subject: Subject, options: PivotalTuningOptions, observer: Observer
) -> Inversion:
    """Codes by optimisation, their refinement, synthesis and decoder tuned beneath it, last a finer preset's detail.

    The model itself stays as it is. Reports the stages "pivot", "codes", "refinement" and "tuning".
    """
    stages = Stages(observer.progress)
    clock = Clock(options.seconds)
    random = torch.Generator().manual_seed(options.seed)
    original = deepcopy(model.network.decoder)
    space = code_space(model, subject, options.space, options.start, stages)
    perceptual = PerceptualLoss.of(subject, options)
    with stages("codes"):
        codes, pivot_report = optimise_codes(
            model,
            original,
            subject,
            space,
            LatentOptions(
                steps=options.pivot_steps,
                resolution=options.resolution,
                rays=options.rays,
                landmark_weight=options.landmark_weight,
            ),
            options.pivot_learning_rate,
            perceptual,
            random,
            clock.share(_PIVOT_SHARE),
            observer,
        )

    with stages("refinement"), torch.no_grad():
        pivot = Pivot(codes, original.planes(codes))
        start = model.network.with_decoder(original).refine_coarsely(pivot, subject.shown, subject.label)
        offsets = start[:, :3] - pivot.planes
        start[0, 0, 0, 0, 0].item()  # wait for the device

    tuned = deepcopy(original)
    maps = _free_maps(tuned)
    parameters = [*tuned.backbone.synthesis.parameters(), *tuned.decoder.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    photo = photo_loss(model.preset, original, start, subject, options, random)
    caster = Caster.of(original, start, model.preset.iso_level)
    # Of the tuned generator, still the same as the original, because the loss asks it again at every step.
    unseen = Unseen.of(tuned, start, model.preset.iso_level, caster, Eye.of(caster, subject), random)
    landmarks = LandmarkLoss.of(subject) if options.landmark_weight else None
    step = 0

    def head() -> Tensor:
        # The plane behind stays: it began as the one in front, which now learns to draw the face.
        return torch.cat([tuned.planes(codes) + offsets, start[:, 3:]], dim=1)

    def loss(progress: float) -> Tensor:
        nonlocal step
        planes = head()
        total = photo.loss(tuned, planes, subject.label)
        total = total + unseen.loss(planes, options.rays // 2, options.keep_weight, _BESIDE, random)
        if landmarks is not None:
            total = total + options.landmark_weight * landmarks(tuned, planes, subject.label)
        if perceptual is not None:
            total = total + perceptual(tuned, planes, subject.label)
        if options.locality_weight and step % options.locality_every == 0:
            distance = options.locality_distance * space.spread
            total = total + options.locality_weight * _change_nearby(original, tuned, codes, distance, random)
        step += 1
        return total

    @torch.no_grad()
    def now() -> Image.Image:
        return preview(model.preset, tuned, head(), subject.label, subject.matte)

    with stages("tuning"):
        groups = [(parameters, options.learning_rate), (maps, options.map_learning_rate)]
        report = fit(groups, loss, options.steps, clock, observer, "tuning", now)
        tuned.requires_grad_(False)
        with torch.no_grad():
            network = model.network.with_decoder(tuned)
            planes = network.detailed(head(), subject.shown, subject.label)[0]
    fits = {"codes": pivot_report, "tuning": report}
    used = perceptual.used if perceptual else {}
    return Inversion(codes[0], planes, tuned.decoder, subject.label[0], stages.seconds, fits, used)


@torch.no_grad()
def _free_maps(generator: Generator) -> list[Tensor]:
    """The noise maps as they are applied, made optimisable in place.

    Convolutions are the same all over the planes and take long to draw one face; a map has a number of its own for
    every texel.
    """
    layers = [layer for layer in generator.backbone.synthesis.modules() if isinstance(layer, SynthesisLayer)]
    for layer in layers:
        layer.noise_const = (layer.noise_const * layer.noise_strength).requires_grad_(True)
        layer.noise_strength.fill_(1)
    return [layer.noise_const for layer in layers]


def _change_nearby(
    original: Generator, tuned: Generator, codes: Tensor, distance: float, random: torch.Generator
) -> Tensor:
    """How differently the two generators make a head near `codes`, as a random camera sees it."""
    direction = torch.randn(1, 1, codes.shape[-1], generator=random).to(codes.device)
    near = codes + distance * direction
    yaw, pitch = (torch.rand(2, generator=random) * 2 - 1).tolist()
    camera = Camera.orbit(yaw * _LOCALITY_YAW, pitch * _LOCALITY_PITCH)
    label = torch.from_numpy(camera.label)[None].to(codes.device)
    where = random_grid(_LOCALITY_RESOLUTION, _LOCALITY_PIXELS, random).where
    with torch.no_grad():
        planes = original.planes(near)
        before = see(planes, original.decoder, original.preset, label, _LOCALITY_RESOLUTION, where)
    now = see(tuned.planes(near), tuned.decoder, tuned.preset, label, _LOCALITY_RESOLUTION, where)
    return squared_error(now.color, before.color) + squared_error(now.coverage, before.coverage)
