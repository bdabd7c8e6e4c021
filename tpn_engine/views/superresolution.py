"""The generator's own final picture of a head: its volume rendering, then its super-resolution."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tpn_engine.camera import Camera
from tpn_engine.nets.field import TriplaneField
from tpn_engine.nets.generator import Generator
from tpn_engine.nets.volume import rays, render_rays
from tpn_engine.views.sampling import sampling_from


@torch.inference_mode()
def super_resolve(field: TriplaneField, camera: Camera, generator: Generator, codes: Tensor) -> np.ndarray:
    """sRGB [S, S, 3] float32 in [0, 1] of `field`, S the generator's image resolution, the same every time.

    `codes` [num_ws, w_dim] are those that the field's planes were made of; the generator has a super-resolution.
    """
    assert generator.superresolution is not None
    size = generator.preset.render_resolution
    device = next(generator.parameters()).device  # perhaps not the capture's
    label = torch.from_numpy(camera.label).to(field.planes.device)[None]
    origins, directions = rays(label, size)
    planes, rendering = field.planes[None], sampling_from(camera, generator.preset.rendering)
    rendered = render_rays(planes, field.decoder, field.axes, field.box, origins, directions, rendering)
    features = rendered.features.transpose(1, 2).unflatten(2, (size, size))
    image = generator.superresolution(features.to(device), codes.to(device)[None])[0]
    return ((image + 1) / 2).clamp(0, 1).permute(1, 2, 0).contiguous().cpu().numpy()
