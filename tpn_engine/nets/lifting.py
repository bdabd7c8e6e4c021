"""Features of a head's front, carried from the XY plane's grid to their places on all three planes."""

from __future__ import annotations

import torch
from torch import Tensor

from tpn_engine.nets.box import Box
from tpn_engine.nets.field import PLANE_AXES
from tpn_engine.nets.presets import PlaneAxes


def lift(features: Tensor, points: Tensor, columns: Tensor, axes: PlaneAxes, box: Box) -> list[Tensor]:
    """Features [B, F, S, S] of surface points [B, S, S, 3] to each plane's grid, three of [B, F + 1, S, S].

    The first plane takes them as they lie. On the others a texel is the mean of the points that fall there,
    and the last channel how many did, as n / (1 + n). A point counts as far as its column does, `columns`
    [B, 1, S, S] in [0, 1].
    """
    first = torch.cat([features, columns.to(features.dtype)], dim=1)
    rows = features.permute(0, 2, 3, 1).float()
    places = box.on_planes(points) / 2
    others = (
        _gather_mean(rows, columns[:, 0, ..., None], torch.stack([places[..., u], places[..., v]], dim=-1))
        for u, v in PLANE_AXES[axes][1:]
    )
    return [first, *(plane.to(features.dtype).permute(0, 3, 1, 2) for plane in others)]


def _gather_mean(rows: Tensor, count: Tensor, places: Tensor) -> Tensor:
    """Rows [B, S, S, F], each worth `count` [B, S, S, 1], at places [B, S, S, 2] in [-1/2, 1/2] to [B, S, S, F + 1]."""
    batch, size, _, width = rows.shape
    position = ((places + 0.5) * size - 0.5).clamp(0, size - 1)
    before = position.floor().clamp(max=size - 2)
    right, down = (position - before).split(1, dim=-1)
    heads = torch.arange(batch, device=rows.device).view(-1, 1, 1) * size**2
    corner = heads + (before[..., 1] * size + before[..., 0]).long()
    values = torch.cat([rows, torch.ones_like(count)], dim=-1) * count
    total = rows.new_zeros(batch * size**2, width + 1)
    for step, weight in (
        (0, (1 - right) * (1 - down)),
        (1, right * (1 - down)),
        (size, (1 - right) * down),
        (size + 1, right * down),
    ):
        total = total.index_add(0, (corner + step).flatten(), (values * weight).flatten(0, 2))
    sums, number = total.split([width, 1], dim=-1)
    mean = sums / number.clamp(min=1e-3)
    return torch.cat([mean, number / (1 + number)], dim=-1).unflatten(0, (batch, size, size))
