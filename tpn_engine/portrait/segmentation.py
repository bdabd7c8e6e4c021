"""The network that separates a person from the background, as MediaPipe trained it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INPUT_SIZE = 256


def same_padding(features: Tensor, kernel: int, stride: int) -> Tensor:
    """Zeros around as TensorFlow's "same" adds them: for even sizes the odd one goes behind."""
    total = kernel - stride
    before = total // 2
    return F.pad(features, (before, total - before, before, total - before))


class ChannelGate(nn.Module):
    """Squeeze and excitation: factors in [0, 1] for each channel, from the mean over the picture."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        mean = features.mean(dim=(2, 3), keepdim=True)
        return self.excite(self.squeeze(mean).relu()).sigmoid()


class InvertedResidual(nn.Module):
    """MobileNetV3's unit: expand, depthwise, gate, project; added to the input where shapes allow."""

    def __init__(
        self,
        channels: int,
        expanded: int,
        out_channels: int,
        *,
        kernel: int,
        stride: int,
        activation: type[nn.Module],
        gate_hidden: int | None,
    ) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.expand = nn.Conv2d(channels, expanded, 1)
        self.depthwise = nn.Conv2d(expanded, expanded, kernel, stride=stride, groups=expanded)
        self.gate = ChannelGate(expanded, gate_hidden) if gate_hidden else None
        self.project = nn.Conv2d(expanded, out_channels, 1)
        self.activation = activation()
        self.residual = stride == 1 and channels == out_channels

    def forward(self, features: Tensor) -> Tensor:
        inner = self.activation(self.expand(features))
        inner = self.activation(self.depthwise(same_padding(inner, self.kernel, self.stride)))
        if self.gate is not None:
            inner = inner * self.gate(inner)
        inner = self.project(inner)
        return features + inner if self.residual else inner


class UpUnit(nn.Module):
    """Twice the resolution: coarse features are brought up and merged with the encoder's, gated."""

    def __init__(self, channels: int, skip_channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, skip_channels, 1)
        self.gate = ChannelGate(skip_channels, skip_channels)
        self.merge = nn.Conv2d(skip_channels, skip_channels, 1)
        self.depthwise = nn.Conv2d(skip_channels, skip_channels, 3, padding=1, groups=skip_channels)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        coarse = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        coarse = self.reduce(coarse)
        merged = self.merge(skip * self.gate(skip + coarse) + coarse).relu()
        return merged + self.depthwise(merged).relu()


class SegmentationNet(nn.Module):
    """Picture [B, 3, 256, 256], RGB in [0, 1] -> person [B, 256, 256] in [0, 1].

    MediaPipe selfie segmentation: MobileNetV3 small with a gated decoder.
    """

    def __init__(self) -> None:
        super().__init__()
        relu, swish = nn.ReLU, nn.Hardswish
        self.stem = nn.Conv2d(3, 16, 3, stride=2)
        self.to_quarter = InvertedResidual(16, 16, 16, kernel=3, stride=2, activation=relu, gate_hidden=8)
        self.to_eighth = nn.Sequential(
            InvertedResidual(16, 72, 24, kernel=3, stride=2, activation=relu, gate_hidden=None),
            InvertedResidual(24, 88, 24, kernel=3, stride=1, activation=relu, gate_hidden=None),
        )
        self.to_sixteenth = nn.Sequential(
            InvertedResidual(24, 96, 32, kernel=5, stride=2, activation=swish, gate_hidden=24),
            InvertedResidual(32, 128, 32, kernel=5, stride=1, activation=swish, gate_hidden=32),
            InvertedResidual(32, 128, 32, kernel=5, stride=1, activation=swish, gate_hidden=32),
            InvertedResidual(32, 96, 32, kernel=5, stride=1, activation=swish, gate_hidden=24),
            InvertedResidual(32, 96, 32, kernel=5, stride=1, activation=swish, gate_hidden=24),
        )
        self.context = nn.Conv2d(32, 128, 1)
        self.context_gate = nn.Conv2d(32, 128, 1)
        self.up_eighth = UpUnit(128, 24)
        self.up_quarter = UpUnit(24, 16)
        self.up_half = UpUnit(16, 16)
        self.person = nn.ConvTranspose2d(16, 1, 2, stride=2)

    def forward(self, image: Tensor) -> Tensor:
        half = F.hardswish(self.stem(same_padding(image, 3, 2)))
        quarter = self.to_quarter(half)
        eighth = self.to_eighth(quarter)
        sixteenth = self.to_sixteenth(eighth)
        gate = self.context_gate(sixteenth.mean(dim=(2, 3), keepdim=True)).sigmoid()
        coarse = self.context(sixteenth).relu() * gate
        features = self.up_half(self.up_quarter(self.up_eighth(coarse, eighth), quarter), half)
        return torch.sigmoid(self.person(features))[:, 0]
