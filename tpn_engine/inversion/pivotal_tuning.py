"""Pivotal tuning: codes near the photo, then a generator that makes it of them (Roich et al. 2022)."""

from __future__ import annotations

from copy import deepcopy

import torch
from PIL import Image
from torch import Tensor

from tpn_engine.camera import Camera
from tpn_engine.checkpoints import Model
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
from tpn_engine.nets.generator import Generator
from tpn_engine.nets.stylegan2 import SynthesisLayer

_PIVOT_SHARE = 0.4  # of the time, at most
_LOCALITY_PIXELS, _LOCALITY_RESOLUTION = 256, 32
_LOCALITY_YAW, _LOCALITY_PITCH = 60.0, 20.0  # how far the cameras reach from which the old heads are kept


def invert_pivotal_tuning(
    model: Model, subject: Subject, options: PivotalTuningOptions, observer: Observer
) -> Inversion:
    """Codes by optimisation, then synthesis and decoder tuned, last the detail of a preset that has finer planes.

    The model itself stays as it is. Reports the stages "pivot", "codes" and "tuning".
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

    tuned = deepcopy(original)
    maps = _free_maps(tuned)
    parameters = [*tuned.backbone.synthesis.parameters(), *tuned.decoder.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    with torch.no_grad():
        start = original.planes(codes)
    photo = photo_loss(model.preset, original, start, subject, options, random)
    landmarks = LandmarkLoss.of(subject) if options.landmark_weight else None
    step = 0

    def loss(progress: float) -> Tensor:
        nonlocal step
        planes = tuned.planes(codes)
        total = photo.loss(tuned, planes, subject.label)
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
        return preview(model.preset, tuned, tuned.planes(codes), subject.label, subject.matte)

    with stages("tuning"):
        groups = [(parameters, options.learning_rate), (maps, options.map_learning_rate)]
        report = fit(groups, loss, options.steps, clock, observer, "tuning", now)
        tuned.requires_grad_(False)
        with torch.no_grad():
            network = model.network.with_decoder(tuned)
            planes = network.detailed(tuned.planes(codes), subject.shown, subject.label)[0]
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
