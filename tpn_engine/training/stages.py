"""The phases: generator with pivot encoder, the refinement together with the generator, the detail alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from tpn_engine.nets.front import FrontSurface
from tpn_engine.nets.layers import FullyConnected
from tpn_engine.nets.stylegan2 import ToImage
from tpn_engine.nets.triplanenet import Pivot, TriPlaneNet
from tpn_engine.training.batches import Batch
from tpn_engine.training.config import StageConfig, StageName
from tpn_engine.training.losses import FieldLoss, field_loss
from tpn_engine.training.shown import shown_loss

Loss = Callable[[Batch], FieldLoss]

PIVOT_SHARE = 0.25  # weight of the pivot's own loss while the refinement trains the generator too


def initialise(network: TriPlaneNet) -> None:
    """Give a fresh decoder a density scale that the occupancy loss can move from the first step."""
    output = cast(FullyConnected, network.decoder.decoder.net[2])
    with torch.no_grad():
        output.weight[0] *= 10.0
        output.bias[0] = 0.0


def stretch_density(network: TriPlaneNet, iso_level: float, shift: float, factor: float) -> None:
    """Add `shift` to the density and multiply its distance from the iso-level: what is around a surface clears up."""
    output = cast(FullyConnected, network.decoder.decoder.net[2])
    with torch.no_grad():
        output.weight[0] *= factor
        output.bias[0] = iso_level + factor * (output.bias[0] + shift - iso_level)


def unstretch_density(network: TriPlaneNet, iso_level: float, shift: float, factor: float) -> None:
    """Undo `stretch_density`, so that a finished model can learn on."""
    output = cast(FullyConnected, network.decoder.decoder.net[2])
    with torch.no_grad():
        output.weight[0] /= factor
        output.bias[0] = iso_level + (output.bias[0] - iso_level) / factor - shift


def scale_planes(network: TriPlaneNet, gain: float) -> None:
    """Multiply the generator's planes by `gain` and the decoder's first layer by its inverse: the field stays."""
    synthesis = network.decoder.backbone.synthesis
    with torch.no_grad():
        for module in synthesis.modules():
            if isinstance(module, ToImage):
                module.weight.mul_(gain)
                module.bias.mul_(gain)
        cast(FullyConnected, network.decoder.decoder.net[0]).weight.div_(gain)


def trained_modules(network: TriPlaneNet, stage: StageName, config: StageConfig) -> list[tuple[nn.Module, float]]:
    """The modules a stage changes, each with its learning rate."""
    if stage == "pivot":
        return [
            (network.psp_encoder, config.learning_rate),
            (network.decoder.backbone.synthesis, config.generator_learning_rate),
            (network.decoder.decoder, config.generator_learning_rate),
        ]
    if stage == "detail":
        return [(network.triplanenet_encoder.detail_head, config.learning_rate)]
    return [
        (network.psp_encoder, config.generator_learning_rate),
        (network.triplanenet_encoder, config.learning_rate),
        (network.decoder.backbone.synthesis, config.generator_learning_rate),
        (network.decoder.decoder, config.generator_learning_rate),
    ]


def stage_loss(network: TriPlaneNet, stage: StageName, iso_level: float, config: StageConfig) -> Loss:
    """The function that maps a batch to its loss in this stage."""

    def mixed(batch: Batch) -> torch.autocast:
        return torch.autocast(batch.photo.device.type, torch.bfloat16, enabled=config.mixed_precision)

    def pivot(batch: Batch) -> FieldLoss:
        with mixed(batch):
            planes = network.pivot(batch.photo).planes
        return field_loss(network.decoder, planes.float(), batch, iso_level, config)

    def with_shown(
        field: FieldLoss, planes: Tensor, surface: FrontSurface, batch: Batch, detail: Tensor | None = None
    ) -> FieldLoss:
        shown = shown_loss(network.decoder, planes, surface, batch, config.color_points, detail)
        return replace(field, total=field.total + config.color_weight * shown, shown=shown.detach())

    def half_begun(start: Pivot, batch: Batch) -> Pivot:
        """The second half of the heads as a first pass leaves them, so that one network learns all passes."""
        half = len(start.codes) // 2
        later = Pivot(start.codes[half:], start.planes[half:])
        network.triplanenet_encoder.eval()  # its running averages are learned from whole batches
        with torch.no_grad():
            pictures = network.pictures(later, batch.photo[half:], batch.label[half:])
            with mixed(batch):
                begun = network.refine_from(pictures, later).float()
        network.triplanenet_encoder.train()
        return Pivot(start.codes, torch.cat([start.planes[:half], begun]))

    def refinement(batch: Batch) -> FieldLoss:
        with mixed(batch):
            codes = network.codes(batch.photo)
            # One head in four starts from a single w, as drawn heads do.
            single, rest = codes.split([len(codes) // 4, len(codes) - len(codes) // 4])
            codes = torch.cat([single.mean(1, keepdim=True).expand_as(single), rest])
            pivot = Pivot(codes, network.decoder.planes(codes).float())
        start = network.begin(pivot)
        begin = start if network.preset.refiner.passes == 1 else half_begun(start, batch)
        with torch.no_grad():
            pictures = network.pictures(begin, batch.photo, batch.label)
        with mixed(batch):
            planes = network.refine_from(pictures, begin).float()
        refined = field_loss(network.decoder, planes, batch, iso_level, config)
        refined = with_shown(refined, planes, network.front(planes, planes.shape[-1]), batch)
        # The generator learns along, and the pivot must stay a head of its own.
        kept = field_loss(network.decoder, pivot.planes, batch, iso_level, config)
        return replace(refined, total=refined.total + PIVOT_SHARE * kept.total)

    def detail(batch: Batch) -> FieldLoss:
        with torch.no_grad(), mixed(batch):
            codes = network.codes(batch.photo)
            pivot = Pivot(codes, network.decoder.planes(codes).float())
            planes = network.refine_coarsely(pivot, batch.photo, batch.label)
        fine = network.enlarged(planes)
        surface = network.front(planes, fine.shape[-1])
        with mixed(batch):
            offsets = network.detail(surface, fine, batch.photo, batch.label).float()
        field = field_loss(network.decoder, fine, batch, iso_level, config, offsets)
        return with_shown(field, fine, surface, batch, offsets)

    return {"pivot": pivot, "refinement": refinement, "detail": detail}[stage]
