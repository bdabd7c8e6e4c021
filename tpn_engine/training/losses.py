"""What a radiance field is judged by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from tpn_engine.nets.field import sample_detail, sample_planes
from tpn_engine.nets.generator import Generator
from tpn_engine.training.batches import Batch
from tpn_engine.training.config import StageConfig

TINT_SHARE = 2.0


@dataclass
class FieldLoss:
    """The weighted sum to minimise, and the parts a log shows: mean colour error, wrong sides of the surface.

    `shown` is the colours' error on the head's own front, if that has a part in it.
    """

    total: torch.Tensor
    color: torch.Tensor
    occupancy: torch.Tensor
    wrong: torch.Tensor
    shown: torch.Tensor | None = None

    def parts(self) -> dict[str, torch.Tensor]:
        """The numbers for the log, still on their device: reading them would make the next step wait."""
        parts = {"color": self.color, "occupancy": self.occupancy, "wrong": self.wrong, "shown": self.shown}
        return {name: value for name, value in parts.items() if value is not None}


def field_loss(
    generator: Generator,
    planes: torch.Tensor,
    batch: Batch,
    iso_level: float,
    config: StageConfig,
    detail: torch.Tensor | None = None,
) -> FieldLoss:
    """Compare the field of `planes` [B,3,C,H,W] with the truth at the batch's points.

    `detail` [B,C,S,S] is added to the first plane.

    Occupancy is read off the density as a logistic curve through the iso-level, so that the
    level set is where the network is undecided. Colours by mean absolute error, their departure from grey
    once more: strands and shadows make brightness a guess, but a wrong tint shows.
    """
    preset = generator.preset
    points = torch.cat([batch.occupancy_at, batch.color_at], dim=1)
    sampled = sample_planes(planes, points, preset.plane_axes, preset.box)
    if detail is not None:
        sampled = sampled + sample_detail(detail, points, planes.shape[1], preset.box)
    density, features = generator.decoder(sampled)
    count = batch.occupancy_at.shape[1]

    logit = (density[:, :count, 0] - iso_level) / config.density_per_logit
    entropy = functional.binary_cross_entropy_with_logits(logit, batch.occupied, reduction="none")
    known = batch.known.sum().clamp(min=1)
    occupancy = (entropy * batch.known).sum() / known
    wrong = (((logit > 0) != (batch.occupied > 0.5)) * batch.known).sum() / known

    difference = features[:, count:, :3] - batch.color
    tint = difference - difference.mean(-1, keepdim=True)
    weight = batch.color_weight / batch.color_weight.sum().clamp(min=1)
    color = (difference.abs().mean(-1) * weight).sum()
    tinted = (tint.abs().mean(-1) * weight).sum()

    total = config.color_weight * (color + TINT_SHARE * tinted) + config.occupancy_weight * occupancy
    return FieldLoss(total, color.detach(), occupancy.detach(), wrong.detach())
