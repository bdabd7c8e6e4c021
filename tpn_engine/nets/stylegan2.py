"""StyleGAN2: the mapping network and the synthesis blocks that make tri-planes and super-resolve images."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tpn_engine.nets.layers import (
    LEAKY_GAIN,
    LEAKY_SLOPE,
    FullyConnected,
    cpu_layout,
    modulated_conv2d,
    normalize_second_moment,
    resample_filter,
    upsample2d,
)

Noise = Literal["constant", "none", "random"]


class MappingNetwork(nn.Module):
    """Latent z [B, z_dim] and camera label [B, label_dim] to w [B, w_dim]; either dimension may be zero."""

    w_avg: Tensor

    def __init__(
        self, z_dim: int, label_dim: int, w_dim: int, layers: int, *, lr_multiplier: float = 0.01, track: bool
    ):
        super().__init__()
        self.z_dim = z_dim
        self.layers = layers
        embedded = w_dim if label_dim else 0
        if label_dim:
            self.embed = FullyConnected(label_dim, embedded)
        for i in range(layers):
            width = z_dim + embedded if i == 0 else w_dim
            setattr(self, f"fc{i}", FullyConnected(width, w_dim, lr_multiplier=lr_multiplier, leaky=True))
        if track:
            self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor | None, label: Tensor | None) -> Tensor:
        parts = []
        if z is not None:
            parts.append(normalize_second_moment(z))
        if label is not None:
            parts.append(normalize_second_moment(self.embed(label)))
        x = torch.cat(parts, dim=1)
        for i in range(self.layers):
            x = getattr(self, f"fc{i}")(x)
        return x


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU, clamp: [B, I, H, W] to [B, O, R, R]."""

    noise_const: Tensor
    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        *,
        upsample: bool,
        clamp: float | None,
    ):
        super().__init__()
        self.upsample = upsample
        self.clamp = clamp
        self.affine = FullyConnected(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.register_buffer("resample_filter", resample_filter())

    def forward(self, x: Tensor, w: Tensor, noise: Noise) -> Tensor:
        kernel = self.resample_filter if self.upsample else None
        # A leaky ReLU commutes with a positive gain, so sqrt(2) goes into what precedes it.
        offset = self._offset(x.shape[0], noise)
        y = modulated_conv2d(x, self.weight, self.affine(w), offset, kernel, gain=LEAKY_GAIN)
        y = F.leaky_relu_(y, LEAKY_SLOPE)
        if self.clamp is None:
            return y
        return y.clamp(-self.clamp, self.clamp) if y.requires_grad else y.clamp_(-self.clamp, self.clamp)

    def _offset(self, batch: int, noise: Noise) -> Tensor:
        """Bias and noise [1 or B, O, 1 or R, 1 or R]."""
        bias = self.bias[:, None, None]
        if noise == "none":
            return bias * LEAKY_GAIN
        if noise == "random":
            values = torch.randn(batch, 1, *self.noise_const.shape, device=bias.device, dtype=bias.dtype)
        else:
            values = self.noise_const
        return (bias + values * self.noise_strength) * LEAKY_GAIN


class ToImage(nn.Module):
    """Modulated 1x1 convolution without demodulation, from features to image channels ("torgb")."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, *, clamp: float | None):
        super().__init__()
        self.clamp = clamp
        self.affine = FullyConnected(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.gain = in_channels**-0.5

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        offset = self.bias[:, None, None]
        y = modulated_conv2d(x, self.weight, self.affine(w), offset, demodulate=False, gain=self.gain)
        return y if self.clamp is None else y.clamp(-self.clamp, self.clamp)


class SynthesisBlock(nn.Module):
    """One resolution of the synthesis with a skip image: two layers (one in the first block) and a `torgb`.

    The first block (no in_channels) starts from a learned constant. `upsample` doubles features and
    image; without it both stay (the super-resolutions' first block).
    """

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        image_channels: int,
        *,
        upsample: bool = True,
        clamp: float | None = None,
    ):
        super().__init__()
        self.upsample = upsample
        self.register_buffer("resample_filter", resample_filter())
        if in_channels:
            self.conv0 = SynthesisLayer(in_channels, out_channels, w_dim, resolution, upsample=upsample, clamp=clamp)
        else:
            self.const = nn.Parameter(torch.randn(out_channels, resolution, resolution))
        self.conv1 = SynthesisLayer(out_channels, out_channels, w_dim, resolution, upsample=False, clamp=clamp)
        self.torgb = ToImage(out_channels, image_channels, w_dim, clamp=clamp)
        self.layers = 2 if in_channels else 1

    def forward(self, x: Tensor | None, image: Tensor | None, ws: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Features and skip image of the last block (None at the start), ws [B, layers + 1, w_dim]."""
        if x is None:
            features = cpu_layout(self.const.expand(ws.shape[0], *self.const.shape))
        else:
            features = self.conv0(x, ws[:, 0], noise)
        features = self.conv1(features, ws[:, self.layers - 1], noise)
        y = self.torgb(features, ws[:, self.layers])
        if image is not None:
            y = y + (upsample2d(image) if self.upsample else image)
        return features, y


class SynthesisNetwork(nn.Module):
    """StyleGAN2 synthesis with skip connections: ws [B, num_ws, w_dim] to an image [B, C, R, R].

    Channels at each resolution are min(channel_base / resolution, channel_max). Every `torgb` shares
    its w with the next block's first layer.
    """

    def __init__(self, w_dim: int, resolution: int, image_channels: int, channel_base: int, channel_max: int):
        super().__init__()
        self.resolutions = [2**i for i in range(2, resolution.bit_length())]
        previous = 0
        for size in self.resolutions:
            channels = min(channel_base // size, channel_max)
            setattr(self, f"b{size}", SynthesisBlock(previous, channels, w_dim, size, image_channels))
            previous = channels
        self.num_ws = 2 * len(self.resolutions)

    def forward(self, ws: Tensor, noise: Noise) -> Tensor:
        x = image = None
        first = 0
        for size in self.resolutions:
            block: SynthesisBlock = getattr(self, f"b{size}")
            x, image = block(x, image, ws[:, first : first + block.layers + 1], noise)
            first += block.layers
        assert image is not None
        return image


class StyleGan2(nn.Module):
    """Mapping and synthesis (the `backbone` of EG3D)."""

    def __init__(
        self,
        z_dim: int,
        label_dim: int,
        w_dim: int,
        mapping_layers: int,
        resolution: int,
        image_channels: int,
        channel_base: int,
        channel_max: int,
    ):
        super().__init__()
        self.synthesis = SynthesisNetwork(w_dim, resolution, image_channels, channel_base, channel_max)
        self.mapping = MappingNetwork(z_dim, label_dim, w_dim, mapping_layers, track=True)
        self.num_ws = self.synthesis.num_ws
