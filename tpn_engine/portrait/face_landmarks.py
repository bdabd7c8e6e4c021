"""The network that finds 468 landmarks on a face, as MediaPipe trained it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

INPUT_SIZE = 192
LANDMARKS = 468


def pad_after(features: Tensor) -> Tensor:
    """One row and one column of zeros behind: what TensorFlow's "same" adds for a 3x3 stride of 2."""
    return F.pad(features, (0, 1, 0, 1))


class ResidualUnit(nn.Module):
    """Depthwise and pointwise convolution added to the input, then PReLU; same shape out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)
        self.activation = nn.PReLU(channels)

    def forward(self, features: Tensor) -> Tensor:
        return self.activation(features + self.pointwise(self.depthwise(features)))


class DownUnit(nn.Module):
    """Residual unit at half the resolution; new channels of the shortcut are zero."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, stride=2, groups=channels)
        self.pointwise = nn.Conv2d(channels, out_channels, 1)
        self.activation = nn.PReLU(out_channels)
        self.new_channels = out_channels - channels

    def forward(self, features: Tensor) -> Tensor:
        shortcut = F.pad(F.max_pool2d(features, 2), (0, 0, 0, 0, 0, self.new_channels))
        return self.activation(shortcut + self.pointwise(self.depthwise(pad_after(features))))


def _head(residual_units: int, outputs: int) -> nn.Sequential:
    """From the trunk's [B, 128, 6, 6] to [B, outputs, 1, 1]."""
    return nn.Sequential(
        DownUnit(128, 128),
        *(ResidualUnit(128) for _ in range(residual_units)),
        nn.Conv2d(128, 32, 1),
        nn.PReLU(32),
        ResidualUnit(32),
        nn.Conv2d(32, outputs, 3),
    )


class FaceLandmarkNet(nn.Module):
    """Face crop [B, 3, 192, 192], RGB in [0, 1] -> landmarks [B, 468, 3], presence logit [B].

    x, y in pixels of the crop, z in the same unit, smaller nearer to the viewer.
    Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video", 2019.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2)
        self.stem_activation = nn.PReLU(16)
        self.trunk = nn.Sequential(
            ResidualUnit(16),
            ResidualUnit(16),
            DownUnit(16, 32),
            ResidualUnit(32),
            ResidualUnit(32),
            DownUnit(32, 64),
            ResidualUnit(64),
            ResidualUnit(64),
            DownUnit(64, 128),
            ResidualUnit(128),
            ResidualUnit(128),
            DownUnit(128, 128),
            ResidualUnit(128),
            ResidualUnit(128),
        )
        self.landmarks = _head(2, LANDMARKS * 3)
        self.presence = _head(0, 1)

    def forward(self, face: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(self.stem_activation(self.stem(pad_after(face))))
        return self.landmarks(features).reshape(-1, LANDMARKS, 3), self.presence(features).flatten()
