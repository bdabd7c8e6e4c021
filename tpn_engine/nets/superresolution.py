"""EG3D's super-resolution: two StyleGAN2 blocks on the rendered features."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tpn_engine.nets.layers import cpu_layout, resample_filter
from tpn_engine.nets.presets import SuperResolutionKind, SuperResolutionPreset
from tpn_engine.nets.stylegan2 import SynthesisBlock

# Widths of the two blocks, and whether the first one doubles the resolution as the second does.
_BLOCKS: dict[SuperResolutionKind, tuple[int, int, bool]] = {
    "8xdc": (256, 128, True),
    "8x": (128, 64, True),
    "4x": (128, 64, False),
    "2x": (128, 64, False),
}


class SuperResolution(nn.Module):
    """Rendered features [B, C, R, R] in [-1, 1] to an image [B, 3, S, S]; the RGB is carried along.

    Only the last w is used and noise is off, as the official models were trained.
    """

    def __init__(self, preset: SuperResolutionPreset, feature_channels: int, w_dim: int):
        super().__init__()
        first, second, doubles = _BLOCKS[preset.kind]
        self.input_resolution = preset.input_resolution
        self.antialias = preset.antialias
        size = preset.input_resolution * (2 if doubles else 1)
        clamp = preset.conv_clamp
        self.block0 = SynthesisBlock(feature_channels, first, w_dim, size, 3, upsample=doubles, clamp=clamp)
        self.block1 = SynthesisBlock(first, second, w_dim, 2 * size, 3, clamp=clamp)
        if preset.kind in ("4x", "2x"):  # unused, but the official state dicts hold it
            self.register_buffer("resample_filter", resample_filter())

    def forward(self, features: Tensor, ws: Tensor) -> Tensor:
        """Features [B, C, R, R] whose first three channels are RGB, ws [B, num_ws, w_dim]."""
        if features.shape[-1] != self.input_resolution:
            size = (self.input_resolution, self.input_resolution)
            features = F.interpolate(features, size=size, mode="bilinear", antialias=self.antialias)
        x = cpu_layout(features)
        w = ws[:, -1:].expand(-1, 3, -1)
        x, image = self.block0(x, x[:, :3], w, "none")
        x, image = self.block1(x, image, w, "none")
        return image.contiguous(memory_format=torch.contiguous_format)
