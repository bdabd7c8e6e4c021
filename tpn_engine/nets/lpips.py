"""LPIPS: how different two pictures look, by the features of a network that tells objects apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = (64, 192, 384, 256, 256)
"""Of AlexNet's five feature maps."""

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet's colours, for pictures in [-1, 1]
_AFTER = (1, 4, 7, 9, 11)  # the layers whose output is a feature map: every ReLU
_SMALLEST_EDGE = 64  # pixels: the linear weights were learnt from patches of this size
_EPSILON = 1e-10


class Lpips(nn.Module):
    """Learned perceptual distance (Zhang et al. 2018), version 0.1 with AlexNet: pictures -> [B].

    Two pictures [B,3,H,W] or [1,3,H,W] in [-1,1] of one size; those with a side under 64 pixels are enlarged.
    0 where they are equal. `features` has torchvision's names, so that its AlexNet's can be taken as they are.
    """

    def __init__(self) -> None:
        super().__init__()
        first, second, third, fourth, fifth = CHANNELS
        self.features = nn.Sequential(
            nn.Conv2d(3, first, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(first, second, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(second, third, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(third, fourth, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(fourth, fifth, 3, padding=1),
            nn.ReLU(),
        )
        self.channel_weights = nn.ParameterList(torch.zeros(1, channels, 1, 1) for channels in CHANNELS)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        parts = [
            ((a - b).square() * weights).sum(dim=1).mean(dim=(1, 2))
            for a, b, weights in zip(self._maps(one), self._maps(other), self.channel_weights, strict=True)
        ]
        return torch.stack(parts).sum(dim=0)

    def _maps(self, pictures: Tensor) -> list[Tensor]:
        """The five feature maps, each pixel's of length 1."""
        smallest = min(pictures.shape[-2:])
        if smallest < _SMALLEST_EDGE:
            larger = [round(side * _SMALLEST_EDGE / smallest) for side in pictures.shape[-2:]]
            pictures = F.interpolate(pictures, size=larger, mode="bilinear", align_corners=False)
        x = (pictures - pictures.new_tensor(_SHIFT)[:, None, None]) / pictures.new_tensor(_SCALE)[:, None, None]
        maps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in _AFTER:
                # The small number under the root as well: its slope at a pixel without features would be infinite.
                length = (x.square().sum(dim=1, keepdim=True) + _EPSILON**2).sqrt()
                maps.append(x / (length + _EPSILON))
        return maps
