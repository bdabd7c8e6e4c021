"""What pictures and planes are compared by, all of it offline."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, finest scale first
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def weighted_mean(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean of `values`, weighted by something that broadcasts to them; zero where nothing weighs."""
    if weights is None:
        return values.mean()
    weights = weights.expand_as(values)
    return (values * weights).sum() / weights.sum().clamp(min=1e-6)


def squared_error(seen: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """L2: the (weighted) mean square of the difference."""
    return weighted_mean((seen - truth).square(), weights)


def smooth_l1(seen: Tensor, truth: Tensor, weights: Tensor | None = None, *, beta: float = 0.1) -> Tensor:
    """The (weighted) mean of the difference: its square below `beta`, linear above."""
    return weighted_mean(F.smooth_l1_loss(seen, truth, beta=beta, reduction="none"), weights)


def ms_ssim(seen: Tensor, truth: Tensor) -> Tensor:
    """Multi-scale structural similarity of pictures [B, C, H, W] in [0, 1]: 1 where they are equal.

    As many of the usual five scales as the pictures' size allows, with their weights scaled to sum to
    one; the smallest side must be at least 11 pixels.
    """
    scales = 1
    while scales < len(_SCALE_WEIGHTS) and min(seen.shape[-2:]) >> scales >= _WINDOW:
        scales += 1
    weights = seen.new_tensor(_SCALE_WEIGHTS[:scales])
    weights = weights / weights.sum()
    factors = []
    for scale in range(scales):
        luminance, structure = _similarity(seen, truth)
        last = scale == scales - 1
        value = (luminance * structure if last else structure).mean(dim=(1, 2, 3))
        factors.append(value.clamp(min=1e-4) ** weights[scale])
        if not last:
            seen, truth = F.avg_pool2d(seen, 2), F.avg_pool2d(truth, 2)
    return torch.stack(factors).prod(dim=0).mean()


def _similarity(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    channels = a.shape[1]
    distance = torch.arange(_WINDOW, dtype=a.dtype, device=a.device) - _WINDOW // 2
    line = torch.exp(-distance.square() / (2 * _SIGMA**2))
    line = line / line.sum()
    window = line.outer(line).expand(channels, 1, -1, -1)

    def blurred(x: Tensor) -> Tensor:
        return F.conv2d(x, window, groups=channels)

    mean_a, mean_b = blurred(a), blurred(b)
    variance = blurred(a * a) - mean_a.square() + blurred(b * b) - mean_b.square()
    covariance = blurred(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a.square() + mean_b.square() + _C1)
    return luminance, (2 * covariance + _C2) / (variance + _C2)


def total_variation(planes: Tensor) -> Tensor:
    """Mean absolute difference of neighbours along the last two dimensions."""
    return planes.diff(dim=-1).abs().mean() + planes.diff(dim=-2).abs().mean()


def noise_structure(noises: list[Tensor]) -> Tensor:
    """How much noise maps [R, R] resemble themselves when shifted by a texel, at every scale (StyleGAN2)."""
    total = noises[0].new_zeros(())
    for noise in noises:
        level = noise[None, None]
        while True:
            for axis in (2, 3):
                total = total + (level * level.roll(1, dims=axis)).mean().square()
            if level.shape[-1] <= 8:
                break
            level = F.avg_pool2d(level, 2)
    return total
