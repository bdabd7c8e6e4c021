"""pSp encoder: one portrait to the latent codes of the pivot."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from tpn_engine.nets.irse import residual_units, run_with_taps, stage_ends, stem
from tpn_engine.nets.layers import FullyConnected
from tpn_engine.nets.presets import PspPreset

COARSE_CODES = 3
MIDDLE_CODES = 7
"""Codes before this index and not coarse are middle, the rest fine (Richardson et al. 2021)."""


class StyleHead(nn.Module):
    """Reduces a map to one code by stride-2 convolutions: [B,in_channels,side,side] -> [B,w_dim]."""

    def __init__(self, in_channels: int, head_channels: int, w_dim: int, side: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(int(math.log2(side))):
            width = in_channels if index == 0 else head_channels
            layers += [nn.Conv2d(width, head_channels, 3, stride=2, padding=1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*layers)
        self.linear = FullyConnected(head_channels, w_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.convs(x).flatten(1))


class PspEncoder(nn.Module):
    """Encoder of pixel2style2pixel (Richardson et al. 2021) with an IR-SE body and a feature pyramid.

    Photo [B,C,S,S] in [-1,1], C its channels, S the preset's resolution, -> codes [B,num_ws,w_dim] relative to the
    generator's average code. The maps after stages 2, 3 and 4 feed the fine, middle and coarse codes.
    """

    def __init__(self, preset: PspPreset, num_ws: int, w_dim: int, photo_channels: int = 3) -> None:
        super().__init__()
        stem_width, _, fine, middle, coarse = preset.body.channels
        self.input_layer = stem(photo_channels, stem_width)
        self.body = residual_units(preset.body)
        self.taps = stage_ends(preset.body)[1:]
        self.styles = nn.ModuleList(
            StyleHead(coarse, preset.head_channels, w_dim, preset.resolution // _reduction(index))
            for index in range(num_ws)
        )
        self.latlayer1 = nn.Conv2d(middle, coarse, 1)
        self.latlayer2 = nn.Conv2d(fine, coarse, 1)

    def forward(self, photo: Tensor) -> Tensor:
        fine, middle, coarse = run_with_taps(self.body, self.input_layer(photo), self.taps)
        middle = _enlarged(coarse, middle) + self.latlayer1(middle)
        fine = _enlarged(middle, fine) + self.latlayer2(fine)
        maps = {16: coarse, 8: middle, 4: fine}
        return torch.stack([head(maps[_reduction(i)]) for i, head in enumerate(self.styles)], dim=1)


def _reduction(code: int) -> int:
    """How many times smaller than the photo the map is that the head of this code reads."""
    if code < COARSE_CODES:
        return 16
    return 8 if code < MIDDLE_CODES else 4


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    return interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)
