"""The layers StyleGAN2 is made of: equalised linear layer, [1,3,3,1] resampling, modulated convolution."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAKY_SLOPE = 0.2
LEAKY_GAIN = math.sqrt(2.0)  # keeps the variance through a leaky ReLU


class FullyConnected(nn.Module):
    """StyleGAN's equalised linear layer, [..., in] to [..., out].

    Stored weights have unit variance; weight * lr_multiplier / sqrt(in) and bias * lr_multiplier are
    what is applied. With `leaky`, a leaky ReLU of slope 0.2 and gain sqrt(2) follows.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
        leaky: bool = False,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init / lr_multiplier))
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier
        self.leaky = leaky

    def effective(self) -> tuple[Tensor, Tensor]:
        """Weight [out, in] and bias [out] as they are applied."""
        return self.weight * self.weight_gain, self.bias * self.bias_gain

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, *self.effective())
        return F.leaky_relu(y, LEAKY_SLOPE) * LEAKY_GAIN if self.leaky else y


def normalize_second_moment(x: Tensor) -> Tensor:
    """Scale each row of [B, C] to a mean square of one."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def resample_filter() -> Tensor:
    """The [1,3,3,1] low-pass filter as a 4x4 kernel with sum one (a buffer of the official state dicts)."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return taps.outer(taps) / 64


def cpu_layout(x: Tensor) -> Tensor:
    """Channels-last on a CPU, where convolutions and depthwise filters then need no reordering.

    A clone: `contiguous` would leave a single image its strides, and convolutions misread those.
    """
    return x.clone(memory_format=torch.channels_last) if x.device.type == "cpu" else x


def upsample2d(x: Tensor) -> Tensor:
    """Double [B, C, H, W] with the filter [1,3,3,1]; outside the image is zero.

    Its two phases weigh neighbours 1/4 and 3/4, so inside it is bilinear interpolation; only the border
    differs, hence the ring of zeros.
    """
    padded = F.pad(x, (1, 1, 1, 1))
    return F.interpolate(padded, scale_factor=2, mode="bilinear", align_corners=False)[..., 2:-2, 2:-2]


def filter2d(x: Tensor, kernel: Tensor, padding: tuple[int, int, int, int], *, stride: int = 1) -> Tensor:
    """Convolve every channel of [B, C, H, W] with one kernel [k, l], whose taps run against the image's.

    `padding` are the zeros left, right, above and below; negative numbers crop.
    """
    channels = x.shape[1]
    left, right, above, below = padding
    weight = kernel.to(x.dtype).flip((0, 1)).expand(channels, 1, *kernel.shape)
    if left == right == above == below >= 0:  # without a copy of the image
        return F.conv2d(x, weight, stride=stride, padding=left, groups=channels)
    return F.conv2d(F.pad(x, padding), weight, stride=stride, groups=channels)


def downsample2d(x: Tensor, kernel: Tensor) -> Tensor:
    """Halve [B, C, H, W] with the resampling filter, zeros outside."""
    return filter2d(x, kernel, (1, 1, 1, 1), stride=2)


def upsampling_conv2d(x: Tensor, weight: Tensor, kernel: Tensor) -> Tensor:
    """Double [B, I, H, W] by a 3x3 transposed convolution (weight [O, I, 3, 3]), then low-pass: [B, O, 2H, 2W]."""
    y = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    return filter2d(y, kernel * 4, (1, 1, 1, 1))


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    offset: Tensor,
    kernel: Tensor | None = None,
    *,
    demodulate: bool = True,
    gain: float = 1.0,
) -> Tensor:
    """StyleGAN2's convolution whose input channels are scaled per sample, times `gain`, plus `offset`.

    x [B, I, H, W], weight [O, I, k, k], styles [B, I], offset broadcastable to the result; with `kernel`
    (the resampling filter) the output is twice as large. Demodulation scales each output channel to unit
    expected variance (Karras et al. 2020, section 2.2). The scales commute with the convolution: one
    sample carries them in its weights, a batch in its activations, so that a batch shares the weights.
    """
    if x.shape[0] == 1:
        weight = weight * styles[..., None, None]
        if demodulate:
            energy = torch.linalg.vector_norm(weight.flatten(1), dim=1).square()
            weight = weight * ((energy + 1e-8).rsqrt() * gain)[:, None, None, None]
        else:
            weight = weight * gain
        return _conv2d(x, weight, kernel).add_(offset)
    scale = torch.full_like(styles[:, :1], gain)
    if demodulate:
        energy = styles.square() @ weight.square().sum(dim=(2, 3)).t()
        scale = scale * (energy + 1e-8).rsqrt()
    y = _conv2d(x * styles[..., None, None], weight, kernel)
    return torch.addcmul(offset, y, scale[..., None, None])


def _conv2d(x: Tensor, weight: Tensor, kernel: Tensor | None) -> Tensor:
    if kernel is None:
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    return upsampling_conv2d(x, weight, kernel)


def resize2d(x: Tensor, size: int) -> Tensor:
    """Resize [B, C, R, R] to [B, C, size, size], bilinear with antialias."""
    if x.shape[-1] == size:
        return x
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
