"""Where along their rays cameras look, at whatever distance they stand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tpn_engine.camera import RADIUS, Camera
from tpn_engine.nets.presets import RenderingPreset

_USUAL = 0.1  # EG3D's distances serve as they are: the cameras of a ring stand around the head's middle, not the origin
_NEAREST = 0.05  # of a camera inside the head: behind it there is nothing to see


def sampling_from(camera: Camera, rendering: RenderingPreset) -> RenderingPreset:
    """`rendering`, its distances meant for cameras about RADIUS from the world's origin, for one at any distance."""
    away = float(np.linalg.norm(camera.position)) - RADIUS
    moved = away - min(max(away, -_USUAL), _USUAL)
    if moved == 0:
        return rendering
    start = max(_NEAREST, rendering.ray_start + moved)
    return replace(rendering, ray_start=start, ray_end=max(start + _NEAREST, rendering.ray_end + moved))
