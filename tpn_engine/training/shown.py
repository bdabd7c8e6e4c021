"""That a head's front shows the photo, where the head's own surface lies."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.nets.field import sample_detail, sample_planes
from tpn_engine.nets.front import FrontSurface, seen_at
from tpn_engine.nets.generator import Generator
from tpn_engine.training.batches import Batch

_WHOLLY = 0.99  # covered by the head, and by the person
_BUFFER = 96  # pixels along each edge of the depth picture that tells what hides what
_BEHIND = 0.02  # EG3D units behind the nearest point in a pixel that mean hidden


def shown_loss(
    generator: Generator,
    planes: Tensor,
    surface: FrontSurface,
    batch: Batch,
    count: int,
    detail: Tensor | None = None,
) -> Tensor:
    """Mean absolute difference of the photo and the colours of planes [B,3 or 4,C,S,S] on their own front.

    True points beside the surface that the planes have teach a blur of what the photo shows from aside: `count`
    random points of the front itself, where the photo sees it, are to have the photo's own colours. `detail` is
    added to the first plane.
    """
    preset = generator.preset
    points, color, weight = _shown(surface, batch, count)
    sampled = sample_planes(planes, points, preset.plane_axes, preset.box)
    if detail is not None:
        sampled = sampled + sample_detail(detail, points, planes.shape[1], preset.box)
    difference = (generator.decoder(sampled)[1][..., :3] - color).abs().mean(-1)
    return (difference * weight).sum() / weight.sum().clamp(min=1)


@torch.no_grad()
def _shown(surface: FrontSurface, batch: Batch, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random points [B,count,3] of the front, the photo's colours there [B,count,3] and their weights [B,count]."""
    heads = len(batch.photo)
    size = surface.points.shape[1]
    hidden = _hidden(surface, batch.label)
    known = torch.cat([surface.points, surface.normals, surface.hit.permute(0, 2, 3, 1), hidden[..., None]], dim=-1)
    grid = torch.rand(heads, count, 1, 2, device=batch.photo.device) * (2 - 2 / size) - (1 - 1 / size)
    chosen = F.grid_sample(known.permute(0, 3, 1, 2), grid, align_corners=False).permute(0, 2, 3, 1)
    points, normals, hit, hidden = chosen.split([3, 3, 1, 1], dim=-1)
    pixels, trust = seen_at(batch.photo, batch.label, points, F.normalize(normals, dim=-1), hit.permute(0, 3, 1, 2))
    color, matte = pixels[:, :3, :, 0].transpose(1, 2), pixels[:, 3, :, 0]
    holds = (hit[..., 0, 0] > _WHOLLY) & (hidden[..., 0, 0] == 0) & (matte > 2 * _WHOLLY - 1)
    return points[:, :, 0], (color + 1) / 2, trust[:, 0, :, 0] * holds


def _hidden(surface: FrontSurface, label: Tensor) -> Tensor:
    """Which points of a front [B,S,S] others hide from the camera, in {0, 1}."""
    heads, size = surface.points.shape[:2]
    pose, intrinsics = label[:, :16].view(-1, 4, 4), label[:, 16:].view(-1, 3, 3)
    image = torch.einsum(
        "bij,bhwj->bhwi", intrinsics @ pose[:, :3, :3].transpose(1, 2), surface.points - pose[:, None, None, :3, 3]
    )
    cell = (image[..., :2] / image[..., 2:] * _BUFFER).floor().long().clamp(0, _BUFFER - 1)
    index = (cell[..., 1] * _BUFFER + cell[..., 0]).flatten(1)
    depth = torch.where(surface.hit[:, 0] > 0, image[..., 2], torch.inf).flatten(1)
    nearest = depth.new_full((heads, _BUFFER**2), torch.inf).scatter_reduce(1, index, depth, "amin")
    return (depth > nearest.gather(1, index) + _BEHIND).float().view(heads, size, size)
