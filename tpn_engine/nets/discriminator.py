"""StyleGAN2's residual discriminator, and EG3D's dual one that also sees the volume rendering."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tpn_engine.nets.layers import (
    LEAKY_GAIN,
    LEAKY_SLOPE,
    FullyConnected,
    cpu_layout,
    downsample2d,
    filter2d,
    resample_filter,
    resize2d,
)
from tpn_engine.nets.presets import DiscriminatorPreset
from tpn_engine.nets.stylegan2 import MappingNetwork

_HALF_POWER = math.sqrt(0.5)  # keeps the variance when two branches are added


class ConvLayer(nn.Module):
    """Equalised k x k convolution, bias, leaky ReLU, clamp: [B, I, H, W] to [B, O, H, W] or half the size.

    Without activation (the residual branch) there is no bias either.
    """

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: int,
        *,
        downsample: bool = False,
        activate: bool = True,
        gain: float = 1.0,
        clamp: float,
    ):
        super().__init__()
        self.downsample = downsample
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, size, size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if activate else None
        self.register_buffer("resample_filter", resample_filter())
        self.weight_gain = 1 / math.sqrt(in_channels * size * size)
        self.gain = gain * (LEAKY_GAIN if activate else 1.0)
        self.clamp = clamp * gain

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * (self.weight_gain * self.gain)
        size = weight.shape[-1]
        if not self.downsample:
            y = F.conv2d(x, weight, padding=size // 2)
        elif size == 1:
            y = F.conv2d(downsample2d(x, self.resample_filter), weight)
        else:
            y = F.conv2d(filter2d(x, self.resample_filter, (2, 2, 2, 2)), weight, stride=2)
        if self.bias is not None:
            y = F.leaky_relu(y + (self.bias * self.gain)[:, None, None], LEAKY_SLOPE)
        return y.clamp(-self.clamp, self.clamp)


class DiscriminatorBlock(nn.Module):
    """Halve the resolution, with a residual branch; the first block also takes the image in."""

    resample_filter: Tensor

    def __init__(self, image_channels: int | None, in_channels: int, out_channels: int, clamp: float):
        super().__init__()
        self.register_buffer("resample_filter", resample_filter())
        self.fromrgb = ConvLayer(image_channels, in_channels, 1, clamp=clamp) if image_channels else None
        self.conv0 = ConvLayer(in_channels, in_channels, 3, clamp=clamp)
        self.conv1 = ConvLayer(in_channels, out_channels, 3, downsample=True, gain=_HALF_POWER, clamp=clamp)
        self.skip = ConvLayer(
            in_channels, out_channels, 1, downsample=True, activate=False, gain=_HALF_POWER, clamp=clamp
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.fromrgb is not None:
            x = self.fromrgb(cpu_layout(x))
        return self.skip(x) + self.conv1(self.conv0(x))


def minibatch_deviation(x: Tensor, group_size: int | None) -> Tensor:
    """Append to [B, C, H, W] one channel: the features' mean standard deviation over groups of the batch.

    Groups are of `group_size` (or the whole batch), taken with a stride; the batch must divide evenly.
    """
    batch, _, height, width = x.shape
    size = min(group_size or batch, batch)
    groups = x.reshape(size, -1, *x.shape[1:])
    deviation = (groups.var(dim=0, correction=0) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    plane = deviation.repeat(size)[:, None, None, None].expand(batch, 1, height, width)
    return torch.cat([x, plane], dim=1)


class DiscriminatorEpilogue(nn.Module):
    """Features [B, C, 4, 4] to a score [B, 1], projected on the mapped label [B, out] if there is one."""

    def __init__(self, channels: int, out_features: int, clamp: float, group_size: int | None):
        super().__init__()
        self.group_size = group_size
        self.conv = ConvLayer(channels + 1, channels, 3, clamp=clamp)
        self.fc = FullyConnected(channels * 16, channels, leaky=True)
        self.out = FullyConnected(channels, out_features)

    def forward(self, x: Tensor, mapped: Tensor | None) -> Tensor:
        x = self.conv(minibatch_deviation(x, self.group_size))
        x = self.out(self.fc(x.flatten(1)))
        if mapped is None:
            return x
        return (x * mapped).sum(dim=1, keepdim=True) / math.sqrt(mapped.shape[1])


class Discriminator(nn.Module):
    """Images [B, C, R, R] in [-1, 1], and labels [B, label_dim] if the preset has them, to scores [B, 1]."""

    def __init__(self, preset: DiscriminatorPreset):
        super().__init__()
        self.resolutions = [2**i for i in range(preset.resolution.bit_length() - 1, 2, -1)]

        def channels(resolution: int) -> int:
            return min(preset.channel_base // resolution, preset.channel_max)

        for size in self.resolutions:
            image_channels = preset.image_channels if size == preset.resolution else None
            block = DiscriminatorBlock(image_channels, channels(size), channels(size // 2), preset.conv_clamp)
            setattr(self, f"b{size}", block)
        width = channels(4)
        self.mapping = None
        if preset.label_dim:
            self.mapping = MappingNetwork(0, preset.label_dim, width, preset.mapping_layers, track=False)
        out_features = width if self.mapping else 1
        self.b4 = DiscriminatorEpilogue(width, out_features, preset.conv_clamp, preset.group_size)

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        x = image
        for size in self.resolutions:
            x = getattr(self, f"b{size}")(x)
        return self.b4(x, self.mapping(None, label) if self.mapping is not None else None)


class DualDiscriminator(Discriminator):
    """EG3D's: judges the image together with its volume rendering (`image_channels` is then six)."""

    def __init__(self, preset: DiscriminatorPreset):
        super().__init__(preset)
        self.register_buffer("resample_filter", resample_filter())  # unused, but official state dicts hold it

    def forward(self, image: Tensor, raw: Tensor, label: Tensor | None = None) -> Tensor:
        """image [B, 3, R, R], raw [B, 3, r, r] (resized), label [B, label_dim]; scores [B, 1]."""
        return super().forward(torch.cat([image, resize2d(raw, image.shape[-1])], dim=1), label)
