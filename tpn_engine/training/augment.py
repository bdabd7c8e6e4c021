"""What makes synthetic pictures more like photos: colour casts, blur, noise, imperfect mattes, cameras a little off."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.nets.labels import rotation
from tpn_engine.training.views import Views

GREY_SHARE = 0.04  # of heads seen in black-and-white
TURN = (0.035, 0.035, 0.012)  # standard deviations of a photo's pitch, yaw and roll, radians
SHIFT = 0.004  # and of the head's place, EG3D units
MOVED_SHARE = 0.5
FACE = (0.0, 0.0, 0.1)  # a camera found from the face's landmarks is right about where that is
MATTE_BLUR = (0.5, 2.5)  # 128ths of the picture


@dataclass(frozen=True)
class ColorShift:
    """One exposure, contrast, tint and saturation for all views of a head: `gamma`, `saturation` [B], `gain` [B,3]."""

    gamma: Tensor
    gain: Tensor
    saturation: Tensor

    @classmethod
    def random(cls, heads: int, random: torch.Generator) -> ColorShift:
        """Mild casts; a few heads become black-and-white."""
        normal = torch.randn(heads, 5, generator=random, device=random.device)
        uniform = torch.rand(heads, 2, generator=random, device=random.device)
        saturation = torch.where(uniform[:, 0] < GREY_SHARE, 0.0, 0.7 + 0.55 * uniform[:, 1])
        gain = (0.1 * normal[:, 1:2] + 0.04 * normal[:, 2:]).exp()
        return cls((0.15 * normal[:, 0]).exp(), gain, saturation)

    def __call__(self, rgb: Tensor) -> Tensor:
        """Colours [B,...,3] in [0,1] shifted; black stays black."""
        ones = (1,) * (rgb.dim() - 2)
        shifted = rgb ** self.gamma.view(-1, *ones, 1) * self.gain.view(-1, *ones, 3)
        grey = shifted.mean(-1, keepdim=True)
        return (grey + (shifted - grey) * self.saturation.view(-1, *ones, 1)).clamp(0, 1)


def misplaced(views: Views, random: torch.Generator) -> Views:
    """Half of the heads turned and shifted as far as the cameras that are found for photos are off."""
    heads, device = len(views.label), views.label.device
    moved = (torch.rand(heads, 1, generator=random, device=device) < MOVED_SHARE).float()
    angles = torch.randn(heads, 3, generator=random, device=device) * views.label.new_tensor(TURN) * moved
    shift = torch.randn(heads, 3, generator=random, device=device) * SHIFT * moved
    turn = rotation(angles)
    face = views.label.new_tensor(FACE)
    return views.moved(turn, shift + face - turn @ face)


def degrade(rgb: Tensor, alpha: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures [B,3,S,S] on black and mattes [B,1,S,S] as camera and segmentation would deliver them."""
    heads, size, device = len(rgb), rgb.shape[-1], rgb.device

    def uniform() -> Tensor:
        return torch.rand(heads, 1, 1, 1, generator=random, device=device)

    image = blurred(rgb, uniform() * 1.2 * (uniform() < 0.5), 4)
    noise = torch.randn(rgb.shape, generator=random, device=device)
    image = image + noise * (uniform() * 0.03 * (uniform() < 0.5))
    # A matte eats into the person here and there, as real ones do around hair.
    low, high = MATTE_BLUR
    soft = blurred(alpha, size / 128 * (low + (high - low) * uniform()), max(1, size // 16))
    coarse = torch.randn(heads, 1, 12, 12, generator=random, device=device)
    coarse = F.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)
    kept = ((soft - 0.2 - 0.4 * uniform() + 0.15 * coarse) * 6).clamp(0, 1)
    kept = torch.where(uniform() < 0.6, kept, 1.0)
    return (image * kept).clamp(0, 1), alpha * kept


def blurred(x: Tensor, sigma: Tensor, reach: int) -> Tensor:
    """Pictures [B,C,S,S], each blurred by a Gaussian of its own sigma [B,1,1,1] in pixels, as far as `reach`."""
    heads, channels = x.shape[:2]
    places = torch.arange(-reach, reach + 1, device=x.device)
    kernel = torch.exp(-0.5 * (places / sigma.view(-1, 1).clamp(min=1e-2)) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)[:, None]
    flat = F.pad(x.flatten(0, 1)[None], (reach,) * 4, mode="replicate")
    flat = F.conv2d(flat, kernel[:, :, :, None], groups=heads * channels)
    return F.conv2d(flat, kernel[:, :, None, :], groups=heads * channels)[0].view_as(x)
