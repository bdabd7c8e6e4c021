"""EG3D's decoder: what a point's plane features mean."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tpn_engine.nets.layers import FullyConnected


class Decoder(nn.Module):
    """Mean plane features to density and colour features (EG3D's OSG decoder, one hidden softplus layer)."""

    net: nn.Sequential

    def __init__(self, channels: int = 32, hidden: int = 64):
        super().__init__()
        self.net = nn.Sequential(FullyConnected(channels, hidden), nn.Softplus(), FullyConnected(hidden, 1 + channels))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """[..., C] to density [..., 1] before activation and colour features [..., C].

        Colour features lie in (-0.001, 1.001), the sigmoid widened as in mip-NeRF; the first three
        are sRGB.
        """
        hidden = self.net[1](self.net[0](features))
        last = self.net[2]
        assert isinstance(last, FullyConnected)
        weight, bias = last.effective()
        # Apart, so that each result is contiguous: the sigmoid is then twice as fast on a CPU.
        density = F.linear(hidden, weight[:1], bias[:1])
        color = torch.sigmoid(F.linear(hidden, weight[1:], bias[1:]))
        return density, torch.add(color.new_full((), -0.001), color, alpha=1.002)
