"""Inversion by optimisation of the latent codes (Karras et al. 2020, appendix D; Chan et al. 2022)."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from tpn_engine.checkpoints import Model
from tpn_engine.inversion.fitting import Clock, FitReport, Observer, fit
from tpn_engine.inversion.landmark_loss import LandmarkLoss
from tpn_engine.inversion.losses import noise_structure
from tpn_engine.inversion.options import LatentOptions, Space, Start
from tpn_engine.inversion.perceptual_loss import PerceptualLoss
from tpn_engine.inversion.photo_loss import photo_loss
from tpn_engine.inversion.preview import preview
from tpn_engine.inversion.psp import pivot_of
from tpn_engine.inversion.stages import Stages
from tpn_engine.inversion.subject import Inversion, Subject
from tpn_engine.nets.generator import Generator
from tpn_engine.nets.stylegan2 import SynthesisLayer

_NOISE_UNTIL = 0.75  # share of the steps in which the codes are shaken, ever less
_NOISE_RATE = 2.0  # the noise maps', as a multiple of the codes' learning rate


@dataclass(frozen=True)
class CodeSpace:
    """Where codes are sought: from `start` [1, num_ws or 1, w_dim], `spread` the length that is a unit there."""

    start: Tensor
    spread: float
    num_ws: int

    def full(self, codes: Tensor) -> Tensor:
        """One code for each layer [1, num_ws, w_dim]."""
        return codes.expand(-1, self.num_ws, -1)


def invert_latent(model: Model, subject: Subject, options: LatentOptions, observer: Observer) -> Inversion:
    """The generator's own head that is nearest to the photo; reports the stages "pivot" and "codes"."""
    stages = Stages(observer.progress)
    generator = deepcopy(model.network.decoder)  # its noise maps will be others
    space = code_space(model, subject, options.space, options.start, stages)
    perceptual = PerceptualLoss.of(subject, options)
    random = torch.Generator().manual_seed(options.seed)
    with stages("codes"):
        codes, report = optimise_codes(
            model,
            generator,
            subject,
            space,
            options,
            options.learning_rate,
            perceptual,
            random,
            Clock(options.seconds),
            observer,
        )
        with torch.no_grad():
            planes = generator.planes(codes)[0]
    return Inversion(
        codes[0],
        planes,
        model.network.decoder.decoder,
        subject.label[0],
        stages.seconds,
        {"codes": report},
        perceptual.used if perceptual else {},
    )


def code_space(model: Model, subject: Subject, space: Space, start: Start, stages: Stages) -> CodeSpace:
    """Start and unit of length of a search, from the encoder's codes for the photo."""
    network = model.network
    codes = pivot_of(model, subject, stages).codes
    spread = (codes - network.latent_avg).square().mean().sqrt().item()
    if start == "mean":
        codes = network.latent_avg.expand_as(codes)
    if space == "w":
        codes = codes.mean(dim=1, keepdim=True)
    return CodeSpace(codes.clone(), max(spread, 1e-3), network.decoder.num_ws)


def optimise_codes(
    model: Model,
    generator: Generator,
    subject: Subject,
    space: CodeSpace,
    options: LatentOptions,
    learning_rate: float,
    perceptual: PerceptualLoss | None,
    random: torch.Generator,
    clock: Clock,
    observer: Observer,
) -> tuple[Tensor, FitReport]:
    """Codes [1, num_ws, w_dim] whose render is like the photo; the generator's noise maps are changed with them."""
    with torch.no_grad():
        start = generator.planes(space.full(space.start))
    photo = photo_loss(model.preset, generator, start, subject, options, random)
    landmarks = LandmarkLoss.of(subject) if options.landmark_weight else None
    codes = space.start.clone().requires_grad_(True)
    noises = _free_noise(generator)

    def loss(progress: float) -> Tensor:
        _normalise(noises)
        shaken = codes
        if progress < _NOISE_UNTIL:
            strength = options.code_noise * space.spread * (1 - progress / _NOISE_UNTIL) ** 2
            shaken = codes + strength * torch.randn(codes.shape, generator=random).to(codes.device)
        planes = generator.planes(space.full(shaken))
        total = photo.loss(generator, planes, subject.label)
        if landmarks is not None:
            total = total + options.landmark_weight * landmarks(generator, planes, subject.label)
        if perceptual is not None:
            total = total + perceptual(generator, planes, subject.label)
        if noises:
            total = total + options.noise_weight * noise_structure(noises)
        return total

    @torch.no_grad()
    def now() -> Image.Image:
        return preview(model.preset, generator, generator.planes(space.full(codes)), subject.label, subject.matte)

    groups = [([codes], learning_rate * space.spread), (noises, learning_rate * _NOISE_RATE)]
    report = fit([group for group in groups if group[0]], loss, options.steps, clock, observer, "codes", now)
    _normalise(noises)
    for noise in noises:
        noise.requires_grad_(False)
    return space.full(codes.detach()).contiguous(), report


@torch.no_grad()
def _normalise(noises: list[Tensor]) -> None:
    """Give the maps mean 0 and deviation 1 again, or they would escape their regularisation by fading."""
    for noise in noises:
        noise.sub_(noise.mean()).div_(noise.square().mean().sqrt().clamp(min=1e-6))


def _free_noise(generator: Generator) -> list[Tensor]:
    """The noise maps that show, made optimisable in place; none where every strength is zero."""
    layers = [
        layer
        for layer in generator.backbone.modules()
        if isinstance(layer, SynthesisLayer) and layer.noise_strength.item() != 0
    ]
    for layer in layers:
        layer.noise_const = layer.noise_const.clone().requires_grad_(True)
    return [layer.noise_const for layer in layers]
