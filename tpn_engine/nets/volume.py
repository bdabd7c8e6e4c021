"""Two-pass volume rendering of tri-planes (EG3D; Max 1995 quadrature at interval midpoints)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.nets.box import Box
from tpn_engine.nets.decoder import Decoder
from tpn_engine.nets.field import PlaneSampler
from tpn_engine.nets.presets import PlaneAxes, RenderingPreset
from tpn_engine.nets.silhouette import Silhouette

_CHUNK = 65536  # samples evaluated at once: bounds the memory, and the decoder's hidden layer stays near the core


@dataclass(frozen=True)
class Rendering:
    """What N rays see: colour features [B, N, C] in [-1, 1] (first three are RGB), distance along the ray
    [B, N, 1], and coverage [B, N, 1], the sum of the samples' weights. Where coverage is about zero the
    distance means nothing."""

    features: Tensor
    depth: Tensor
    weights: Tensor


def rays(label: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """Rays through the pixel centres of R x R images, row by row, for camera labels [B, 25].

    Returns origins and unit directions in the world, each [B, R*R, 3].
    """
    centre = torch.arange(resolution, dtype=label.dtype, device=label.device) * (1 / resolution) + 0.5 / resolution
    v, u = (axis.reshape(1, -1) for axis in torch.meshgrid(centre, centre, indexing="ij"))
    return rays_through(label, u, v)


def rays_through(label: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """As `rays`, through places of the images: u to the right and v down, each [B or 1, N], in picture edges."""
    pose = label[:, :16].view(-1, 4, 4)
    intrinsics = label[:, 16:].view(-1, 3, 3)
    fx, fy, skew = (intrinsics[:, i, j, None] for i, j in ((0, 0), (1, 1), (0, 1)))
    cx, cy = intrinsics[:, 0, 2, None], intrinsics[:, 1, 2, None]
    x = (u - cx + cy * skew / fy - skew * v / fy) / fx
    y = (v - cy) / fy
    # Through a point one unit ahead in the world, not by rotating a direction: density can change by 1000
    # per unit, so results are compared with the authors' only if positions round as theirs do.
    ahead = torch.stack([x, y, torch.ones_like(x), torch.ones_like(x)], dim=1)
    origins = pose[:, None, :3, 3]
    directions = F.normalize((pose @ ahead)[:, :3].transpose(1, 2) - origins, dim=-1)
    return origins.expand_as(directions), directions


def render_rays(
    planes: Tensor,
    decoder: Decoder,
    axes: PlaneAxes,
    box: Box,
    origins: Tensor,
    directions: Tensor,
    rendering: RenderingPreset,
    *,
    generator: torch.Generator | None = None,
    silhouette: Silhouette | None = None,
) -> Rendering:
    """Render rays (origins and unit directions, [B, N, 3]) through planes [B, 3, C, H, W], within a `silhouette`.

    Without a random generator the result is deterministic: depths in the middle of their strata and
    evenly spaced quantiles. Rays are taken in chunks, so that memory stays bounded without gradients.
    """
    field = partial(_evaluate, PlaneSampler(planes, axes, box), decoder, silhouette)
    samples = rendering.depth_samples + rendering.importance_samples
    chunk = max(1, _CHUNK // (samples * planes.shape[0]))
    limits = ray_limits(origins, directions, box, rendering)
    pieces = zip(*(x.split(chunk, dim=1) for x in (origins, directions, *limits)), strict=True)
    parts = [
        _render_chunk(field, origin, direction, start, end, box, rendering, generator)
        for origin, direction, start, end in pieces
    ]
    features, depth, weights, nearest, farthest = (list(column) for column in zip(*parts, strict=True))
    # Every depth is inside the range that was sampled, an uncovered ray's at its far end.
    depth = torch.cat(depth, dim=1).clamp(torch.stack(nearest).min(), torch.stack(farthest).max())
    return Rendering(torch.cat(features, dim=1), depth, torch.cat(weights, dim=1))


def _render_chunk(
    field: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
    origins: Tensor,
    directions: Tensor,
    start: Tensor,
    end: Tensor,
    box: Box,
    rendering: RenderingPreset,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    depths = stratified_depths(start, end, rendering, generator)
    densities, color = field(origins, directions, depths)
    colors, order = [color], None
    if rendering.importance_samples:
        weights = interval_weights(depths, densities)
        fine = importance_depths(depths, weights, rendering.importance_samples, generator)
        fine_densities, fine_color = field(origins, directions, fine)
        colors.append(fine_color)
        depths, order = torch.cat([depths, fine], dim=2).sort(dim=2)
        densities = torch.cat([densities, fine_densities], dim=2).gather(2, order)
    weights = interval_weights(depths, densities)
    if rendering.box_limits and rendering.missed == "empty":
        enter, leave = box_crossing(origins, directions, box)
        weights = weights * (enter < leave)
    features, depth, coverage = composite(depths, weights, colors, order, white_background=rendering.white_background)
    return features, depth, coverage, depths.detach().amin(), depths.detach().amax()


def _evaluate(
    sampler: PlaneSampler,
    decoder: Decoder,
    silhouette: Silhouette | None,
    origins: Tensor,
    directions: Tensor,
    depths: Tensor,
) -> tuple[Tensor, Tensor]:
    """Density [B, N, S] and colour features [B, N, S, C] at depths [B, N, S] along the rays."""
    points = origins[..., None, :] + depths[..., None] * directions[..., None, :]
    density, color = decoder(sampler(points.flatten(1, 2)))
    density = density.view(depths.shape)
    if silhouette is not None:
        density = torch.minimum(density, silhouette.bound(points))
    return density, color.view(*depths.shape, -1)


def ray_limits(origins: Tensor, directions: Tensor, box: Box, rendering: RenderingPreset) -> tuple[Tensor, Tensor]:
    """Where sampling starts and ends on every ray, each [B, N, 1]."""
    if rendering.box_limits:
        return box_limits(origins, directions, box)
    like = origins[..., :1]
    return torch.full_like(like, rendering.ray_start), torch.full_like(like, rendering.ray_end)


def box_limits(origins: Tensor, directions: Tensor, box: Box) -> tuple[Tensor, Tensor]:
    """Distances [B, N, 1] at which rays enter and leave the box; missed rays get the entries' range."""
    start, end = box_crossing(origins, directions, box)
    hit = start < end
    if not hit.any():  # nothing to see: any range outside the box will do
        return torch.zeros_like(start), torch.ones_like(end)
    # Planes reach beyond the box along their normals, so a ray that misses sees something all the same:
    # it is sampled where the authors sample it, between the first and the last entry of the others.
    return torch.where(hit, start, start[hit].min()), torch.where(hit, end, start[hit].max())


def box_crossing(origins: Tensor, directions: Tensor, box: Box) -> tuple[Tensor, Tensor]:
    """Distances [B, N, 1] at which rays enter and leave the box; those that miss it leave before they enter."""
    # A ray along a face would meet it nowhere and everywhere.
    inverse = 1 / torch.where(directions.abs() < 1e-9, 1e-9, directions)
    first = (origins.new_tensor(box.low) - origins) * inverse
    second = (origins.new_tensor(box.high) - origins) * inverse
    start = torch.minimum(first, second).amax(dim=-1, keepdim=True)
    end = torch.maximum(first, second).amin(dim=-1, keepdim=True)
    return start, end


def stratified_depths(
    start: Tensor, end: Tensor, rendering: RenderingPreset, generator: torch.Generator | None
) -> Tensor:
    """One depth in each of S equal strata of rays with limits [B, N, 1]: [B, N, S]."""
    count = rendering.depth_samples
    even = torch.arange(count, dtype=start.dtype, device=start.device) / (count - 1)
    jitter = _uniform((*start.shape[:2], count), start, generator)
    if rendering.spacing == "disparity":
        where = even + jitter / (count - 1)
        return 1 / ((1 - where) / start + where / end)
    return (start + even * (end - start)) + jitter * ((end - start) / (count - 1))


def _uniform(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform random numbers, or one half everywhere in the deterministic mode."""
    if generator is None:
        return like.new_full(shape, 0.5)
    return torch.rand(shape, generator=generator, dtype=like.dtype, device=like.device)


def interval_weights(depths: Tensor, densities: Tensor) -> Tensor:
    """How much each interval between neighbouring samples adds to its pixel: [B, N, S] to [B, N, S - 1]."""
    density = F.softplus((densities[..., :-1] + densities[..., 1:]) / 2 - 1)
    thickness = density * depths.diff(dim=-1)
    alpha = 1 - torch.exp(-thickness)
    transmittance = torch.exp(-F.pad(thickness[..., :-1], (1, 0)).cumsum(dim=-1))
    return alpha * transmittance


def composite(
    depths: Tensor,
    weights: Tensor,
    colors: Sequence[Tensor],
    order: Tensor | None = None,
    *,
    white_background: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Sorted depths [B, N, S] and interval weights [B, N, S - 1] to features, mean depth and coverage of rays.

    Colours, each [B, N, some of S, C] in [0, 1], may be unsorted: `order` [B, N, S] says where each sorted
    sample is among them. Features [B, N, C] are in [-1, 1]; depth and coverage [B, N, 1]; an uncovered
    ray's depth is infinite.
    """
    # Each interval shows the mean colour of its ends, so a sample counts half of both its intervals.
    shares = (F.pad(weights, (1, 0)) + F.pad(weights, (0, 1))) / 2
    if order is not None:  # one share a sample moves, not its many colours
        shares = torch.zeros_like(shares).scatter(2, order, shares)
    pieces = zip(shares.split([color.shape[2] for color in colors], dim=2), colors, strict=True)
    features = torch.stack([(share[..., None, :] @ color).squeeze(-2) for share, color in pieces]).sum(dim=0)
    coverage = weights.sum(dim=2, keepdim=True)
    middle = (depths[..., :-1] + depths[..., 1:]) / 2
    covered = coverage > 0
    depth = (weights * middle).sum(dim=2, keepdim=True) / torch.where(covered, coverage, 1.0)
    depth = torch.where(covered, depth, torch.inf)
    if white_background:
        features = features + 1 - coverage
    return features * 2 - 1, depth, coverage


def importance_depths(depths: Tensor, weights: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """`count` more depths where the coarse weights (smoothed) are: [B, N, count], without gradients."""
    with torch.no_grad():
        flat = depths.flatten(0, 1)
        smooth = F.max_pool1d(weights.flatten(0, 1)[:, None], 2, stride=1, padding=1)
        smooth = F.avg_pool1d(smooth, 2, stride=1)[:, 0] + 0.01
        middle = (flat[:, :-1] + flat[:, 1:]) / 2
        fine = inverse_transform_depths(middle, smooth[:, 1:-1], count, generator)
    return fine.view(*depths.shape[:2], count)


def inverse_transform_depths(edges: Tensor, weights: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Samples [R, count] of the piecewise constant density with `weights` [R, M] between `edges` [R, >= M+1]."""
    probabilities = weights + 1e-5
    probabilities = probabilities / probabilities.sum(dim=-1, keepdim=True)
    cumulative = F.pad(probabilities.cumsum(dim=-1), (1, 0))
    shape = (weights.shape[0], count)
    if generator is None:
        quantiles = torch.linspace(0, 1, count, dtype=weights.dtype, device=weights.device).expand(shape)
    else:
        quantiles = torch.rand(shape, generator=generator, dtype=weights.dtype, device=weights.device)
    above = torch.searchsorted(cumulative, quantiles.contiguous(), right=True)
    below = (above - 1).clamp_(min=0)
    above = above.clamp_(max=weights.shape[1])
    low, high = cumulative.gather(1, below), cumulative.gather(1, above)
    width = high - low
    fraction = (quantiles - low) / torch.where(width < 1e-5, torch.ones_like(width), width)
    start, end = edges.gather(1, below), edges.gather(1, above)
    return start + fraction * (end - start)
