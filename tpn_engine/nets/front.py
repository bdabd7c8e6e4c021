"""Pictures on the grid of the XY plane: a head's front, lifted off its surface along the z axis.

TriPlaneNet's auto-encoder sees pictures from the source camera and must learn where each pixel lies on
the planes, for every camera anew. Taken from the pivot's surface instead, a pixel of the pictures is a
texel of the XY plane, so that convolutions suffice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.nets.box import Box
from tpn_engine.nets.field import front_share, sample_planes
from tpn_engine.nets.generator import Generator

_EMPTY = -1.0  # black, where there is no head
_GRAZING = 0.3  # cosine between view and surface below which a photo's pixels count for less


@dataclass(frozen=True)
class FrontSurface:
    """The first surface met from +z in each column of an S x S grid over the box.

    `points` [B, S, S, 3] in EG3D units, y rising with the rows as on the planes; a column that meets
    nothing is as deep as those around it. `normals` [B, S, S, 3] of length one; `hit` [B, 1, S, S] in {0, 1}.
    """

    points: Tensor
    normals: Tensor
    hit: Tensor


def front_surface(generator: Generator, planes: Tensor, level: float, size: int) -> FrontSurface:
    """The front of planes [B, 3, C, H, H] whose surface is where the density crosses `level`, on a grid of `size`."""
    box = generator.preset.box
    depth, hit = _first_crossing(_half_size_density(generator, planes), level, box)
    hit = hit.float()
    # Columns without a surface must not pull their neighbours' depth.
    covered = F.interpolate(hit, size=(size, size), mode="bilinear", align_corners=False)
    depth = F.interpolate(depth * hit, size=(size, size), mode="bilinear", align_corners=False)
    hit = (covered > 0.5).float()
    depth = _spread(depth / covered.clamp(min=1e-3) * hit, hit)

    centres = (torch.arange(size, device=planes.device) + 0.5) * (box.warp / size) - box.warp / 2
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    points = torch.stack([x.expand_as(depth[:, 0]), y.expand_as(depth[:, 0]), depth[:, 0]], dim=-1)
    padded = F.pad(depth, (1, 1, 1, 1), mode="replicate")
    slope_x = (padded[:, 0, 1:-1, 2:] - padded[:, 0, 1:-1, :-2]) * (size / (2 * box.warp))
    slope_y = (padded[:, 0, 2:, 1:-1] - padded[:, 0, :-2, 1:-1]) * (size / (2 * box.warp))
    normals = F.normalize(torch.stack([-slope_x, -slope_y, torch.ones_like(slope_x)], dim=-1), dim=-1)
    return FrontSurface(points, normals, hit)


def front_pictures(generator: Generator, planes: Tensor, surface: FrontSurface, photo: Tensor, label: Tensor) -> Tensor:
    """The auto-encoder's pictures [B, 3 P, S, S] of planes [B, 3, C, H, H] with this front, on its grid.

    The surface's own colour, the photo's difference from it, and the mirrored photo's; photos [B, P, H, W]
    in [-1, 1] on black, P 3 or with a matte 4 (the surface's matte is where it was hit), labels [B, 25].
    Differences fade where the camera grazes or can't see the surface.
    """
    size = surface.points.shape[1]
    preset = generator.preset
    sampled = sample_planes(planes, surface.points.flatten(1, 2), preset.plane_axes, preset.box)
    color = generator.decoder(sampled)[1][..., :3] * 2 - 1
    color = color.transpose(1, 2).unflatten(2, (size, size))
    if photo.shape[1] == 4:
        color = torch.cat([color, torch.ones_like(surface.hit)], dim=1)
    view = torch.where(surface.hit > 0, color, _EMPTY)

    own = seen_at(photo, label, surface.points, surface.normals, surface.hit)
    mirrored = seen_at(photo, label, _in_mirror(surface.points), _in_mirror(surface.normals), surface.hit)
    return torch.cat([view, *((pixels - view) * weight for pixels, weight in (own, mirrored))], dim=1)


def _in_mirror(vectors: Tensor) -> Tensor:
    """[..., 3] with x turned around."""
    return torch.cat([-vectors[..., :1], vectors[..., 1:]], dim=-1)


def person_columns(surface: FrontSurface, photo: Tensor, label: Tensor) -> Tensor:
    """How far each column belongs to the person, [B, 1, S, S] in [0, 1]: by the surface or by the photo's matte."""
    if photo.shape[1] != 4:
        return surface.hit
    matte, trust = seen_at(photo[:, 3:], label, surface.points, surface.normals, surface.hit)
    return torch.maximum(surface.hit, (matte + 1) / 2 * trust)


def _spread(depth: Tensor, known: Tensor) -> Tensor:
    """Depth [B, 1, S, S] where `known` is 1, and elsewhere the mean of an ever wider neighbourhood that is."""
    if min(depth.shape[-2:]) == 1:
        return depth
    count = F.avg_pool2d(known, 2)
    mean = F.avg_pool2d(depth * known, 2) / count.clamp(min=1e-6)
    wide = _spread(mean, (count > 0).to(known.dtype))
    wide = F.interpolate(wide, size=depth.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(known > 0, depth, wide)


def _half_size_density(generator: Generator, planes: Tensor) -> Tensor:
    """Density [B, S/2 (z), S/2 (y), S/2 (x)] at the corners where four texels meet.

    There bilinear sampling is the mean of the four, and the decoder's first layer, being linear, can be
    applied to each plane before the sum.
    """
    small = F.avg_pool2d(planes.flatten(0, 1), 2).unflatten(0, planes.shape[:2]) / 3
    count = small.shape[-1]
    places = (torch.arange(count) + 0.5) * (2 / count) - 1  # not on the device, which would have to be waited for
    shares = front_share(generator.preset.box.depth(places)).tolist()
    first, activation, last = generator.decoder.net
    weight, bias = first.effective()  # type: ignore[union-attr]
    xy, xz, yz, *behind = torch.einsum("bpchw,kc->pbkhw", small, weight)
    if generator.preset.plane_axes == "xy_xz_zx":  # rows of XZ are z; of ZX they are x, of YZ y's columns are z
        xz, yz = xz + yz.transpose(-1, -2), torch.zeros_like(yz)
    last_weight, last_bias = last.effective()  # type: ignore[union-attr]
    # On the YZ plane z runs along the width and y along the height.
    yz = yz + bias[:, None, None]
    slabs = []
    for z, share in enumerate(shares):
        layer = torch.lerp(behind[0], xy, share) if behind else xy
        hidden = (layer + xz[:, :, z, None, :]).add_(yz[:, :, :, z, None])
        slabs.append(torch.einsum("bkhw,k->bhw", activation(hidden), last_weight[0]))
    return torch.stack(slabs, dim=1) + last_bias[0]


def _first_crossing(density: Tensor, level: float, box: Box) -> tuple[Tensor, Tensor]:
    """From density [B, Z, Y, X] the depth of the first crossing from +z and whether there is one, [B, 1, Y, X]."""
    count = density.shape[1]
    above = (density - level).flip(1)
    inside = above > 0
    hit = inside.any(1, keepdim=True)
    index = inside.float().argmax(1, keepdim=True)
    here = above.gather(1, index)
    before = above.gather(1, (index - 1).clamp(min=0))
    back = torch.where(index > 0, here / (here - before).clamp(min=1e-6), 0.0)
    steps = index - back  # from the first sample, along -z
    return box.depth(1 - (steps + 0.5) * (2 / count)), hit


def seen_at(photo: Tensor, label: Tensor, points: Tensor, normals: Tensor, hit: Tensor) -> tuple[Tensor, Tensor]:
    """What a photo [B, P, H, W] shows at points [B, S, S, 3]: [B, P, S, S], and how far to trust it [B, 1, S, S]."""
    pose, intrinsics = label[:, :16].view(-1, 4, 4), label[:, 16:].view(-1, 3, 3)
    to_point = points - pose[:, None, None, :3, 3]
    image = torch.einsum("bij,bhwj->bhwi", intrinsics @ pose[:, :3, :3].transpose(1, 2), to_point)
    grid = image[..., :2] / image[..., 2:].clamp(min=1e-3) * 2 - 1
    pixels = F.grid_sample(photo, grid, mode="bilinear", padding_mode="border", align_corners=False)
    facing = -(F.normalize(to_point, dim=-1) * normals).sum(-1)[:, None]
    trust = torch.where(hit > 0, (facing / _GRAZING).clamp(0, 1), 1.0)
    framed = (grid.abs() <= 1).all(-1)[:, None]
    return pixels, trust * framed
