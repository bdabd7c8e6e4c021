"""A small picture of a head while it is being fitted."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tpn_engine.inversion.pixels import see
from tpn_engine.nets.generator import Generator

_SIZE = 64  # pixels an edge: a quarter of a second on one core


@torch.no_grad()
def preview(generator: Generator, planes: Tensor, label: Tensor) -> Image.Image:
    """Planes [1, 3, C, H, W] as the camera label [1, 25] sees them, over black, 64 x 64."""
    seen = see(planes, generator.decoder, generator.preset, label, _SIZE, torch.arange(_SIZE**2))
    rgb = seen.color[0].clamp(0, 1).view(_SIZE, _SIZE, 3).cpu().numpy()
    return Image.fromarray((rgb * 255 + 0.5).astype(np.uint8), "RGB")
