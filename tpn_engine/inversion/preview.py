"""A small picture of a head while it is being fitted."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from tpn_engine.inversion.pixels import see
from tpn_engine.nets.generator import Generator
from tpn_engine.nets.presets import Preset

_SIZE = 64  # pixels an edge: a quarter of a second on one core


@torch.no_grad()
def preview(preset: Preset, generator: Generator, planes: Tensor, label: Tensor, matte: Tensor | None) -> Image.Image:
    """Planes [1, 3, C, H, W] as the photo's camera label [1, 25] sees them, over black, 64 x 64.

    The photo's matte [1, 1, S, S] in [0, 1] cuts off what it will cut off the head.
    """
    seen = see(planes, generator.decoder, generator.preset, label, _SIZE, torch.arange(_SIZE**2))
    rgb = seen.color[0].clamp(0, 1).view(_SIZE, _SIZE, 3)
    if preset.bounded and matte is not None:
        rgb = rgb * adaptive_avg_pool2d(matte, _SIZE)[0, 0, ..., None]
    pixels = (rgb * 255 + 0.5).byte().cpu().numpy()
    return Image.fromarray(pixels, "RGB")
