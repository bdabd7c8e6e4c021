"""The network that sees in a photo where a face's surface is wrong."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = (16, 32, 48, 64)  # at full, half, quarter and eighth resolution
UNIT, RELIEF = 0.003, 0.005  # EG3D units that an answer and a relief of 1 mean
GROUPS = 8
FAINTEST = 0.02  # standard deviation of a picture, below which it is not made stronger


class Block(nn.Module):
    """Two 3x3 convolutions, each normalised in groups; [B, in, H, W] to [B, out, H, W]."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.first_norm = nn.GroupNorm(GROUPS, out_channels)
        self.second = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.second_norm = nn.GroupNorm(GROUPS, out_channels)

    def forward(self, features: Tensor) -> Tensor:
        features = F.silu(self.first_norm(self.first(features)))
        return F.silu(self.second_norm(self.second(features)))


class DisplacementNet(nn.Module):
    """A face spread out flat, its picture [B, 3, S, S] and relief [B, S, S] to its displacement [B, S, S].

    The picture is sRGB in whatever light, the relief and the displacement are in EG3D units; `covered` [S, S] bool is
    the part of the square that the face takes. S is a multiple of 8. A small U-Net (Ronneberger et al. 2015); new, it
    answers 0.
    """

    def __init__(self) -> None:
        super().__init__()
        into = (6, *CHANNELS)
        self.down = nn.ModuleList(Block(before, after) for before, after in pairwise(into))
        up = CHANNELS[::-1]
        self.up = nn.ModuleList(Block(below + beside, beside) for below, beside in pairwise(up))
        self.out = nn.Conv2d(CHANNELS[0], 1, 1, bias=False)
        self.out.weight.data.zero_()

    def forward(self, picture: Tensor, relief: Tensor, covered: Tensor) -> Tensor:
        features, beside = _inputs(picture, relief, covered), []
        for level, block in enumerate(self.down):
            features = block(features if level == 0 else F.avg_pool2d(features, 2))
            beside.append(features)
        beside.pop()
        for block in self.up:
            features = block(torch.cat([F.interpolate(features, scale_factor=2), beside.pop()], dim=1))
        return UNIT * self.out(features)[:, 0]


def _inputs(picture: Tensor, relief: Tensor, covered: Tensor) -> Tensor:
    """The picture without its brightness, colour and contrast, the relief and where each pixel is, [B, 6, S, S]."""
    share = covered / covered.sum()
    picture = (picture - (picture * share).sum((2, 3), keepdim=True)) * covered
    contrast = (picture.square() * share / 3).sum((1, 2, 3), keepdim=True).sqrt()
    along = torch.linspace(-1, 1, len(covered), device=picture.device)
    here = torch.stack(torch.meshgrid(along, along, indexing="xy")).expand(len(picture), -1, -1, -1)
    return torch.cat([picture / contrast.clamp(min=FAINTEST), (relief / RELIEF * covered)[:, None], here], dim=1)
