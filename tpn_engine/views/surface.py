"""Pictures of heads that are surfaces: each pixel the first point its ray meets, outlines smooth."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.nets.field import TriplaneField
from tpn_engine.nets.volume import rays, rays_through
from tpn_engine.surface.fringe import before_settling
from tpn_engine.surface.raycast import cast_rays

_RAYS_AT_ONCE = 2**16
_LEAP = 0.03  # EG3D units of distance between neighbouring pixels that mean an outline
_NOTHING = 10.0  # a distance beyond every head
_ACROSS = 3  # an outline's pixel has as many rays along each edge: odd, so that one goes through its middle


def surface_pixels(
    field: TriplaneField, level: float, label: Tensor, size: int, report: Callable[[float], None]
) -> Tensor:
    """Colours, coverage and distance along the ray [S*S, 5] of the surface density = `level`, seen by a label [1, 25].

    Colours are composed over black. A pixel on an outline is the mean of several rays, so that edges aren't jagged;
    its distance is that of the ray through its middle or, if that meets nothing, the least. Tells `report` the
    fraction done.
    """
    origins, directions = (part[0] for part in rays(label, size))
    pixels = torch.empty(size * size, 5, device=label.device)
    for start in range(0, len(pixels), _RAYS_AT_ONCE):
        report(0.5 * start / len(pixels))
        part = slice(start, start + _RAYS_AT_ONCE)
        pixels[part] = _met(field, level, origins[part], directions[part])
    outline = _outline(pixels, size).nonzero()[:, 0]
    at_once = _RAYS_AT_ONCE // _ACROSS**2
    for start in range(0, len(outline), at_once):
        report(0.5 + 0.5 * start / len(outline))
        chosen = outline[start : start + at_once]
        pixels[chosen] = _mean_of_several(field, level, label, size, chosen)
    return pixels


def _outline(pixels: Tensor, size: int) -> Tensor:
    """Which pixels [S*S] lie next to a leap in what they show: a nearer surface, a farther one or none.

    The second difference of the distance tells a leap from a slope.
    """
    distance = torch.where(pixels[:, 3] > 0, pixels[:, 4], _NOTHING).view(1, size, size)
    padded = F.pad(distance, (1, 1, 1, 1), mode="replicate")[0]
    across = padded[1:-1, :-2] + padded[1:-1, 2:] - 2 * distance[0]
    down = padded[:-2, 1:-1] + padded[2:, 1:-1] - 2 * distance[0]
    return (torch.maximum(across.abs(), down.abs()) > _LEAP).flatten()


def _mean_of_several(field: TriplaneField, level: float, label: Tensor, size: int, chosen: Tensor) -> Tensor:
    """The pixels [N, 5] whose numbers, row by row, are `chosen` [N], by several rays each."""
    offset = (torch.arange(_ACROSS, device=label.device) + 0.5) / _ACROSS
    down, right = torch.meshgrid(offset, offset, indexing="ij")
    u, v = (
        ((start[:, None] + offsets.flatten()) / size).reshape(1, -1).to(label.dtype)
        for start, offsets in ((chosen % size, right), (chosen // size, down))
    )
    origins, directions = (part[0] for part in rays_through(label, u, v))
    rays_met = _met(field, level, origins, directions).view(len(chosen), _ACROSS**2, 5)
    distance = torch.where(rays_met[..., 3] > 0, rays_met[..., 4], _NOTHING)
    middle = distance[:, _ACROSS**2 // 2]
    distance = torch.where(middle < _NOTHING, middle, distance.amin(1))
    return torch.cat([rays_met[..., :4].mean(1), distance[:, None]], dim=1)


def _met(field: TriplaneField, level: float, origins: Tensor, directions: Tensor) -> Tensor:
    """Colours, coverage and distance [N, 5] of rays [N, 3] where they first meet the surface."""
    hits = cast_rays(field, level, origins, directions)
    pixels = torch.cat([torch.zeros_like(origins), hits.hit[:, None], hits.distance[:, None]], dim=1)
    points = origins[hits.hit] + directions[hits.hit] * hits.distance[hits.hit, None]
    pixels[hits.hit, :3] = field.colors(before_settling(points))
    return pixels
